#!/bin/bash
# Kubernetes' own suite for clusters, e2e.test, on the cluster of e2e/cluster with a CoreDNS: its specs for conformance that are about
# nodes, storage, the network and kubectl, unmodified and without retries.
# run.sh [PATTERN...]: only the specs whose names match one of the patterns.
# CONFORMANCE_PARALLEL says how many specs run at once (8).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=e2e/harness/kubelet.sh
. "$here/../harness/kubelet.sh"
# shellcheck source=e2e/harness/cluster.sh
. "$here/../harness/cluster.sh"

# Those that need the cluster for themselves, or minutes each, are no part of it.
export SPECS='Conformance && (sig-node || sig-storage || sig-network || sig-cli) && !Flaky && !Slow && !Serial && !Disruptive'
export PARALLEL=${CONFORMANCE_PARALLEL:-8}

if [ -z "${CORACLE_NODE-}" ]; then
	need_cluster conformance coredns
	SUITE=$("$ROOT/hack/tools.sh" --dir conformance)
	NAME_SERVER=$("$ROOT/hack/tools.sh" --dir coredns)
	export SUITE NAME_SERVER
	save_machine
fi
NODE_IMAGES=(cluster-conformance "${SUITE-}" "${NAME_SERVER-}")
prepare_node
NODE_EXIT=restore_machine enter_node "$here/run.sh" "$@"

node_up
for number in 1 2; do make_node "$number"; done
say "running e2e.test, $PARALLEL at a time; its log is $NODE/suite.log"
started=$SECONDS
PYTHONPATH=$ROOT/e2e/harness:$ROOT/e2e/cluster python3 -B "$here/suite.py" "$@" || FAILED=1
say "it took $((SECONDS - started)) s"
only=()
[ $# = 0 ] || only=(--only "$(IFS='|' && echo "$*")")
if [ -s "$NODE/report.json" ]; then
	python3 "$here/../critest/compare.py" "$NODE/report.json" "$here/passing.txt" "$here/not-here.txt" --only '\[Conformance\]' \
		--only '^\[sig-(node|storage|network|cli)\]' --but '\[(Flaky|Slow|Serial|Disruptive)\]' "${only[@]}" >>"$CORACLE_RESULTS" || FAILED=1
fi
finish
