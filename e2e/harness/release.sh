# shellcheck shell=bash
# What the chart installs: two builds of one release, as images in a registry of their own.
# Sourced, never run; needs hack/lib.sh and what node.sh sets up.

readonly RELEASES_PORT=5001

# make_image TAG PROGRAM: Coracle's image with that program, pushed to that registry.
make_image() {
	CORACLE_BINARY=$2 "$ROOT/hack/image.sh" "$NODE/disk/image-$1" >"$NODE/image.log" 2>&1 || die "no image: $(cat "$NODE/image.log")"
	python3 -B "$ROOT/e2e/images/push.py" "$NODE/disk/image-$1" "127.0.0.1:$RELEASES_PORT" "coracle-runtime/coracle:$1"
}

# start_releases: the registry with the chart's release, and with another build of it as `newer`.
start_releases() {
	start_registry "$NODE/disk/own-images" "$RELEASES_PORT" "$NODE/own-registry.log"
	make_image "$(sed -n 's/^appVersion: //p' "$ROOT/charts/coracle/Chart.yaml")" "$CORACLE_BINARY"
	cp "$CORACLE_BINARY" "$NODE/disk/newer"
	echo >>"$NODE/disk/newer"
	make_image newer "$NODE/disk/newer"
}
