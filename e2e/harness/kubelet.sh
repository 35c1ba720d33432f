# shellcheck shell=bash
# What a kubelet needs of the machine, and leaves on it. Sourced, never run; needs hack/lib.sh and harness/node.sh.

# What a kubelet sets for the whole machine, whatever namespaces it is in.
readonly SYSCTLS=(vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops
	kernel.keys.root_maxkeys kernel.keys.root_maxbytes)

# save_machine: notes what kubelets will change.
save_machine() {
	local name value
	SAVED=()
	for name in "${SYSCTLS[@]}"; do
		value=$(sysctl -n "$name" 2>/dev/null) && SAVED+=("$name=$value")
	done
}

# restore_machine: ends a node that kubelets were on, see enter_node.
restore_machine() {
	local line
	for line in "${SAVED[@]}"; do sysctl -q -w "$line" || true; done
	leave_node
}

# make_cgroups PATH: makes a cgroup in every hierarchy, with all processors and memory nodes.
make_cgroups() {
	local root dir part file
	for root in /sys/fs/cgroup/*/; do
		[ -e "$root/cgroup.procs" ] || continue
		dir=${root%/}
		for part in ${1//\// }; do
			mkdir -p "$dir/$part"
			for file in cpuset.cpus cpuset.mems; do
				[ -e "$dir/$file" ] || continue
				[ -n "$(cat "$dir/$part/$file")" ] || cat "$dir/$file" >"$dir/$part/$file"
			done
			dir=$dir/$part
		done
	done
}
