#!/bin/bash
# What runs inside the guest: the runtime as a systemd service on cgroup v2, and a pod's life with a memory limit.
# run.sh put all it needs beside it.
set -euo pipefail
export HOME=/root
job=$PWD
# shellcheck source=hack/lib.sh
. ./hack/lib.sh
export CORACLE_RESULTS=$job/out/results
# shellcheck source=e2e/harness/report.sh
. ./e2e/harness/report.sh
# shellcheck disable=SC1091
. ./settings # UNIT, SOCKET, REGISTRY_PORT

readonly IMAGE=registry.k8s.io/e2e-test-images/busybox:1.29-2
readonly LIMIT=67108864

crictl() { ./bin/crictl --runtime-endpoint "unix://$SOCKET" --timeout 60s "$@" 2>>"$job/out/crictl.log"; }

# status ID FIELD: one field of a container's status.
status() { crictl inspect -o go-template --template "{{.status.$2}}" "$1"; }

# reach SECONDS ID STATE: waits until a container is in a state.
reach() {
	local limit=$((SECONDS + $1))
	while [ "$(status "$2" state)" != "$3" ] && [ "$SECONDS" -lt "$limit" ]; do sleep 0.3; done
	status "$2" state
}

# container NAME COMMAND: makes one with a memory limit in the pod, starts it, prints its id.
container() {
	local id
	cat >"$1.json" <<-END
		{"metadata": {"name": "$1"}, "image": {"image": "$IMAGE"}, "command": ["sh", "-c", "$2"], "log_path": "$1.log",
		 "linux": {"resources": {"memory_limit_in_bytes": $LIMIT}}}
	END
	id=$(crictl create "$POD" "$1.json" pod.json) && crictl start "$id" >/dev/null && echo "$id"
}

# pid_of ID: a container's first process.
pid_of() { crictl inspect -o go-template --template '{{.info.pid}}' "$1"; }

# group_of ID: the directory of its control group.
group_of() { echo "/sys/fs/cgroup$(sed -n 's/^0:://p' "/proc/$(pid_of "$1")/cgroup")"; }

give_up() {
	say "-- the journal's end"
	journalctl --no-pager -q -u "$UNIT" | tail -n 40 >&2
	exit 1
}

bin/registry serve registry.yml >out/registry.log 2>&1 &
mkdir -p /var/lib/coracle /var/lib/containerd
mount /dev/vdd "$(readlink -f "$STORE")"
systemctl daemon-reload
started=$(date +%s%3N)
if systemctl start "$UNIT"; then pass "systemd starts the daemon and hears that it is ready"; else
	fail "systemd starts the daemon and hears that it is ready"
	give_up
fi
say "started in $(($(date +%s%3N) - started)) ms"
equal "the guest has the unified cgroup tree" cgroup2fs "$(stat -f -c %T /sys/fs/cgroup)"

crictl pull "$IMAGE" >/dev/null || { fail "an image is pulled"; give_up; }
pass "an image is pulled"
cat >pod.json <<-END
	{"metadata": {"name": "guest", "namespace": "default", "uid": "guest-uid", "attempt": 0}, "hostname": "guest",
	 "log_directory": "/var/log/guest", "linux": {}}
END
if [ "$UNIT" = coracle ]; then
	check "coracle status finds all ready" coracle status
	check "the quickstart's pod runs" coracle demo --image "$IMAGE"
fi
mkdir -p /var/log/guest
POD=$(crictl runp pod.json) || { fail "a pod runs"; give_up; }
id=$(container steady 'echo up; exec top -b -d 3600 >/dev/null') || { fail "a container starts"; give_up; }
equal "a container runs" CONTAINER_RUNNING "$(status "$id" state)"
equal "exec answers from inside" guest "$(crictl exec -s "$id" hostname)"
equal "its log has its output" up "$(crictl logs "$id")"
pid=$(pid_of "$id")
group=$(group_of "$id")
equal "its memory is limited" "$LIMIT" "$(cat "$group/memory.max")"
# What the kernel would kill for: pages that can be written to the disk go there first.
crictl exec -s "$id" sh -c 'head -c 40000000 /dev/zero >/cached; sync'
crictl update --memory 16777216 --cpu-share 512 --cpu-quota 20000 --cpu-period 50000 "$id" >/dev/null || fail "its limits change"
equal "its limits are others" "16777216 20 20000 50000" "$(cat "$group"/{memory.max,cpu.weight,cpu.max} | xargs)"
equal "its status tells them" "16777216 512 20000 50000" "$(for field in memoryLimitInBytes cpuShares cpuQuota cpuPeriod; do
	status "$id" "resources.linux.$field" && echo
done | xargs)"
equal "it runs on" CONTAINER_RUNNING "$(status "$id" state)"
crictl update --memory "$LIMIT" "$id" >/dev/null || fail "its limits change back"
disk=$(lsblk -dnro NAME,MAJ:MIN | awk '$1 == "vda" { sub(":", " ", $2); print $2 " " $3; exit }')
equal "a disk's node can be made and not read" "made 1" \
	"$(crictl exec -s "$id" sh -c "mknod /disk b $disk && echo made; head -c 1 /disk >/dev/null 2>&1; echo \$?" | xargs)"
equal "its own devices can be read" 0 "$(crictl exec -s "$id" sh -c 'head -c 1 /dev/urandom >/dev/null; echo $?')"
# shellcheck source=e2e/guest/devices.sh
. ./devices.sh
prepare_devices
# The other runtime promises neither figures of drivers nor directories.
[ "$UNIT" != coracle ] || devices_hold
equal "its address answers" 0 "$(ping -c 1 -W 5 "$(crictl inspectp -o go-template --template '{{.status.network.ip}}' "$POD")" >/dev/null; echo $?)"

limited=$(container limited 'exec dd if=/dev/zero of=/dev/null bs=200M') || { fail "a greedy container starts"; give_up; }
equal "a greedy container ends" CONTAINER_EXITED "$(reach 60 "$limited" CONTAINER_EXITED)"
equal "its reason is the lack of memory" OOMKilled "$(status "$limited" reason)"
equal "its exit code is the signal's" 137 "$(status "$limited" exitCode)"

systemctl restart "$UNIT" || { fail "the daemon restarts"; give_up; }
equal "a restarted daemon finds the container running" CONTAINER_RUNNING "$(reach 30 "$id" CONTAINER_RUNNING)"
equal "and it is the same process" "$pid" "$(pid_of "$id")"
equal "and exec still answers" guest "$(crictl exec -s "$id" hostname)"
equal "the ended one kept its reason" OOMKilled "$(status "$limited" reason)"

crictl stop --timeout 5 "$id" >/dev/null || true
equal "it stops" CONTAINER_EXITED "$(status "$id" state)"
for container in "$id" "$limited"; do crictl rm -f "$container" >/dev/null || fail "rm $container"; done
crictl stopp "$POD" >/dev/null || fail "stopp"
crictl rmp "$POD" >/dev/null || fail "rmp"
equal "nothing is listed any more" "" "$(crictl ps -aq; crictl pods -q)"
equal "its cgroup is gone" gone "$(test -d "$group" && echo "$group" || echo gone)"
equal "no root file system is mounted" 0 "$(grep -c ' overlay ' /proc/mounts || true)"
equal "no network namespace is pinned" 0 "$(grep -c '^nsfs ' /proc/mounts || true)"
equal "no interface of the pod is left" 0 "$(ip -o link show type veth | wc -l)"
# shellcheck source=e2e/guest/scopes.sh
[ "$UNIT" != coracle ] || . ./scopes.sh
systemctl stop "$UNIT" || fail "the daemon stops"
equal "none of its processes is left" "" "$(pgrep -l "$UNIT")"
equal "systemd saw it end well" success "$(systemctl show -p Result --value "$UNIT")"
journalctl --no-pager -q -u "$UNIT" >out/runtime.log || true
[ "$FAILED" = 0 ] || give_up
