# shellcheck shell=bash
# What a kubelet needs of the machine, and leaves on it. With it come the node and how to report.
# Sourced, never run.

# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../hack/lib.sh"
# shellcheck source=e2e/harness/report.sh
. "$ROOT/e2e/harness/report.sh"
# shellcheck source=e2e/harness/node.sh
. "$ROOT/e2e/harness/node.sh"

# What a kubelet sets for the whole machine, whatever namespaces it is in.
readonly SYSCTLS=(vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops
	kernel.keys.root_maxkeys kernel.keys.root_maxbytes)

# need_no_pods: ends the script where another kubelet has pods. Cgroups are the machine's, whatever namespaces a kubelet is in.
need_no_pods() {
	local cgroup
	for cgroup in $(cgroups kubepods); do
		[ -z "$(find "$cgroup" -name cgroup.procs -exec cat {} +)" ] || die "a kubelet has pods on this machine ($cgroup)"
	done
}

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

# make_cgroups PATH: makes a cgroup in every hierarchy, with all controllers, processors and memory nodes.
make_cgroups() {
	local root dir part file controllers
	if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
		dir=/sys/fs/cgroup
		for part in ${1//\// }; do
			read -r -a controllers <"$dir/cgroup.controllers"
			for file in "${controllers[@]}"; do echo "+$file" >"$dir/cgroup.subtree_control"; done
			dir=$dir/$part
			mkdir -p "$dir"
		done
		return
	fi
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
