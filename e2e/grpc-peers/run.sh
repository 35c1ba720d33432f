#!/bin/bash
# The suite over gRPC (e2e/grpc) against containerd 2.4, on a node of its own: the same plugins, registry and kind of disk.
# A test that needs our daemon is skipped. One that fails has to be in differences.tsv, with the cause that
# docs/conformance.md tells of; one that is there and passes fails. Streams go over SPDY
# alone: containerd refuses crictl's WebSocket. Arguments go to the suite, such as a test's name.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=hack/lib.sh
. "$here/../../hack/lib.sh"
# shellcheck source=e2e/harness/report.sh
. "$here/../harness/report.sh"
# shellcheck source=e2e/harness/node.sh
. "$here/../harness/node.sh"

if [ -z "${CORACLE_NODE-}" ]; then
	need_root
	need_rust
	"$ROOT/hack/tools.sh" containerd
	CORACLE_PEER=$("$ROOT/hack/tools.sh" --dir containerd)
	export CORACLE_PEER CORACLE_E2E_RUNTIME=containerd
	say "building the tests"
	(cd "$ROOT" && cargo test --locked --quiet --test grpc --no-run)
fi
# The tests' pods that are left end with the node; then their cgroups can go.
leave_peer() {
	local name
	grep -aoE 'coracle-e2e-[A-Za-z0-9]+' "$NODE/suite.log" | sort -u | while read -r name; do remove_cgroups "$name"; done
	leave_node
}
prepare_node
NODE_EXIT=leave_peer enter_node "$here/run.sh" "$@"
node_up
start_runtime
# Its pods' own image, which the first pods would otherwise wait for
"$CRI_TOOLS/crictl" --runtime-endpoint "unix://$SOCKET" pull registry.k8s.io/pause:3.10 >/dev/null 2>&1

say "running the gRPC tests against $("$PEER/containerd" --version | cut -d' ' -f2,3), $("$PEER/runc" --version | head -n 1)"
(
	cd "$ROOT"
	test_environment grpc-peers
	export RUST_BACKTRACE=0 CORACLE_E2E_TRANSPORT=spdy
	CORACLE_E2E_ENDPOINT=$SOCKET cargo test --locked --test grpc -- "$@"
) >"$NODE/suite.log" 2>&1 || true
if ! kill -0 "$RUNTIME_PID" 2>/dev/null; then
	fail "containerd lives on"
	runtime_log_tail 40
fi
python3 "$here/compare.py" "$NODE/suite.log" "$here/differences.tsv" "$@" >"$NODE/judged" || FAILED=1
cat "$NODE/judged" >>"$CORACLE_RESULTS"
finish
