#!/bin/bash
# node.sh NUMBER: what is a node's own before anything runs on it, in namespaces that this process then holds.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=hack/lib.sh
. "$here/../../hack/lib.sh"
# shellcheck source=e2e/harness/registry.sh
. "$here/../harness/registry.sh"
readonly NAME=node$1 OTHER=$((3 - $1))
place=$CORACLE_NODE/$NAME disk=$CORACLE_NODE/disk/$NAME

: >"$place/waits"
until [ -e "$place/linked" ]; do sleep 0.05; done
ip link set lo up
ip addr add "10.99.0.1$1/24" dev eth0
ip link set eth0 up
ip route add default via 10.99.0.1
ip route add "10.88.$OTHER.0/24" via "10.99.0.1$OTHER"
sysctl -q -w net.ipv4.ip_forward=1
mount -t tmpfs -o mode=755 "$NAME-run" /run
# What is installed on a node stays there.
for dir in etc opt usr/local var/lib; do
	mkdir -p "$disk/root/$dir/"{upper,work}
	# Some of these files may be mounts, which an overlay does not have.
	[ "$dir" != etc ] || cp -L /etc/{resolv.conf,hosts,hostname} "$disk/root/etc/upper/"
	mount -t overlay -o "lowerdir=/$dir,upperdir=$disk/root/$dir/upper,workdir=$disk/root/$dir/work" "$NAME-$dir" "/$dir"
done
mkdir -p /var/lib/kubelet
mount --bind "$disk/kubelet" /var/lib/kubelet
mount --bind "$disk/log" /var/log
cat >"$place/cni/10-node.conflist" <<END
{"cniVersion": "1.1.0", "name": "node", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "/run/cni", "ranges": [[{"subnet": "10.88.$1.0/24"}]],
            "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}
]}
END
start_registry "$IMAGES" 5000 "$place/registry.log" read-only
# Where there are releases to install.
[ ! -d "$CORACLE_NODE/disk/own-images" ] ||
	start_registry "$CORACLE_NODE/disk/own-images" 5001 "$place/own-registry.log" read-only
: >"$place/up"
exec sleep infinity
