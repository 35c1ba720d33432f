#!/bin/bash
# Kubernetes' own suite for clusters, e2e.test, on the cluster of e2e/cluster with a CoreDNS: its specs for conformance that are about
# nodes, storage, the network and kubectl, unmodified and without retries.
# run.sh [PATTERN...]: only the specs whose names match one of the patterns; run.sh --chosen: those of chosen.txt.
# CONFORMANCE_PARALLEL says how many specs run at once (8).
# What a run of all specs came to is appended to results/cluster-conformance.jsonl in the cache.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=e2e/harness/kubelet.sh
. "$here/../harness/kubelet.sh"
# shellcheck source=e2e/harness/cluster.sh
. "$here/../harness/cluster.sh"

# Those that need the cluster for themselves, or minutes each, are no part of it.
export SPECS='Conformance && (sig-node || sig-storage || sig-network || sig-cli) && !Flaky && !Slow && !Serial && !Disruptive'
export PARALLEL=${CONFORMANCE_PARALLEL:-8}

if [ "${1-}" = --chosen ]; then
	strange=$(grep -v '^#' "$here/chosen.txt" | grep -vxFf "$here/passing.txt" || [ $? = 1 ])
	[ -z "$strange" ] || die "chosen, and not in passing.txt: $strange"
	mapfile -t specs < <(sed '/^#/d; s/[][(){}.*+?|^$\\]/\\&/g; s/$/$/' "$here/chosen.txt")
	set -- "${specs[@]}"
fi
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
took=$((SECONDS - started))
say "it took $took s"
only=()
[ $# = 0 ] || only=(--only "$(IFS='|' && echo "$*")")
if [ -s "$NODE/report.json" ]; then
	python3 "$here/../critest/compare.py" "$NODE/report.json" "$here/passing.txt" "$here/not-here.txt" --only '\[Conformance\]' \
		--only '^\[sig-(node|storage|network|cli)\]' --but '\[(Flaky|Slow|Serial|Disruptive)\]' "${only[@]}" >"$NODE/judged" || FAILED=1
	cat "$NODE/judged" >>"$CORACLE_RESULTS"
	lost=$(grep -c '^fail' "$NODE/judged" || true)
	[ "$FAILED" = 0 ] || [ "$lost" != 0 ] || lost=1
	[ $# != 0 ] || record cluster-conformance cluster-conformance \
		"\"seed\":0,\"specs\":$(grep -c '^pass' "$NODE/judged" || true),\"at_once\":$PARALLEL,\"seconds\":$took,\"losses\":$lost"
fi
finish
