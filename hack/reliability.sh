#!/bin/bash
# reliability.sh: writes docs/reliability.md from the result lines in ~/.cache/coracle/results (CORACLE_CACHE says
# otherwise), which the suites append to: faults, power, fuzz, soak, planted,
# critest-kills, cluster-conformance, cni-churn, guest-cuts, guest-chart. What was not run is said to be so.
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
python3 -B "$ROOT/e2e/harness/reliability.py" "$CACHE/results" >"$ROOT/docs/reliability.md.new"
mv "$ROOT/docs/reliability.md.new" "$ROOT/docs/reliability.md"
say "docs/reliability.md is written"
