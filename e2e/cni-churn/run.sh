#!/bin/bash
# Pods come and go on a network of which three calls in ten fail: run.sh [PODS] (1000). At the end not one address, interface
# or debt is left. It is the test of e2e/grpc with more pods.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=hack/lib.sh
. hack/lib.sh
# shellcheck source=e2e/harness/report.sh
. e2e/harness/report.sh
need_root
need_rust
test_environment cni-churn
export CORACLE_E2E_PODS=${1:-1000}

log=$(mktemp) losses=0
trap 'rm -f "$log"' EXIT
cargo test --locked --test grpc -- no_address_is_lost_when_three_calls_in_ten_fail >"$log" 2>&1 || losses=1
grep -q 'test result: ok. 1 passed' "$log" || losses=1
# What the test says of itself: "N pods, N plugin calls, N failed attempts, ...".
figures=$(sed -n 's/^\([0-9]*\) pods, \([0-9]*\) plugin calls, \([0-9]*\) failed attempts.*/"pods":\1,"calls":\2,"failed":\3/p' "$log")
if [ "$losses" = 0 ]; then
	pass "no address is lost: $figures"
else
	fail "no address is lost"
	tail -n 60 "$log" >&2
fi
record cni-churn cni-churn "${figures:-\"pods\":0,\"calls\":0,\"failed\":0},\"losses\":$losses"
finish
