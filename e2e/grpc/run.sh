#!/bin/bash
# The daemon over gRPC: every call, good and bad input, restarts, pulls, closed holes of the engine.
#
# With CORACLE_E2E_ENDPOINT (hack/test.sh grpc --endpoint SOCKET) the runtime that listens there is tested instead, in its own
# namespaces: the tests have to run where it does. It needs a CNI network; it has to pull from a registry on 127.0.0.1 over
# plain HTTP. Pods of the namespaces `e2e` and `old` are taken for the tests' own. What needs our daemon is skipped, and counted.
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
