#!/bin/bash
# A cluster on one machine: a control plane, and two nodes, each with namespaces, cgroups, a kubelet, a kube-proxy and a
# Coracle of its own. See cluster.py for what is tried on it, chart.py for what with the Helm chart. Arguments are the names of the
# trials to run (all), or `chart`.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=e2e/harness/kubelet.sh
. "$here/../harness/kubelet.sh"
# shellcheck source=e2e/harness/release.sh
. "$here/../harness/release.sh"

if [ -z "${CORACLE_NODE-}" ]; then
	"$ROOT/hack/tools.sh" kubelet cluster chart
	KUBELET=$("$ROOT/hack/tools.sh" --dir kubelet)/kubelet
	CLUSTER=$("$ROOT/hack/tools.sh" --dir cluster)/cluster
	HELM=$("$ROOT/hack/tools.sh" --dir chart)/helm-4
	export KUBELET CLUSTER HELM
	save_machine
fi
prepare_node
NODE_EXIT=restore_machine enter_node "$here/run.sh" "$@"

# await FILE PID LOG: until a process has made a file.
await() {
	local try
	for try in {1..600}; do
		[ ! -e "$1" ] || return 0
		kill -0 "$2" 2>/dev/null || break
		sleep 0.05
	done
	die "$1 is not there after $try tries: $(tail -n 5 "$3")"
}

# make_node NUMBER: namespaces held by a process, a link to the bridge, a disk and files of its own.
make_node() {
	local name=node$1 place=$NODE/node$1 pid
	mkdir -p "$place"/cni "$NODE/disk/$name"/{runtime,kubelet,log,certs}
	unshare --mount --net --propagation private "$here/node.sh" "$1" >"$place/holder.log" 2>&1 </dev/null &
	pid=$!
	echo "$pid" >"$place/holder.pid"
	await "$place/waits" "$pid" "$place/holder.log"
	ip link add "$name" type veth peer name eth0 netns "$pid"
	ip link set "$name" master node0 up
	ip route add "10.88.$1.0/24" via "10.99.0.1$1"
	: >"$place/linked"
	await "$place/up" "$pid" "$place/holder.log"
	# What a kubelet's cgroups go below, so that no other kubelet takes them for pods that it has forgotten.
	make_cgroups "$(basename "$NODE")/$name/kube"
	sed -e "s|NODE|$name|g; s|ADDRESS|10.99.0.1$1|; s|ROOT|/$(basename "$NODE")/$name/kube|" "$here/kubelet.yaml" >"$place/kubelet.yaml"
	coracle_config "$NODE/disk/$name/runtime" /run/coracle /run/coracle.sock |
		sed "s|$NODE/cni/conf|$place/cni|; s|/monitors\"|/$name/monitors\"|" >"$place/coracle.toml"
}

node_up
export NODE PYTHONPATH=$ROOT/e2e/harness:$ROOT/e2e/images
start_releases
write_mirror "$NODE/certs.d" ghcr.io "$RELEASES_PORT"
for number in 1 2; do make_node "$number"; done
python3 -B "$here/cluster.py" "$@" || FAILED=1
finish
