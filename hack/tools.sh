#!/bin/bash
# tools.sh [NAME...]: builds the Go programs that the tests drive Coracle with, from the pinned modules below e2e/tools/
# and in hack/bench/, and tools of cargo's: cargo-deny, which looks at what Coracle depends on, and those that make packages.
# tools.sh --dir NAME: prints the directory that NAME's programs are in, and builds nothing.
#
# Each module's programs go to CACHE/tools/NAME-VERSION-HASH/, HASH being of what pins them, so that what is there is
# never built twice and never stale. Nothing here is part of Coracle.
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly NAMES=(cri-tools cni-plugins kubelet cluster conformance coredns bench repeater chart promtool grpcurl containerd cargo-deny cargo-deb cargo-generate-rpm cargo-cyclonedx)

# pinned NAME: the version of the module that NAME exists for.
pinned() {
	case $1 in
	cri-tools) module_version "$1" sigs.k8s.io/cri-tools ;;
	cni-plugins) module_version "$1" github.com/containernetworking/plugins ;;
	kubelet | cluster | conformance) module_version "$1" k8s.io/kubernetes ;;
	coredns) module_version "$1" github.com/coredns/coredns ;;
	bench) module_version "$1" k8s.io/cri-api ;;
	repeater) module_version "$1" google.golang.org/grpc ;;
	grpcurl) module_version "$1" github.com/fullstorydev/grpcurl ;;
	chart) module_version "$1" helm.sh/helm/v4 ;;
	promtool) module_version "$1" github.com/prometheus/prometheus ;;
	containerd) module_version "$1" github.com/containerd/containerd/v2 ;;
	cargo-deny) echo 0.20.2 ;;
	cargo-deb) echo 3.8.0 ;;
	cargo-generate-rpm) echo 0.21.1 ;;
	cargo-cyclonedx) echo 0.5.9 ;;
	*) die "no such tool: $1 (there are: ${NAMES[*]})" ;;
	esac
}

# module_dir NAME: the directory of its module.
module_dir() { if [ "$1" = bench ]; then echo "$ROOT/hack/bench"; else echo "$ROOT/e2e/tools/$1"; fi; }

# module_version NAME MODULE: what NAME's go.mod requires of MODULE.
module_version() {
	awk -v m="$2" '{ sub(/^require /, ""); sub(/^[ \t]+/, "") } $1 == m && $2 ~ /^v/ { print $2; exit }' \
		"$(module_dir "$1")/go.mod"
}

# tool_dir NAME
tool_dir() {
	local hash
	if [[ $1 = cargo-* ]]; then
		echo "$CACHE/tools/$1-$(pinned "$1")"
		return
	fi
	hash=$(cd "$(module_dir "$1")" && find . -maxdepth 1 -type f '(' -name 'go.*' -o -name '*.go' -o -name '*.tsv' ')' | LC_ALL=C sort | xargs sha256sum | sha256sum | cut -c1-8)
	echo "$CACHE/tools/$1-$(pinned "$1")-$hash"
}

# The builders: each leaves its programs in the directory $1; they run in the module's own directory.
build_cri_tools() {
	local stamp
	stamp="-s -w -X sigs.k8s.io/cri-tools/pkg/version.Version=$(pinned cri-tools)"
	go test -c -vet=off -trimpath -ldflags "$stamp" -o "$1/critest" sigs.k8s.io/cri-tools/cmd/critest
	go build -trimpath -ldflags "$stamp" -o "$1/" sigs.k8s.io/cri-tools/cmd/crictl
	go build -trimpath -ldflags '-s -w' -o "$1/" github.com/onsi/ginkgo/v2/ginkgo
}

build_cni_plugins() { go build -trimpath -ldflags '-s -w' -o "$1/" tool; }

# Without what finds targets in clouds, which is most of it.
build_promtool() { go build -trimpath -tags remove_all_sd -ldflags '-s -w' -o "$1/" tool; }

build_grpcurl() { go build -trimpath -ldflags '-s -w' -o "$1/" tool; }

# kubernetes_stamp: the linker's flags for a program of Kubernetes that says which version it is.
kubernetes_stamp() {
	local version stamp='-s -w' package
	version=$(pinned kubelet)
	for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
		stamp+=" -X $package.gitVersion=$version -X $package.gitMajor=1 -X $package.gitMinor=$(cut -d. -f2 <<<"$version")"
		stamp+=" -X $package.gitTreeState=clean -X $package.gitCommit=none -X $package.buildDate=1970-01-01T00:00:00Z"
	done
	echo "$stamp"
}

# build_kubernetes DIRECTORY PACKAGE
build_kubernetes() { go build -trimpath -ldflags "$(kubernetes_stamp)" -o "$1/" "$2"; }
build_kubelet() { build_kubernetes "$1" tool; }
build_cluster() { build_kubernetes "$1" .; }

build_conformance() {
	build_kubernetes "$1" tool
	# The certificate that agnhost's image has.
	cp "$(go list -m -f '{{.Dir}}' k8s.io/kubernetes)"/test/images/agnhost/porter/localhost.{crt,key} "$1/"
	go test -c -vet=off -trimpath -ldflags "$(kubernetes_stamp)" -o "$1/e2e_node.test" k8s.io/kubernetes/test/e2e_node
	go test -c -vet=off -trimpath -ldflags "$(kubernetes_stamp)" -o "$1/e2e.test" k8s.io/kubernetes/test/e2e
}

build_chart() {
	local program
	for program in github.com/helm-unittest/helm-unittest/cmd/helm-unittest github.com/norwoodj/helm-docs/cmd/helm-docs \
		github.com/yannh/kubeconform/cmd/kubeconform; do
		go build -trimpath -ldflags '-s -w' -o "$1/" "$program"
	done
	for program in 3 4; do
		go build -trimpath -ldflags "-s -w -X helm.sh/helm/v$program/internal/version.version=$(module_version chart "helm.sh/helm/v$program")" \
			-o "$1/helm-$program" "helm.sh/helm/v$program/cmd/helm"
	done
}

# containerd, its shim, and runc, which takes C for what it does before Go's threads start.
build_containerd() {
	local version package=github.com/containerd/containerd/v2
	version=$(pinned containerd)
	go build -trimpath -ldflags "-s -w -X $package/version.Version=$version" -o "$1/" $package/cmd/containerd $package/cmd/containerd-shim-runc-v2
	CGO_ENABLED=1 go build -trimpath -tags seccomp -ldflags "-s -w -X main.version=$(module_version containerd github.com/opencontainers/runc)" \
		-o "$1/" github.com/opencontainers/runc
}

# cargo_tool DIR NAME OPTIMISATION [ARGUMENTS]: NAME from crates.io, with its own lock file.
cargo_tool() {
	need_rust
	CARGO_TARGET_DIR=$1/target CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_DEV_OPT_LEVEL=$3 \
		cargo install --quiet --locked --debug --version "=$(pinned "$2")" --root "$1" "${@:4}" "$2"
	mv "$1/bin/$2" "$1/"
	rm -rf "${1:?}/target" "${1:?}/bin" "${1:?}"/.crates*
}
# Without optimisation: built in a minute, it looks at everything in seconds.
build_cargo_deny() { cargo_tool "$1" cargo-deny 0; }
build_cargo_cyclonedx() { cargo_tool "$1" cargo-cyclonedx 0; }
# These compress. Their own compressors: what a machine has installed does not change a package.
build_cargo_deb() { cargo_tool "$1" cargo-deb 1 --features static-lzma; }
build_cargo_generate_rpm() { cargo_tool "$1" cargo-generate-rpm 1; }

# A tool of ours.
build_own() { go build -trimpath -ldflags '-s -w' -o "$1/" .; }
build_bench() { build_own "$1"; }
build_repeater() { build_own "$1"; }
build_coredns() { build_own "$1"; }

# build NAME: unless it is there already.
build() {
	local dir lock started=$SECONDS
	dir=$(tool_dir "$1")
	[ ! -d "$dir" ] || return 0
	mkdir -p "$CACHE/tools"
	# Somebody else may be building it.
	exec {lock}>"$CACHE/tools/$1.lock"
	flock "$lock"
	if [ -d "$dir" ]; then
		exec {lock}>&-
		return
	fi
	say "building $1 $(pinned "$1") (kept in $dir)"
	rm -rf "$dir.new"
	mkdir "$dir.new"
	(
		[[ $1 = cargo-* ]] || cd "$(module_dir "$1")"
		export CGO_ENABLED=0 GOFLAGS='-mod=readonly -buildvcs=false' GOTOOLCHAIN=local GOWORK=off
		"build_${1//-/_}" "$dir.new"
	)
	mv "$dir.new" "$dir"
	exec {lock}>&-
	say "built $1 in $((SECONDS - started)) s"
}

if [ "${1-}" = --dir ]; then
	[ $# = 2 ] || die "usage: tools.sh --dir NAME"
	tool_dir "$2"
	exit
fi
[ $# -gt 0 ] || set -- "${NAMES[@]}"
for name in "$@"; do [[ $name = cargo-* ]] || need_go; done
for name in "$@"; do
	[ -n "$(pinned "$name")" ] || die "$name: its go.mod pins no version"
	build "$name"
done
