#!/bin/bash
# Each fuzz target for 20 seconds (CORACLE_FUZZ_SECONDS says otherwise), from the kept inputs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
exec hack/fuzz.sh "${CORACLE_FUZZ_SECONDS:-20}"
