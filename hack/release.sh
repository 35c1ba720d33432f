#!/bin/bash
# release.sh [--dirty] [--verify] OUT: makes a release of the checkout, for x86_64 and glibc, in the new directory OUT:
#
#   coracle_VERSION-REVISION_amd64.deb, coracle-VERSION-REVISION.x86_64.rpm
#   coracle-VERSION-linux-amd64.tar.gz  the same files but for /etc, to be unpacked at /
#   coracle-VERSION.cdx.json            what is in the program: a bill of materials (CycloneDX)
#   coracle-VERSION.buildinfo           what it was made of and with; the same makes the same files, byte by byte
#   SHA256SUMS
#
# libseccomp is linked statically. A program that needs libraries besides glibc and libgcc, a newer glibc than its packages
# say, or that holds a path of this machine is refused.
# --dirty: takes what is not committed, too. --verify: makes it twice, in another directory, and compares.
# REVISION (1) is the package's. SOURCE_DATE_EPOCH (the commit's) is the time that all files have.
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

dirty='' verify=''
while [ $# -gt 0 ]; do
	case $1 in
	-h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" && exit ;;
	--dirty) dirty=1 ;;
	--verify) verify=1 ;;
	-*) die "no such option: $1" ;;
	*) break ;;
	esac
	shift
done
[ $# = 1 ] || die "usage: release.sh [--dirty] [--verify] OUT"
readonly OUT=$1 REVISION=${REVISION:-1}
[ ! -e "$OUT" ] || die "$OUT exists"
[[ $REVISION =~ ^[0-9A-Za-z.~]+$ ]] || die "REVISION is not one of a package: $REVISION"
[ "$(uname -m)" = x86_64 ] || die "releases are made on x86_64, this is $(uname -m)"
commit=$(git -C "$ROOT" rev-parse HEAD) || die "a release is made of a git checkout"
if [ -n "$(git -C "$ROOT" status --porcelain)" ]; then
	[ -n "$dirty" ] || die "the checkout has changes that are not committed (--dirty takes them)"
	commit+=-dirty
fi
need_rust
packages binutils dpkg-dev python3 xz-utils
"$ROOT/hack/tools.sh" cargo-deb cargo-generate-rpm cargo-cyclonedx
tool() { "$("$ROOT/hack/tools.sh" --dir "$1")/$1" "${@:2}"; }

SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$ROOT" log -1 --format=%ct)}
export SOURCE_DATE_EPOCH LC_ALL=C TZ=UTC
VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p;T;q' "$ROOT/Cargo.toml")
# What the packages say that they need.
GLIBC=$(sed -n 's/^depends = "libc6 (>= \([0-9.]*\)).*/\1/p' "$ROOT/Cargo.toml")
readonly SOURCE_DATE_EPOCH VERSION GLIBC
umask 022

# sources: an archive of them.
sources() { (cd "$ROOT" && git ls-files -z --cached --others --exclude-standard | tar --null -T - --ignore-failed-read --mtime=@0 -cf -); }

# stage DIR: the sources in DIR, beside what an earlier build there has left in DIR/target. Those that are there already stay as they
# are, and are not built again; any others are new to cargo, whatever their time.
stage() {
	local sum
	mkdir -p "$1/target"
	sum=$(sources | sha256sum)
	rm -rf "$1/made" "$1/sbom.json"
	[ "$(cat "$1/target/staged" 2>/dev/null)" != "$sum" ] || return 0
	rm -f "$1/target/staged"
	find "$1" -mindepth 1 -maxdepth 1 ! -name target -exec rm -rf {} +
	sources | tar -C "$1" -xmf -
	echo "$sum" >"$1/target/staged"
}

# compile DIR: the program, in DIR/target/release. Nobody's paths are in it but these.
compile() {
	local home=${CARGO_HOME:-$HOME/.cargo} sysroot libraries
	sysroot=$(cd "$1" && rustc --print sysroot)
	libraries=/usr/lib/$(gcc -print-multiarch)
	[ -e "$libraries/libseccomp.a" ] || die "libseccomp-dev has no archive in $libraries"
	say "building coracle $VERSION of $commit in $1"
	(
		cd "$1"
		unset RUSTFLAGS CARGO_BUILD_TARGET CARGO_TARGET_DIR
		CARGO_ENCODED_RUSTFLAGS=$(printf '%s\x1f' "--remap-path-prefix=$home=/usr/src/cargo" "--remap-path-prefix=$sysroot=/usr/src/rust" \
			"--remap-path-prefix=$1=/usr/src/coracle")
		export CARGO_ENCODED_RUSTFLAGS=${CARGO_ENCODED_RUSTFLAGS%$'\x1f'}
		export CFLAGS="-ffile-prefix-map=$home=/usr/src/cargo -ffile-prefix-map=$1=/usr/src/coracle"
		export LIBSECCOMP_LINK_TYPE=static LIBSECCOMP_LIB_PATH=$libraries CARGO_INCREMENTAL=0
		cargo build --locked --release --quiet --bin coracle
	)
}

# newest_glibc PROGRAM: the newest version of glibc's that it has a symbol of.
newest_glibc() { objdump -T "$1" | grep -o '(GLIBC_[0-9.]*)' | tr -d '()' | sed 's/^GLIBC_//' | sort -uV | tail -n 1; }

# inspect PROGRAM PATH...: ends the script unless it can be released.
inspect() {
	local program=$1 needed newest path
	shift
	needed=$(readelf -d "$program" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | grep -vxE 'lib(c|m|gcc_s)\.so\.[0-9]+|ld-linux-x86-64\.so\.2' || true)
	[ -z "$needed" ] || die "the program needs libraries besides glibc: $needed"
	newest=$(newest_glibc "$program")
	[ "$(printf '%s\n' "$newest" "$GLIBC" | sort -V | tail -n 1)" = "$GLIBC" ] ||
		die "the program needs glibc $newest, and its packages say $GLIBC: build on an older system, or change Cargo.toml and docs/install.md"
	for path; do
		! grep -qaF "$path" "$program" || die "the program has paths of this machine: $(strings "$program" | grep -F "$path" | head -n 1)"
	done
}

# generate DIR: what the packages have beside the sources and the program, in DIR/made.
generate() {
	local made=$1/made coracle=$1/target/release/coracle shell
	mkdir -p "$made/completions"
	"$coracle" man "$made/man"
	gzip -9n "$made"/man/*
	for shell in bash zsh fish; do "$coracle" completions "$shell" >"$made/completions/coracle.$shell"; done
	cp /usr/share/doc/libseccomp-dev/copyright "$made/libseccomp.copyright"
	gzip -9n <"$1/CHANGELOG.md" >"$made/changelog.gz"
	cat >"$made/changelog" <<-END
		coracle ($VERSION-$REVISION) unstable; urgency=medium

		  * Release $VERSION: see CHANGELOG.md.

		 -- $(sed -n 's/^maintainer = "\(.*\)"/\1/p' "$1/Cargo.toml")  $(date -u -R -d "@$SOURCE_DATE_EPOCH")
	END
}

# pack DIR OUT: the packages and what goes with them.
pack() {
	local dir=$1 out=$2 seccomp
	seccomp=$(dpkg-query -W -f '${Version}' libseccomp-dev)
	mkdir -p "$out"
	out=$(realpath "$out")
	(
		cd "$dir"
		unset CARGO_TARGET_DIR
		tool cargo-deb --quiet --locked --no-build --no-strip --deb-revision "$REVISION" --output "$out" >/dev/null
		tool cargo-generate-rpm --set-metadata "release = \"$REVISION\"" --output "$out" >/dev/null
		tool cargo-cyclonedx cyclonedx -qq --format json --spec-version 1.5 --target x86_64-unknown-linux-gnu --no-build-deps --override-filename sbom
	)
	dpkg-deb --fsys-tarfile "$out/coracle_$VERSION-${REVISION}_amd64.deb" | tar --delete ./etc | gzip -9n >"$out/coracle-$VERSION-linux-amd64.tar.gz"
	"$ROOT/hack/package/sbom.py" "$dir/sbom.json" "$dir" "$seccomp" >"$out/coracle-$VERSION.cdx.json"
	cat >"$out/coracle-$VERSION.buildinfo" <<-END
		commit: $commit
		source-date-epoch: $SOURCE_DATE_EPOCH
		program-sha256: $(sha256sum "$dir/target/release/coracle" | cut -d ' ' -f 1)
		newest-glibc-symbol: $(newest_glibc "$dir/target/release/coracle")
		rustc: $(cd "$dir" && rustc --version)
		$(dpkg-query -W -f '${Package}: ${Version}\n' libseccomp-dev libc6-dev gcc binutils protobuf-compiler)
		$(for name in cargo-deb cargo-generate-rpm cargo-cyclonedx; do basename "$("$ROOT/hack/tools.sh" --dir "$name")" | sed 's/-\([0-9.]*\)$/: \1/'; done)
	END
	(cd "$out" && sha256sum -- coracle* >SHA256SUMS)
}

# release DIR OUT: all of it, in DIR.
release() {
	stage "$1"
	compile "$1"
	inspect "$1/target/release/coracle" "$1/" "$ROOT/" "${CARGO_HOME:-$HOME/.cargo}/" "${RUSTUP_HOME:-$HOME/.rustup}/"
	generate "$1"
	pack "$1" "$2"
}

mkdir -p "$CACHE/release"
dir=$(realpath "$CACHE/release")
release "$dir/source" "$OUT"
if [ -n "$verify" ]; then
	again=$dir/again/at-a-place-with-a-longer-name/source
	rm -rf "$dir/again"
	mkdir -p "$again"
	trap 'rm -rf "$dir/again"' EXIT
	# The crates are somewhere else, too.
	ln -s "$(realpath "${CARGO_HOME:-$HOME/.cargo}")" "$dir/again/cargo"
	CARGO_HOME=$dir/again/cargo release "$again" "$dir/again/out"
	diff -r "$OUT" "$dir/again/out" || die "made again, it is not the same"
	say "made again elsewhere, it is the same"
fi
say "made $OUT: coracle $VERSION, for glibc $GLIBC or newer (newest symbol: $(newest_glibc "$dir/source/target/release/coracle"))"
