#!/bin/bash
# images.sh SET [AGNHOST [COREDNS]]: makes the test images of a set (see make.py) unless they are there, and prints the directory
# that a registry can serve them from.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=hack/lib.sh
. "$here/../../hack/lib.sh"
# shellcheck source=e2e/harness/registry.sh
. "$here/../harness/registry.sh"

kind=${1?usage: images.sh SET [AGNHOST [COREDNS]]}
agnhost=${2-} coredns=${3-}
# They are made anew when the maker changes or what it copies from.
key=$({ cat "$here"/*.py; echo "${agnhost##*/} ${coredns##*/}"; dpkg-query -W busybox procps util-linux coreutils libc6; } | sha256sum | cut -c1-12)
dir=$CACHE/images/$kind-$key
if [ ! -d "$dir" ]; then
	say "making the $kind images"
	packages gcc libc6-dev zstd
	[ -z "$agnhost" ] || packages bash curl iproute2 netcat-openbsd
	[ -z "$coredns" ] || packages bind9-dnsutils libc-bin
	nginx=$(unpacked nginx)
	rm -rf "$dir.new"
	mkdir -p "$dir.new/work" "$dir.new/storage"
	port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
	start_registry "$dir.new/storage" "$port" "$dir.new/work/registry.log"
	trap stop_registry EXIT
	python3 -B "$here/make.py" "127.0.0.1:$port" "$dir.new/work" "$kind" "$nginx" ${agnhost:+"$agnhost"} ${coredns:+"$coredns"} >&2
	stop_registry
	trap - EXIT
	rm -rf "$dir.new/work"
	mv "$dir.new" "$dir"
fi
echo "$dir/storage"
