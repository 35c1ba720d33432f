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
hack/tools.sh cni-plugins
unpacked docker-registry >/dev/null
CORACLE_CNI_BIN=$(hack/tools.sh --dir cni-plugins)
CORACLE_E2E_LOGS=$CACHE/logs/faults
CORACLE_CACHE=$CACHE
CORACLE_FAULTS_RESULTS=$CACHE/results/faults.jsonl
CORACLE_COMMIT=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
rm -rf "$CORACLE_E2E_LOGS"
export CORACLE_CACHE CORACLE_CNI_BIN CORACLE_E2E_LOGS CORACLE_FAULTS_RESULTS CORACLE_COMMIT

# One after the other: each has all processors to itself.
cargo_tests "fault tests" --test faults -- --test-threads 1
say "figures are in $CORACLE_FAULTS_RESULTS"
finish
