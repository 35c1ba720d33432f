#!/bin/bash
# What Coracle does for each operation, counted, beside the baseline of hack/bench/guard.tsv: not how long it takes.
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../hack/lib.sh"
# shellcheck source=e2e/harness/report.sh
. "$ROOT/e2e/harness/report.sh"

output=$(mktemp)
trap 'rm -f "$output"' EXIT
if "$ROOT/hack/bench.sh" guard >"$output"; then
	pass "no operation does more than its baseline"
else
	fail "no operation does more than its baseline"
fi
# What is less now, or a little more: the baseline may be moved.
cat "$output" >&2
finish
