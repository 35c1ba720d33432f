#!/bin/bash
# image.sh OUT [NAME]: makes Coracle's image, as the OCI layout OUT and the archive OUT.tar, without a container engine.
#
# It holds the program (a release build, or CORACLE_BINARY) and the libraries that it is linked with, and nothing else. NAME is
# written into the layout (default: localhost/coracle:VERSION). The same program makes the same image, byte by byte.
#   skopeo copy oci:OUT docker://REGISTRY/coracle:TAG     or     coracle image import OUT.tar
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=hack/layout.sh
. "$ROOT/hack/layout.sh"

case ${1-} in
-h | --help | "")
	sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"
	exit
	;;
esac
out=$1
version=$(sed -n 's/^version = "\(.*\)"/\1/p;T;q' "$ROOT/Cargo.toml")
[ ! -e "$out" ] || die "$out exists"
if [ -z "${CORACLE_BINARY-}" ]; then
	need_rust
	cargo build --manifest-path "$ROOT/Cargo.toml" --locked --release --quiet --bin coracle
	CORACLE_BINARY=$CARGO_TARGET_DIR/release/coracle
fi
mkdir -p "$(dirname "$out")"
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
install -D -m 0755 "$CORACLE_BINARY" "$root/usr/bin/coracle"
add_libraries "$root" "$CORACLE_BINARY"
# Where a node's directories and the socket of its service manager are mounted.
mkdir -p "$root"/{config,host,run/systemd,tmp}
make_layout "$out" "$root" "${2:-localhost/coracle:$version}" \
	"{\"Env\": [\"PATH=/usr/bin\"], \"Entrypoint\": [\"/usr/bin/coracle\"], \"Cmd\": [\"version\"], \"WorkingDir\": \"/\", \"Labels\": {\"org.opencontainers.image.version\": \"$version\", \"org.opencontainers.image.licenses\": \"Apache-2.0\"}}"
say "made $out and $out.tar"
