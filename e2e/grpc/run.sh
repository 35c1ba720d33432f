#!/bin/bash
# The daemon over gRPC: every call, good and bad input, restarts, pulls, closed holes of the engine.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=hack/lib.sh
. hack/lib.sh
# shellcheck source=e2e/harness/report.sh
. e2e/harness/report.sh
need_root
need_rust
hack/tools.sh cni-plugins cri-tools
unpacked docker-registry >/dev/null
CORACLE_CNI_BIN=$(hack/tools.sh --dir cni-plugins)
CORACLE_E2E_LOGS=$CACHE/logs/grpc
CORACLE_CACHE=$CACHE
rm -rf "$CORACLE_E2E_LOGS"
export CORACLE_CACHE CORACLE_CNI_BIN CORACLE_E2E_LOGS

cargo_tests "gRPC tests" --test grpc
finish
