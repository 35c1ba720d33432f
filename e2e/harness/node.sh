# shellcheck shell=bash
# A node to test on: mount and network namespaces of its own, a subreaper above all it starts, an ext4 of its own, a
# registry, CNI plugins, and the daemon under test. Sourced, never run; needs hack/lib.sh.
#
#   prepare_node            what needs the network or takes long: tools, images (NODE_IMAGES: which), the release build
#   enter_node "$0" "$@"    runs the script again inside; does not return outside. NODE_NAMESPACES: unshare's flags for more
#   node_up                 interfaces, disk, CNI configuration, registry
#   start_runtime           the daemon; its socket is $SOCKET, its log $NODE/runtime.log
#   stop_runtime            ends the daemon in an orderly way (its containers run on)

# shellcheck source=e2e/harness/registry.sh
. "$ROOT/e2e/harness/registry.sh"
# shellcheck source=e2e/harness/runtime.sh
. "$ROOT/e2e/harness/runtime.sh"

readonly REGISTRY_PORT=5000

prepare_node() {
	[ -z "${CORACLE_NODE-}" ] || return 0
	need_root
	"$ROOT/hack/tools.sh" cri-tools cni-plugins
	CRI_TOOLS=$("$ROOT/hack/tools.sh" --dir cri-tools)
	CNI_PLUGINS=$("$ROOT/hack/tools.sh" --dir cni-plugins)
	IMAGES=$("$ROOT/e2e/images/images.sh" "${NODE_IMAGES[@]-suite}")
	unpacked docker-registry >/dev/null
	prepare_runtime
	export CRI_TOOLS CNI_PLUGINS IMAGES
}

# enter_node SCRIPT ARG...: NODE_EXIT names what is to run when all is over, if not leave_node alone.
enter_node() {
	[ -z "${CORACLE_NODE-}" ] || return 0
	local rc=0 place=${CORACLE_SCRATCH:-/dev/shm}
	# In memory when there is room (CORACLE_SCRATCH: elsewhere): flushing a disk image to a slow disk would drown what is
	# tested.
	[ "$(df --output=avail -k "$place" 2>/dev/null | tail -n 1)" -gt 3000000 ] || place=${TMPDIR:-/tmp}
	NODE=$(mktemp -d "$place/coracle-node.XXXXXX")
	# Passed by the roots of user namespaces.
	chmod 711 "$NODE"
	# shellcheck disable=SC2064
	trap "${NODE_EXIT:-leave_node}" EXIT
	# Proxies are not for the addresses of pods, nor for a registry on loopback.
	env -u http_proxy -u https_proxy -u HTTP_PROXY -u HTTPS_PROXY -u all_proxy -u ALL_PROXY CORACLE_NODE="$NODE" \
		python3 "$ROOT/e2e/harness/subreaper.py" unshare --mount --net "${NODE_NAMESPACES[@]}" --propagation private bash "$@" || rc=$?
	exit "$rc"
}

# cgroups NAME: the directories of a cgroup at the root of each hierarchy that has it.
cgroups() { find /sys/fs/cgroup -maxdepth 2 -type d -name "$1"; }

# remove_cgroups NAME: what a run leaves in the cgroup trees once its processes are gone, empty directories.
remove_cgroups() {
	local try
	# A cgroup whose last process has just died is still busy for a moment.
	for try in {1..20}; do
		cgroups "$1" | while read -r cgroup; do find "$cgroup" -depth -type d -exec rmdir {} ';' 2>/dev/null || true; done
		[ -n "$(cgroups "$1")" ] || return 0
		sleep "0.$try"
	done
	say "warning: there are processes in the cgroup $1 (try $try)"
}

# Everything inside is dead, and with it the mounts and interfaces; what remains are files and empty cgroups. The logs
# are kept, in the cache, until the next run of the same part.
leave_node() {
	local logs
	remove_cgroups "$(basename "$NODE")"
	logs=$CACHE/logs/$(basename "$(dirname "$0")")
	rm -rf "$logs"
	mkdir -p "$logs"
	find "$NODE" -maxdepth 1 -type f '(' -name '*.log' -o -name '*.json' -o -name '*.toml' ')' -exec cp -t "$logs" {} +
	rm -rf --one-file-system "$NODE"
	say "logs are in $logs"
}

node_up() {
	NODE=$CORACLE_NODE
	cd "$NODE" || die "no directory $NODE"
	mkdir -p disk cni/conf cni/state certs.d
	# The shell may sit in cgroups of its own, which differ between hierarchies: a node's processes do not.
	local procs
	for procs in /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/*/cgroup.procs; do
		[ ! -w "$procs" ] || echo $$ 2>/dev/null >"$procs" || true
	done
	ip link set lo up
	ip link add node0 type bridge
	ip addr add 10.99.0.1/24 dev node0
	ip link set node0 up
	ip route add default via 10.99.0.254
	sysctl -q -w net.ipv4.ip_forward=1
	# The machine's service manager stays in reach where it makes the cgroups.
	local name manager=()
	[ "$CORACLE_E2E_DRIVER" != systemd ] || manager=(systemd dbus)
	for name in "${manager[@]}"; do
		mkdir -p "machine/$name"
		mount --bind "/run/$name" "machine/$name"
	done
	mount -t tmpfs -o mode=755 node-run /run
	for name in "${manager[@]}"; do
		mkdir "/run/$name"
		mount --move "machine/$name" "/run/$name"
	done
	truncate -s 6G disk.img
	mke2fs -q -t ext4 -E lazy_itable_init=1 disk.img
	mount -o loop,noatime disk.img disk
	mkdir disk/tmp
	export TMPDIR=$NODE/disk/tmp
	cni_config "$(runtime_cni_version)" >cni/conf/10-node.conflist
	write_mirrors certs.d "$REGISTRY_PORT"
	start_registry "$IMAGES" "$REGISTRY_PORT" "$NODE/registry.log" read-only
}

# cni_config VERSION: a conflist as nodes have it: a bridge, addresses from a range, host ports.
cni_config() {
	cat <<-END
		{"cniVersion": "$1", "name": "node", "plugins": [
		  {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
		   "ipam": {"type": "host-local", "dataDir": "$NODE/cni/state", "ranges": [[{"subnet": "10.88.0.0/16"}]],
		            "routes": [{"dst": "0.0.0.0/0"}]}},
		  {"type": "portmap", "capabilities": {"portMappings": true}}
		]}
	END
}
