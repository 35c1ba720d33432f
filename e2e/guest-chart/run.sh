#!/bin/bash
# A cluster whose node is a virtual machine with systemd, and runs Debian's containerd: the Helm chart installs Coracle on it, moves
# its kubelet to Coracle and back by a label, upgrades Coracle under load, has one switch refused and another undone. The control plane
# and the registries are outside of the machine. See path.py for what is done; the commands and all that they said are in
# transcript.log among the logs.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=e2e/guest/kubelet.sh
. "$here/../guest/kubelet.sh"
# shellcheck source=e2e/harness/cluster.sh
. "$here/../harness/cluster.sh"
# shellcheck source=e2e/harness/release.sh
. "$here/../harness/release.sh"

if [ -z "${CORACLE_NODE-}" ]; then
	need_cluster chart
	need_guest bookworm
fi
prepare_node
enter_node "$here/run.sh" "$@"

# As qemu's network has it: what the machine reaches this one by, and its own address, where the API server finds the kubelet.
readonly HERE=10.0.2.2 GUEST=10.0.2.15

node_up
ip addr add "$GUEST/32" dev lo
# The machine takes nothing that seems to come from itself.
ip route replace local "$GUEST" dev lo table local src 10.99.0.1
start_releases
job=$NODE/disk/job
sed -e "s|/run/coracle.sock|/run/containerd/containerd.sock|; s|ADDRESS|$GUEST|; s|ROOT|/|" "$here/../cluster/kubelet.yaml" |
	fill_node "$job" "$HERE" --kubeconfig=/etc/kubernetes/kubelet.conf
rm "$job/coracle"
write_mirror "$job/files/etc/coracle/certs.d" ghcr.io "$RELEASES_PORT" "$HERE"
mkdir -p "$job/files/etc/default"
echo "KUBELET_EXTRA_ARGS=--node-ip=$GUEST" >"$job/files/etc/default/kubelet"
cp "$here/inside.sh" "$job/"

export NODE HERE GUEST JOB=$job
PYTHONPATH=$ROOT/e2e/harness:$ROOT/e2e/cluster python3 -B "$here/path.py" || FAILED=1
[ ! -s "$NODE/record.json" ] || record guest-chart guest-chart "$(sed 's/^{//; s/}$//' "$NODE/record.json")"
check "the machine's logs came" cp -t "$NODE" "$NODE"/out/*.log
finish
