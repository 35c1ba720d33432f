#!/bin/bash
# bench.sh [PART] [FLAG...]: Coracle beside Debian's containerd and runc, in one run, on the same images, network and disk.
# Prints medians and ratios; fails when a ratio is over what Coracle promises. FLAGs go to e2e/tools/bench.
#
#   (none)     start and end of pods, ExecSync, pulls, memory of idle pods
#   streaming  a gigabyte out of a pod, by exec and by port-forward
#   lists      Status, List* and *Stats with two hundred pods there, and whether they start processes
#
# CORACLE_BENCH_MOUNTS says how many mounts more the node has, as one with many volumes does (0).
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=e2e/harness/node.sh
. "$ROOT/e2e/harness/node.sh"

readonly LARGE_PORT=5001

if [ -z "${CORACLE_NODE-}" ]; then
	need_root
	"$ROOT/hack/install.sh" bench
	"$ROOT/hack/tools.sh" bench
	BENCH=$("$ROOT/hack/tools.sh" --dir bench)/bench
	LARGE=$("$ROOT/e2e/images/images.sh" large)
	DEBIAN=$(debian_containerd)
	export BENCH LARGE DEBIAN
fi
prepare_node
enter_node "$ROOT/hack/bench.sh" "$@"
node_up
# What both speak
cni_config 1.0.0 >cni/conf/10-node.conflist
start_registry "$LARGE" "$LARGE_PORT" "$NODE/large-registry.log" read-only
write_mirror certs.d "127.0.0.1:$LARGE_PORT" "$LARGE_PORT"
mkdir -p disk/containerd disk/logs
for ((n = 0; n < ${CORACLE_BENCH_MOUNTS:-0}; n++)); do
	mkdir -p "volumes/$n"
	mount -t tmpfs volume "volumes/$n"
done

# Sets SOCKET and RUNTIME_PID
start_runtime
start_containerd "$DEBIAN" "$NODE/disk/containerd" /run/containerd /run/containerd/containerd.sock "$NODE/containerd.log"
wait_for_runtime /run/containerd/containerd.sock "$CONTAINERD_PID" "$NODE/containerd.log"
# Its pods' own image, which the first pod would otherwise wait for
"$CRI_TOOLS/crictl" --runtime-endpoint unix:///run/containerd/containerd.sock pull registry.k8s.io/pause:3.10 >/dev/null 2>&1

say "$(uname -r), $(nproc) processors, $("$DEBIAN/containerd" --version), $("$DEBIAN/runc" --version | head -n 1)"
part=()
case ${1-} in
'' | -*) ;;
*)
	part=(-part "$1")
	[ "$1" != lists ] || part+=(-cgroup "/$(basename "$NODE")/pods")
	shift
	;;
esac
rc=0
"$BENCH" "${part[@]}" -image registry.k8s.io/e2e-test-images/busybox:1.29-2 -large "127.0.0.1:$LARGE_PORT/bench/large:1" \
	-logs "$NODE/disk/logs" -root "$PPID" "$@" \
	"coracle=$SOCKET=$RUNTIME_PID" "containerd=/run/containerd/containerd.sock=$CONTAINERD_PID" || rc=$?
# 3: measured, and a limit missed
[ "$rc" = 0 ] || [ "$rc" = 3 ] || runtime_log_tail 20
exit "$rc"
