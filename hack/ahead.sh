#!/bin/bash
# ahead.sh PART...: builds what these parts of hack/test.sh need beside their tests, in their order: the program, tools, fuzz
# targets. test.sh has it run behind the parts, with the processor time that they leave. A part that comes to what is not there
# yet waits for it, or builds it; what cannot be built here is tried there again, and told there.
set -uo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=e2e/harness/runtime.sh
. "$ROOT/e2e/harness/runtime.sh"

# A session has a share of the processors of its own, and within that a class.
[ ! -w /proc/self/autogroup ] || echo 19 >/proc/self/autogroup
chrt --idle --pid 0 $$

for part in "$@"; do
	case $part in
	grpc | faults | power | planted | cni-churn) tools=(cni-plugins cri-tools grpcurl) ;;
	grpc-peers) tools=(cni-plugins cri-tools grpcurl containerd) ;;
	critest-kills) tools=(repeater) ;;
	kubelet | guest-kubelet | guest-node) tools=(kubelet) ;;
	conformance) tools=(kubelet conformance) ;;
	cluster | guest-chart) tools=(kubelet cluster chart) ;;
	cluster-chosen | cluster-conformance) tools=(kubelet cluster conformance coredns) ;;
	chart) tools=(chart promtool) ;;
	packages | guest-packages) tools=(cargo-deb cargo-generate-rpm cargo-cyclonedx) ;;
	guard) tools=(bench) ;;
	*) tools=() ;;
	esac
	case $part in
	unit | grpc | faults | power | planted | cni-churn | packages | guest-packages) ;;
	fuzz) "$ROOT/hack/fuzz.sh" --build ;;
	*) (prepare_runtime) ;;
	esac
	[ ${#tools[@]} = 0 ] || "$ROOT/hack/tools.sh" "${tools[@]}"
done
