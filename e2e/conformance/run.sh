#!/bin/bash
# Kubernetes' own suite for nodes, e2e_node.test: its specs for conformance, unmodified and without retries. It starts an etcd, an
# API server and a kubelet of its own.
# run.sh [PATTERN...]: only the specs whose names match one of the patterns.
# CONFORMANCE_PARALLEL says how many specs run at once (8, as its authors run it).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=e2e/harness/kubelet.sh
. "$here/../harness/kubelet.sh"

# Those that need the node for themselves, or minutes each, are no part of the suite's usual run either.
readonly SPECS='NodeConformance && !Flaky && !Slow && !Serial'

# join_cgroup PATH: takes this shell, and what it starts from now on, there, in every hierarchy.
join_cgroup() {
	local root
	for root in /sys/fs/cgroup/*/; do
		[ ! -w "${root%/}$1/cgroup.procs" ] || echo $$ >"${root%/}$1/cgroup.procs"
	done
}

# Figures of pods and containers come from the runtime: the kubelet's own reader knows two others only. Told of it, the suite
# leaves out a spec that is about that reader.
readonly GATES=PodAndContainerStatsFromCRI=true

leave_conformance() {
	local cgroup
	for cgroup in kubepods kubelet system; do remove_cgroups "$cgroup"; done
	restore_machine
}

if [ -z "${CORACLE_NODE-}" ]; then
	need_no_pods
	"$ROOT/hack/tools.sh" kubelet conformance
	KUBELET=$("$ROOT/hack/tools.sh" --dir kubelet)/kubelet
	SUITE=$("$ROOT/hack/tools.sh" --dir conformance)
	export KUBELET SUITE
	save_machine
fi
NODE_IMAGES=(conformance "${SUITE-}")
prepare_node
# The suite has the kubelet move all processes that it sees into a cgroup: let it see this node's.
NODE_NAMESPACES=(--pid --fork --kill-child --mount-proc)
NODE_EXIT=leave_conformance enter_node "$here/run.sh" "$@"

node_up
mkdir -p disk/{kubelet,log,suite,bin} /var/lib/kubelet
mount --bind disk/kubelet /var/lib/kubelet
mount --make-rshared /var/lib/kubelet
mount --bind disk/log /var/log
# With these the suite would ask systemd to run the kubelet.
for program in systemd-run journalctl; do
	path=$(command -v $program) || continue
	mount --bind /dev/null "$path"
done
# A cgroup of its own for the daemon, so that the kubelet can tell what the runtime takes.
runtime=$(basename "$NODE")/daemon
make_cgroups "$runtime"
join_cgroup "/$runtime"
mkdir coracle.toml.d
# The suite counts on a handler of this name.
echo '[runtimes.test-handler]' >coracle.toml.d/handler.toml
start_runtime
join_cgroup /
# The suite would pull before its clocks run as well, but some images that it does not need for these specs are upstream's alone.
for image in busybox:1.37.0-1 agnhost:2.63.0 agnhost:2.55 nginx:1.15-4; do
	"$CRI_TOOLS/crictl" --image-endpoint "unix://$SOCKET" --runtime-endpoint "unix://$SOCKET" pull \
		"registry.k8s.io/e2e-test-images/$image" >/dev/null 2>>"$NODE/crictl.log"
done

# ginkgo runs the suite where it lies, and the suite leaves files there.
ln -s "$SUITE/e2e_node.test" disk/suite/
ln -s "$KUBELET" disk/bin/
focus=() only=()
for pattern in "$@"; do focus+=(--focus="$pattern"); done
[ $# = 0 ] || only=(--only "$(IFS='|' && echo "$*")")
parallel=${CONFORMANCE_PARALLEL:-8}
say "running e2e_node.test, $parallel at a time; its log is $NODE/suite.log"
started=$SECONDS
timeout -k 30 7200 "$SUITE/ginkgo" --procs="$parallel" --no-color --timeout=2h --label-filter="$SPECS" "${focus[@]}" \
	--output-dir="$NODE" --json-report=report.json disk/suite/e2e_node.test -- \
	--k8s-bin-dir="$NODE/disk/bin" --kubelet-config-file="$here/kubelet.yaml" --container-runtime-endpoint="unix://$SOCKET" \
	--kubelet-flags="--node-ip=10.99.0.1 --runtime-cgroups=/$runtime" --node-name=node1 --prepull-images=false --report-dir="$NODE" \
	--feature-gates="$GATES" \
	>"$NODE/suite.log" 2>&1 </dev/null || true
say "it took $((SECONDS - started)) s"
if [ ! -s "$NODE/report.json" ]; then
	tail -n 60 "$NODE/suite.log" >&2
	runtime_log_tail 40
	die "the suite left no report"
fi
kill -0 "$RUNTIME_PID" 2>/dev/null || fail "the daemon lives on"
check "nothing is out of place afterwards" "$CORACLE_BINARY" check --config "$NODE/coracle.toml"
python3 "$here/../critest/compare.py" "$NODE/report.json" "$here/passing.txt" "$here/not-here.txt" --only '\[NodeConformance\]' \
	--but '\[(Flaky|Slow|Serial)\]' "${only[@]}" >>"$CORACLE_RESULTS" || FAILED=1
[ "$FAILED" = 0 ] || runtime_log_tail 40
finish
