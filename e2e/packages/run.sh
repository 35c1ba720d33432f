#!/bin/bash
# What hack/release.sh makes: the program, the packages installed, upgraded and removed in roots of their own, the pages of the
# manual, completions, the bill of materials. Nothing is installed on this machine.
# With systemd running, it is e2e/guest-packages.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=hack/lib.sh
. "$here/../../hack/lib.sh"
# shellcheck source=e2e/harness/report.sh
. "$here/../harness/report.sh"
need_root
need_rust
cd "$ROOT"
WORK=$(mktemp -d "${CORACLE_SCRATCH:-/var/tmp}/coracle-packages.XXXXXX")
trap 'rm -rf --one-file-system "$WORK"' EXIT

version=$(sed -n 's/^version = "\(.*\)"/\1/p;T;q' Cargo.toml)
glibc=$(sed -n 's/^depends = "libc6 (>= \([0-9.]*\)).*/\1/p' Cargo.toml)

# base: prints an archive of a Debian that has nothing but what each has: no systemd, no libseccomp.
base() {
	local file=$CACHE/packages-base-bookworm.tar
	if [ ! -s "$file" ]; then
		say "making a root to install into (kept in $file)"
		mmdebstrap --quiet --mode=root --variant=essential --format=tar bookworm "$file.new" >&2
		mv "$file.new" "$file"
	fi
	echo "$file"
}

# root NAME: a root of that name.
root() {
	mkdir "$WORK/$1"
	tar -C "$WORK/$1" -xpf "$(base)"
	echo "$WORK/$1"
}

say "-- the release"
hack/release.sh --dirty "$WORK/one"
hack/release.sh --dirty "$WORK/same"
REVISION=2 hack/release.sh --dirty "$WORK/two"
deb=$WORK/one/coracle_$version-1_amd64.deb rpm=$WORK/one/coracle-$version-1.x86_64.rpm
check "packed again, it is the same" diff -r "$WORK/one" "$WORK/same"
check "its sums are right" env -C "$WORK/one" sha256sum --check --strict --quiet SHA256SUMS
equal "each of its files has one" "$(find "$WORK/one" -type f ! -name SHA256SUMS -printf '%f\n' | sort)" "$(awk '{ print $2 }' "$WORK/one/SHA256SUMS" | sort)"
check "the documents tell the glibc that the packages need" grep -q "glibc $glibc " docs/install.md
equal "and both packages need it" "libc6 (>= $glibc), libgcc-s1 glibc >= $glibc" \
	"$(dpkg-deb -f "$deb" Depends) $(rpm -qp --requires "$rpm" 2>/dev/null | grep '^glibc')"
check "what is in it is told in full, and nothing of this machine" "$here/sbom.py" "$WORK/one/coracle-$version.cdx.json" Cargo.lock "$HOME" "$CACHE" "$ROOT"
# shellcheck source=e2e/packages/files.sh
. "$here/files.sh"
# shellcheck source=e2e/packages/deb.sh
. "$here/deb.sh"
# shellcheck source=e2e/packages/rpm.sh
. "$here/rpm.sh"
finish
