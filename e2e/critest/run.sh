#!/bin/bash
# Kubernetes' conformance suite for CRI runtimes, critest, unmodified and without retries.
# CRITEST_PARALLEL says how many specs run at once (4); 1 runs them one after the other.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=hack/lib.sh
. "$here/../../hack/lib.sh"
# shellcheck source=e2e/harness/report.sh
. "$here/../harness/report.sh"
# shellcheck source=e2e/harness/node.sh
. "$here/../harness/node.sh"

prepare_node
enter_node "$here/run.sh" "$@"
node_up
start_runtime

args=(--runtime-endpoint="unix://$SOCKET" --ginkgo.no-color --ginkgo.json-report="$NODE/report.json")
parallel=${CRITEST_PARALLEL:-4}
# critest refuses an explicit 1
[ "$parallel" = 1 ] || args+=(--parallel="$parallel")
say "running critest, $parallel at a time"
started=$SECONDS
# Its status says less than its report: skipped is not passed, and one spec cannot pass anywhere but upstream.
PATH=$CRI_TOOLS:$PATH timeout -k 10 1200 "$CRI_TOOLS/critest" "${args[@]}" "$@" >"$NODE/critest.log" 2>&1 </dev/null || true
say "critest took $((SECONDS - started)) s"
if [ ! -s "$NODE/report.json" ]; then
	tail -n 60 "$NODE/critest.log" >&2
	runtime_log_tail 40
	die "critest left no report"
fi
if ! kill -0 "$RUNTIME_PID" 2>/dev/null; then
	fail "the daemon lives on"
	runtime_log_tail 80
fi
python3 "$here/compare.py" "$NODE/report.json" "$here/passing.txt" "$here/not-yet.txt" >>"$CORACLE_RESULTS" || {
	FAILED=1
	runtime_log_tail 40
}
finish
