# shellcheck shell=bash
# The second part of inside.sh, and sourced by it: the same daemon with the cgroup driver that it chooses here by itself.
# shellcheck disable=SC2153 # LIMIT is inside.sh's
# Each container is a scope of systemd in its pod's slice, and what systemd knows of it is what the kernel holds.

readonly SLICE=kubepods-burstable-podguest_scopes.slice
readonly PLACE=/kubepods.slice/kubepods-burstable.slice/$SLICE

# property NAME [UNIT]: what systemd knows of the scope.
property() { systemctl show -p "$1" --value "${2:-$scope}"; }

# limits: what the kernel holds of the scope, in one line.
limits() { cat "$group"/{memory.max,cpu.weight,cpu.max,cpuset.cpus,pids.max} | xargs; }

# eventually NAME WANTED COMMAND...: as equal, once the command says so, or after 30 seconds.
eventually() {
	local name=$1 wanted=$2 limit=$((SECONDS + 30))
	shift 2
	while [ "$("$@")" != "$wanted" ] && [ "$SECONDS" -lt "$limit" ]; do sleep 0.2; done
	equal "$name" "$wanted" "$("$@")"
}

scopes() { systemctl list-units --all --plain --no-legend 'coracle-*.scope' | awk '{ print $1 }'; }
processes() { xargs <"$group/cgroup.procs"; }

rm /etc/coracle/config.toml.d/50-driver.toml
systemctl restart "$UNIT" || { fail "the daemon starts with scopes"; give_up; }
equal "the kubelet is told of systemd" SYSTEMD "$(crictl runtime-config | grep -o 'SYSTEMD\|CGROUPFS')"

sed 's|"linux": {}|"linux": {"cgroup_parent": "/kubepods/burstable/podx"}|; s|guest-uid|other|' pod.json >other.json
equal "a parent that is no slice is refused by name" "cgroup_parent /kubepods/burstable/podx is not a slice" \
	"$(./bin/crictl --runtime-endpoint "unix://$SOCKET" runp other.json 2>&1 | grep -o 'cgroup_parent [^ ]* is not a slice' | sort -u)"
sed -i "s|\"linux\": {}|\"linux\": {\"cgroup_parent\": \"$SLICE\"}|; s|guest-uid|guest-scopes|" pod.json
POD=$(crictl runp pod.json) || { fail "a pod in a slice runs"; give_up; }
id=$(container scoped 'exec top -b -d 3600 >/dev/null') || { fail "a container in a scope starts"; give_up; }
scope=coracle-$id.scope
pid=$(pid_of "$id")
group=/sys/fs/cgroup$PLACE/$scope
equal "its first process is in the scope" "$PLACE/$scope" "$(sed -n 's/^0:://p' "/proc/$pid/cgroup")"
eventually "and alone there" "$pid" processes
equal "systemd has the scope in its slice, and leaves it to us" "active $SLICE yes" \
	"$(property ActiveState) $(property Slice) $(property Delegate)"
equal "its limits are the kernel's and systemd's" "$LIMIT max $LIMIT infinity" \
	"$(cat "$group"/{memory.max,pids.max} | xargs) $(property MemoryMax) $(property TasksMax)"

crictl update --memory 33554432 --cpu-share 512 --cpu-quota 20000 --cpu-period 50000 --cpuset-cpus 0 "$id" >/dev/null ||
	fail "limits of a scope change"
equal "changed limits are the kernel's" "33554432 20 20000 50000 0 max" "$(limits)"
equal "and systemd's" "33554432 20 400ms 50ms 0" "$(for name in MemoryMax CPUWeight CPUQuotaPerSecUSec CPUQuotaPeriodUSec AllowedCPUs; do
	property "$name"
done | xargs)"
systemctl daemon-reload
equal "systemd reads its configuration again and undoes nothing" "33554432 20 20000 50000 0 max" "$(limits)"
# That it could: a limit of its own goes to the file at once, and with it all that it knows.
systemctl set-property --runtime "$scope" MemoryHigh=30M CPUWeight=20
equal "nor when it writes the limits again" "33554432 20 20000 50000 0 max" "$(limits)"
crictl update --cpu-quota 12345 --cpu-period 100000 "$id" >/dev/null || fail "a quota that systemd rounds is set"
equal "a quota that systemd would round is exact" "12345 100000" "$(cat "$group/cpu.max")"
if crictl update --memory 65536 "$id" >/dev/null; then fail "a limit below what is in use is refused"; else
	pass "a limit below what is in use is refused"
fi
equal "and nothing has changed" "33554432 33554432" "$(cat "$group/memory.max") $(property MemoryMax)"
equal "the pod's usage is its slice's" 2 "$(crictl statsp -o json "$POD" | grep -c usageCoreNanoSeconds)"

devices_hold

greedy=$(container greedy 'exec dd if=/dev/zero of=/dev/null bs=200M') || { fail "a greedy container starts"; give_up; }
equal "a greedy container in a scope ends" CONTAINER_EXITED "$(reach 60 "$greedy" CONTAINER_EXITED)"
equal "for lack of memory, though its scope goes with it" OOMKilled "$(status "$greedy" reason)"
eventually "the ended one's scope is collected, the other is there" "$scope" scopes

systemctl restart "$UNIT" || { fail "the daemon restarts beside scopes"; give_up; }
equal "a restarted daemon finds the scope's container" "CONTAINER_RUNNING active" \
	"$(reach 30 "$id" CONTAINER_RUNNING) $(property ActiveState)"
equal "with the same process" "$pid" "$(pid_of "$id")"
equal "and exec answers" guest "$(crictl exec -s "$id" hostname)"
check "the audit finds nothing" coracle check

# A daemon that is killed while it makes a container: whatever instant it was, nothing is left of it.
sed 's|"name": "greedy"|"name": "caught"|' greedy.json >caught.json
(crictl create "$POD" caught.json pod.json >/dev/null || true) &
creation=$!
eventually "a scope is being made" 2 eval 'scopes | wc -l'
kill -9 "$(property MainPID "$UNIT")"
wait "$creation"
eventually "the daemon is back" 0 eval 'crictl version >/dev/null 2>&1; echo $?'
for container in $(crictl ps -aq); do
	[ "$container" = "$id" ] || crictl rm -f "$container" >/dev/null || fail "rm $container"
done
eventually "a daemon killed in a creation leaves no scope" "$scope" scopes

crictl stop --timeout 5 "$id" >/dev/null || true
crictl rm "$id" >/dev/null || fail "rm of a container in a scope"
equal "no scope is left" "" "$(scopes)"
crictl stopp "$POD" >/dev/null || fail "stopp"
crictl rmp "$POD" >/dev/null || fail "rmp"
equal "no cgroup of a scope is left" "" "$(find /sys/fs/cgroup -name 'coracle-*.scope')"
check "the audit finds nothing afterwards" coracle check
