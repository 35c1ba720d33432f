#!/bin/bash
# run.sh [--long]: processes killed at every step and at random, and reboots; some minutes on two cores. With --long every
# pass of every step for every victim, and 500 random kills. CORACLE_SEED repeats a run, CORACLE_FAULTS_POINT walks one
# step, CORACLE_FAULTS_KILLS sets the number of random kills. Figures are appended to results/faults.jsonl in the cache.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=hack/lib.sh
. hack/lib.sh
# shellcheck source=e2e/harness/report.sh
. e2e/harness/report.sh
need_root
need_rust
if [ "${1-}" = --long ]; then
	export CORACLE_FAULTS_LONG=1 CORACLE_FAULTS_KILLS=${CORACLE_FAULTS_KILLS:-500}
fi
test_environment faults
# One after the other: each has all processors to itself.
cargo_tests "fault tests" --test faults -- --test-threads 1
say "figures are in $CORACLE_E2E_FIGURES"
finish
