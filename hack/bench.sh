#!/bin/bash
# bench.sh [PART,...] [FLAG...]: Coracle beside containerd 2.4 with runc and with crun, and beside Debian's containerd, in one
# run: on the same images, registry, network plugins and disk. Prints medians and ratios; fails when a goal is missed. All
# parts take about 40 minutes. FLAGs go to hack/bench (bench -h). The results are in results/bench.json in the cache.
# bench.sh document: writes docs/performance.md and its picture from the results of the last run of all parts.
# bench.sh guard [--update]: counts what Coracle does for each operation (calls of the kernel, processes, syncs, bytes under
# strace; the daemon's instructions and allocations under callgrind), by itself, and fails when that is over 5 % more than
# hack/bench/guard.tsv has; --update writes it.
#
#   floors     what every runtime has to do, done without one: network plugins, the kernel's part of a container, writing
#   pods       lives of pods, one at a time; their start is timed by its steps
#   rates      pods started ten and fifty at a time
#   exec       ExecSync, in a row and after a rest
#   pulls      images of few, many, large and shared layers
#   events     from the end of a process to its event
#   logs       a gigabyte of a container's output
#   streaming  a gigabyte out of a pod, by exec and by port-forward
#   many       a node with a hundred pods: memory, what telling costs and starts, probes, rest, a restart of the daemon
#   growth     the same at 1, 10, 100 and 500 pods: what must not grow
#   daemon     the start of a daemon
#   critest    the benchmarks of CRI's own test suite
#   records    lists of thousands of containers that have ended
#
# CORACLE_BENCH_PEERS names those to compare with (containerd-runc containerd-crun containerd-1.6); CORACLE_BENCH_MOUNTS
# says how many mounts more the node has, as one with many volumes does (0).
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=e2e/harness/node.sh
. "$ROOT/e2e/harness/node.sh"

readonly LARGE_PORT=5001
readonly RESULTS=$CACHE/results

if [ "${1-}" = document ]; then
	"$ROOT/hack/tools.sh" bench
	[ -e "$RESULTS/bench.json" ] || die "there are no results of all parts: run hack/bench.sh"
	exec "$("$ROOT/hack/tools.sh" --dir bench)/bench" -out "$RESULTS/bench.json" -document "$ROOT/docs"
fi
if [ "${1-}" = guard ]; then
	guard=1
	case ${2-} in '' | --update) ;; *) die "usage: bench.sh guard [--update]" ;; esac
fi
if [ -z "${CORACLE_NODE-}" ] && [ -n "${guard-}" ]; then
	need_root
	"$ROOT/hack/install.sh" guard
	"$ROOT/hack/tools.sh" bench
	BENCH=$("$ROOT/hack/tools.sh" --dir bench)/bench
	export BENCH
elif [ -z "${CORACLE_NODE-}" ]; then
	need_root
	"$ROOT/hack/install.sh" bench
	"$ROOT/hack/tools.sh" bench containerd
	BENCH=$("$ROOT/hack/tools.sh" --dir bench)/bench
	NEWEST=$("$ROOT/hack/tools.sh" --dir containerd)
	LARGE=$("$ROOT/e2e/images/images.sh" large)
	DEBIAN=$(debian_containerd)
	CRUN=$(unpacked crun)/usr/bin/crun
	packages libyajl2 libsystemd0 libcap2 libseccomp2
	COMMIT=$(git -C "$ROOT" rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
	[ -z "$(git -C "$ROOT" status --porcelain 2>/dev/null)" ] || COMMIT+=' and changes'
	export BENCH NEWEST LARGE DEBIAN CRUN COMMIT
fi
prepare_node
enter_node "$ROOT/hack/bench.sh" "$@"
node_up
# What all speak
cni_config 1.0.0 >cni/conf/10-node.conflist
if [ -z "${guard-}" ]; then
	start_registry "$LARGE" "$LARGE_PORT" "$NODE/large-registry.log" read-only
	write_mirror certs.d "127.0.0.1:$LARGE_PORT" "$LARGE_PORT"
fi
mkdir -p disk/{logs,floors} launch
for ((n = 0; n < ${CORACLE_BENCH_MOUNTS:-0}; n++)); do
	mkdir -p "volumes/$n"
	mount -t tmpfs volume "volumes/$n"
done

# Where processor time is counted: a hierarchy of its own on cgroup v1.
accounting=/sys/fs/cgroup/cpuacct
[ -d "$accounting" ] || accounting=/sys/fs/cgroup
arguments=() facts=()

# fact NAME TEXT: something to keep with the results.
fact() { facts+=("$1" "$2"); }

# launched NAME SOCKET COMMAND...: a script that becomes a daemon in a cgroup of its own, for the bench. It does so when it is
# told to: a move to another cgroup takes as long as some daemons take to start.
launched() {
	local name=$1 socket=$2 group
	group=/$(basename "$NODE")/$name
	mkdir -p "$accounting$group/daemon"
	shift 2
	cat >"launch/$name" <<-END
		#!/bin/bash
		echo \$\$ >$accounting$group/daemon/cgroup.procs
		echo ready
		read -r
		exec ${*@Q} >>$NODE/$name.log 2>&1 </dev/null
	END
	chmod +x "launch/$name"
	arguments+=("$name=$socket=$group=$NODE/launch/$name")
}

# launched_containerd NAME PROGRAMS [WRAPPER...]: a containerd, its files named after it.
launched_containerd() {
	local name=$1 programs=$2 socket=/run/$1/containerd.sock
	shift 2
	mkdir -p "disk/$name" "/run/$name"
	containerd_config "$programs" "$NODE/disk/$name" "/run/$name/state" "$socket" >"$name.toml"
	# As durable as Coracle, which answers when the files are on disk; 1.6 has no such setting.
	! grep -q '^version = 4' "$name.toml" ||
		printf '[plugins."io.containerd.cri.v1.images"]\n  image_pull_with_sync_fs = true\n' >>"$name.toml"
	launched "$name" "$socket" env "PATH=$programs:$PATH" "$@" "$programs/containerd" --config "$NODE/$name.toml" --log-level warn
}

group=/$(basename "$NODE")/coracle
mkdir -p disk/coracle /run/coracle
coracle_config "$NODE/disk/coracle" /run/coracle/run /run/coracle/cri.sock |
	sed "s|^\(cgroup_parent = \).*|\1\"$group\"|; s|^\(monitor_cgroup = \).*|\1\"$group/monitors\"|" >coracle.toml
if [ -n "${guard-}" ]; then
	launched coracle /run/coracle/cri.sock strace -D -f -qq -ttt -y -s 0 -e signal=none -o "$NODE/trace" "$CORACLE_BINARY" serve --config "$NODE/coracle.toml"
	launched weighed /run/coracle/cri.sock valgrind --tool=callgrind "--callgrind-out-file=$NODE/weights" "--log-file=$NODE/valgrind.log" \
		"$CORACLE_BINARY" serve --config "$NODE/coracle.toml"
	rc=0
	"$BENCH" -guard "$NODE/trace" -weights "$NODE/weights" -baseline "$ROOT/hack/bench/guard.tsv" ${2:+-update} -image registry.k8s.io/e2e-test-images/busybox:1.29-2 \
		-logs "$NODE/disk/logs" "${arguments[@]}" || rc=$?
	[ "$rc" = 0 ] || tail -n 20 "$NODE"/{coracle,weighed,valgrind}.log >&2
	exit "$rc"
fi
launched coracle /run/coracle/cri.sock "$CORACLE_BINARY" serve --config "$NODE/coracle.toml"
fact coracle "$("$CORACLE_BINARY" --version), commit $COMMIT"
for peer in ${CORACLE_BENCH_PEERS-containerd-runc containerd-crun containerd-1.6}; do
	case $peer in
	containerd-runc)
		launched_containerd "$peer" "$NEWEST"
		fact "$peer" "$("$NEWEST/containerd" --version | cut -d' ' -f2,3), $("$NEWEST/runc" --version | head -n 1)"
		;;
	containerd-crun)
		# hack/bench/crun.go: it stands in under runc's name.
		mkdir crun
		ln -s "$NEWEST"/containerd* "$CRUN" crun/
		ln -s "$BENCH" crun/runc
		launched_containerd "$peer" "$NODE/crun" unshare --mount sh -c '! mountpoint -q /sys/fs/cgroup/unified || umount /sys/fs/cgroup/unified; exec "$@"' sh
		fact "$peer" "$("$NEWEST/containerd" --version | cut -d' ' -f2,3), $("$CRUN" --version | head -n 1)"
		;;
	containerd-1.6)
		launched_containerd "$peer" "$DEBIAN"
		fact "$peer" "$("$DEBIAN/containerd" --version | cut -d' ' -f2,3), $("$DEBIAN/runc" --version | head -n 1)"
		;;
	*) die "no such peer: $peer" ;;
	esac
done

out=$RESULTS/bench.json parts=()
case ${1-} in
'' | -*) ;;
*)
	out=$RESULTS/bench-part.json
	parts=(-parts "$1")
	;;
esac
fact machine "$(uname -r), $(nproc) processors ($(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)), $(awk '/^MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo)"
fact 'load before' "$(cut -d' ' -f1-3 /proc/loadavg)"
fact command "hack/bench.sh${*:+ $*}"
[ ${#parts[@]} = 0 ] || shift
rc=0
"$BENCH" "${parts[@]}" -image registry.k8s.io/e2e-test-images/busybox:1.29-2 -registry "127.0.0.1:$LARGE_PORT" -logs "$NODE/disk/logs" \
	-cni-config "$NODE/cni/conf/10-node.conflist" -cni-bin "$CNI_PLUGINS" -scratch "$NODE/disk/floors" -critest "$CRI_TOOLS/critest" -facts "$(python3 -c 'import json, sys; print(json.dumps(dict(zip(sys.argv[1::2], sys.argv[2::2]))))' "${facts[@]}")" \
	-out "$out" "$@" "${arguments[@]}" || rc=$?
# 3: measured, and a goal missed
[ "$rc" = 0 ] || [ "$rc" = 3 ] || tail -n 20 "$NODE"/{coracle,containerd-*}.log >&2
exit "$rc"
