#!/bin/bash
# test.sh [PART...] [--endpoint SOCKET]: installs what the tests need and runs them: those named, or all but the ones that say so.
#
#   unit     format, lints, unit and documentation tests
#   grpc     the daemon over gRPC: every call, good and bad input; with --endpoint any CRI runtime: see e2e/grpc/run.sh
#   grpc-peers  the same against containerd 2.4, failures compared with e2e/grpc-peers/differences.tsv (by name only)
#   faults   processes killed at every step and at random, reboots; e2e/faults/run.sh --long: more of it
#   critest  Kubernetes' conformance suite for CRI runtimes, unmodified
#   critest-kills  the same, while the daemon is killed every five seconds
#   crictl   the CRI client that operators use
#   kubelet  a real kubelet with static pods: all they may ask for, 110 at once, kills, a reboot; e2e/kubelet/run.sh WAVE: some of it
#   cluster  a control plane and two nodes: rollouts, services, kubectl, drains, a daemon killed meanwhile, the Helm chart installed,
#            upgraded and taken off (by name only); e2e/cluster/run.sh chart: that alone
#   conformance  Kubernetes' own suite for nodes, its 427 specs for conformance, unmodified (by name only); e2e/conformance/run.sh
#            PATTERN: some of them
#   cluster-conformance  Kubernetes' own suite for clusters on those two nodes and a CoreDNS, its 257 specs for conformance about nodes,
#            storage, the network and kubectl, unmodified (by name only); e2e/cluster-conformance/run.sh PATTERN: some of them
#   cluster-chosen  a part of that suite that takes a few minutes, 72 specs of all its groups
#   cni-churn  a thousand pods while three calls of the network's plugins in ten fail (by name only)
#   power    power cuts of a store on ext4 and on xfs, ten each (by name only)
#   planted  faults switched on one by one, each to be noticed by the test meant for it (by name only)
#   chart    coracle node on scratch roots, Coracle's image, the Helm chart (by name only)
#   guard    kernel calls, processes, syncs and bytes of each operation, against a baseline
#   packages  a release: its packages, installed, upgraded and removed in roots of their own (by name only)
#   fuzz     every fuzz target for 20 seconds
#   guest    the daemon as a systemd service in a virtual machine with cgroup v2
#   guest-critest  critest on a node with AppArmor, cgroup v2 and systemd: that machine (by name only)
#   guest-cuts  ten power cuts of that machine (by name only)
#   guest-selinux  critest's specs for a node with SELinux, and labels, in that machine with a policy (by name only)
#   guest-packages  the .deb under systemd: installed, upgraded under a running container, hung, removed: that machine (by name only)
#   guest-kubelet  waves of the part kubelet with the systemd and with the cgroupfs driver: that machine (by name only);
#            e2e/guest-kubelet/run.sh WAVE: others
#   guest-node  a node of containerd's under a real kubelet, switched to Coracle and back: that machine (by name only)
#   guest-chart  that node in a cluster, by the Helm chart alone: installed, moved by its label, upgraded under load (by name only)
#
# The last line is the count: "N passed, N failed", and "N skipped" if any were. Whatever is built or fetched is kept in ~/.cache/coracle
# (CORACLE_CACHE says otherwise), nothing in the checkout.
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly ALL=(unit grpc grpc-peers faults critest critest-kills crictl kubelet cluster conformance cluster-conformance cluster-chosen cni-churn power planted chart packages guard fuzz guest guest-critest guest-selinux guest-cuts guest-kubelet guest-node guest-chart guest-packages)
# What a run without arguments does. The others are run by name until they have been green for a while.
readonly DEFAULT=(unit grpc faults critest critest-kills crictl kubelet cluster-chosen guard fuzz guest)

case ${1-} in -h | --help)
	sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"
	exit
	;;
esac
parts=()
while [ $# -gt 0 ]; do
	case $1 in
	--endpoint)
		[ -n "${2-}" ] || die "--endpoint takes a socket"
		[ -S "${2#unix://}" ] || die "no socket: $2"
		export CORACLE_E2E_ENDPOINT=$2
		shift 2
		;;
	*)
		parts+=("$1")
		shift
		;;
	esac
done
[ -z "${CORACLE_E2E_ENDPOINT-}" ] || [ "${parts[*]}" = grpc ] || die "--endpoint is for the part grpc, by itself"
set -- "${parts[@]}"
left_out=()
if [ $# = 0 ]; then
	set -- "${DEFAULT[@]}"
	for part in "${ALL[@]}"; do
		case " ${DEFAULT[*]} " in *" $part "*) ;; *) left_out+=("$part") ;; esac
	done
fi
for part in "$@"; do
	case " ${ALL[*]} " in *" $part "*) ;; *) die "no such part: $part (there are: ${ALL[*]})" ;; esac
	[ "$part" = unit ] || need_root
done

"$ROOT/hack/install.sh" "$@"
CORACLE_RESULTS=$(mktemp)
export CORACLE_RESULTS
ahead=''
trap 'rm -f "$CORACLE_RESULTS"; [ -z "$ahead" ] || kill -- "-$ahead" 2>/dev/null || true' EXIT
# While a part runs, what the later ones need is built.
if [ $# -gt 1 ]; then
	mkdir -p "$CACHE/logs"
	setsid "$ROOT/hack/ahead.sh" "${@:2}" >"$CACHE/logs/ahead.log" 2>&1 </dev/null &
	ahead=$!
fi

for part in "$@"; do
	started=$SECONDS failures=$(grep -c '^fail' "$CORACLE_RESULTS" || true)
	say "== $part"
	if "$ROOT/e2e/$part/run.sh"; then
		say "== $part passed ($((SECONDS - started)) s)"
	else
		# A part that broke before it could name a failure is one.
		[ "$(grep -c '^fail' "$CORACLE_RESULTS" || true)" -gt "$failures" ] || echo "fail 1 $part" >>"$CORACLE_RESULTS"
		say "== $part failed ($((SECONDS - started)) s)"
	fi
done
[ ${#left_out[@]} = 0 ] || say "left out, run by name only: ${left_out[*]}; and the long forms of e2e/faults, hack/fuzz.sh, hack/soak.sh, hack/bench.sh"
awk '{ n[$1] += $2 } END { printf "%d passed, %d failed%s\n", n["pass"], n["fail"], n["skip"] ? ", " n["skip"] " skipped" : ""; exit n["fail"] > 0 || n["pass"] == 0 }' "$CORACLE_RESULTS"
