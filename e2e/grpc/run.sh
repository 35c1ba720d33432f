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
test_environment grpc
HOSTILE="hostile_images::" cargo_tests "gRPC tests" --test grpc
finish
