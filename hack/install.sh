#!/bin/bash
# install.sh [PART...]: installs the Debian or Ubuntu packages that building and the named parts of hack/test.sh need.
# Does nothing, quickly, when all is there.
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

need_rust
for part in "$@"; do
	case $part in
	unit)
		# Debian's own, older CNI plugins are tested once beside those of e2e/tools.
		packages shellcheck python3 busybox procps util-linux iproute2 iptables nftables mount containernetworking-plugins
		need_go
		;;
	bench)
		packages python3 busybox procps util-linux iproute2 iptables nftables e2fsprogs mount curl tar zstd
		need_go
		;;
	grpc | grpc-peers | faults | critest | critest-kills | cni-churn | crictl | kubelet | conformance)
		# busybox, not busybox-static (the two exclude each other): the tests' images need its dynamic build.
		packages python3 busybox procps util-linux iproute2 iptables nftables e2fsprogs mount
		need_go
		;;
	chart)
		packages python3 python3-pip unzip mount util-linux
		need_go
		;;
	cluster | cluster-conformance | cluster-chosen)
		packages python3 busybox procps util-linux bsdutils iproute2 iptables nftables e2fsprogs mount openssl curl
		need_go
		;;
	guard)
		packages python3 busybox procps util-linux iproute2 iptables nftables e2fsprogs mount strace valgrind
		need_go
		;;
	fuzz) packages g++ ;;
	power | planted | soak)
		packages python3 busybox procps util-linux iproute2 iptables nftables e2fsprogs xfsprogs mount
		need_go
		;;
	packages) packages python3 mmdebstrap rpm lintian dpkg-dev binutils xz-utils systemd man-db zsh fish ;;
	guest-packages)
		packages python3 busybox qemu-system-x86 mmdebstrap cpio e2fsprogs dpkg-dev binutils xz-utils
		;;
	guest-chart)
		packages python3 busybox procps util-linux iproute2 iptables nftables e2fsprogs mount openssl qemu-system-x86 mmdebstrap cpio
		need_go
		;;
	guest | guest-critest | guest-selinux | guest-cuts | guest-kubelet | guest-node) packages python3 busybox qemu-system-x86 mmdebstrap cpio e2fsprogs ;;
	*) die "no such part: $part" ;;
	esac
done
