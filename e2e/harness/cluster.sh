# shellcheck shell=bash
# What parts with a control plane have in common: its programs, and two nodes on this machine, each with namespaces, cgroups, a
# link to the bridge, a disk, a kubelet, a kube-proxy and a Coracle of its own. e2e/cluster/parts.py starts what runs on them.
# Sourced, never run; needs hack/lib.sh, and for nodes what kubelet.sh brings.

# need_cluster [TOOL...]: builds the programs, and says where they are: KUBELET, CLUSTER, with the tool `chart` HELM.
need_cluster() {
	[ -z "${CORACLE_NODE-}" ] || return 0
	"$ROOT/hack/tools.sh" kubelet cluster "$@"
	KUBELET=$("$ROOT/hack/tools.sh" --dir kubelet)/kubelet
	CLUSTER=$("$ROOT/hack/tools.sh" --dir cluster)/cluster
	HELM=$("$ROOT/hack/tools.sh" --dir chart)/helm-4
	export KUBELET CLUSTER HELM
}

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

# make_node NUMBER: namespaces held by a process, and the rest of a node but its programs.
make_node() {
	local name=node$1 place=$NODE/node$1 pid
	mkdir -p "$place"/cni "$NODE/disk/$name"/{runtime,kubelet,log,certs}
	unshare --mount --net --propagation private "$ROOT/e2e/cluster/node.sh" "$1" >"$place/holder.log" 2>&1 </dev/null &
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
	sed -e "s|NODE|$name|g; s|ADDRESS|10.99.0.1$1|; s|ROOT|/$(basename "$NODE")/$name/kube|" "$ROOT/e2e/cluster/kubelet.yaml" >"$place/kubelet.yaml"
	coracle_config "$NODE/disk/$name/runtime" /run/coracle /run/coracle.sock |
		sed "s|$NODE/cni/conf|$place/cni|; s|/monitors\"|/$name/monitors\"|" >"$place/coracle.toml"
}
