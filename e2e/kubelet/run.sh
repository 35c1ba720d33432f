#!/bin/bash
# A real kubelet with static pods: probes, restarts with back-off, adoption after its own restart, then with figures and
# events from the runtime, removal.
# KUBELET_SECONDS says how long the pod is watched (120).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=e2e/harness/kubelet.sh
. "$here/../harness/kubelet.sh"

leave_kubelet() {
	remove_cgroups kubepods
	restore_machine
}

if [ -z "${CORACLE_NODE-}" ]; then
	need_no_pods
	"$ROOT/hack/tools.sh" kubelet
	KUBELET=$("$ROOT/hack/tools.sh" --dir kubelet)/kubelet
	export KUBELET
	save_machine
fi
prepare_node
NODE_EXIT=leave_kubelet enter_node "$here/run.sh" "$@"

start_kubelet() {
	"$KUBELET" --config "$NODE/kubelet.yaml" --hostname-override node1 --node-ip 10.99.0.1 --root-dir /var/lib/kubelet \
		--cert-dir "$NODE/disk/certs" -v 2 >>"$NODE/kubelet.log" 2>&1 </dev/null &
	KUBELET_PID=$!
}

stop_kubelet() {
	kill "$KUBELET_PID"
	wait "$KUBELET_PID" || true
}

pods() { python3 -B "$here/pods.py" "$@"; }
value() { python3 -B "$here/pods.py" --print "$1"; }

# within SECONDS NAME EXPRESSION: passes as soon as the expression about the pods holds.
within() {
	local limit=$((SECONDS + $1)) name=$2 log=$NODE/pods.log
	while ! pods "$3" >"$log" 2>&1; do
		if [ "$SECONDS" -ge "$limit" ]; then
			fail "$name (not within $1 s)"
			tail -n 60 "$log" >&2
			tail -n 15 "$NODE/kubelet.log" >&2
			runtime_log_tail 40
			return 1
		fi
		sleep 0.5
	done
	pass "$name"
}

# manifest NAME: gives the kubelet a pod, whole at once: it watches the directory.
manifest() {
	cp "$here/$1" "$NODE/$1"
	mv "$NODE/$1" "$NODE/manifests/"
}

# our_errors: the kubelet's error lines that no line of the allow-list matches.
our_errors() { grep -E '^E[0-9]{4} ' "$NODE/kubelet.log" | grep -vEf <(grep -v '^#' "$here/allowed-errors.txt") || true; }

node_up
mkdir -p "$NODE/manifests" disk/{kubelet,log,certs} /var/lib/kubelet
mount --bind disk/kubelet /var/lib/kubelet
mount --bind disk/log /var/log
start_runtime
sed -e "s|SOCKET|$SOCKET|; s|NODE/|$NODE/|" "$here/config.yaml" >"$NODE/kubelet.yaml"
# Root disks are slow here and the tests' images small: pull before the clock runs.
for image in nginx:1.14-2 busybox:1.29-2; do
	"$CRI_TOOLS/crictl" --image-endpoint "unix://$SOCKET" --runtime-endpoint "unix://$SOCKET" pull \
		"registry.k8s.io/e2e-test-images/$image" >/dev/null 2>>"$NODE/crictl.log"
done
start_kubelet
manifest pod.yaml

within 60 "both containers start, and both probes succeed" \
	'ready(web) and failing and pod.get("podIP", "").startswith("10.88.")' || exit 1
since=$SECONDS
check "the host's port leads to the pod" \
	python3 -c 'import urllib.request; assert b"nginx" in urllib.request.urlopen("http://10.99.0.1:8081/", timeout=5).read()'
within 30 "the failing container is restarted" 'failing["restartCount"] >= 1'
within 60 "its exit code and last words are told" \
	'failing.get("lastState", {}).get("terminated", {}).get("exitCode") == 3 and failing["lastState"]["terminated"]["message"] == "reason\n"'
left=$((since + ${KUBELET_SECONDS:-120} - SECONDS))
say "watching for $left s more"
[ "$left" -le 0 ] || sleep "$left"
within 5 "the probed container was never restarted" 'ready(web) and web["restartCount"] == 0'
restarts=$(value 'failing["restartCount"]')
check "the kubelet backs off, longer each time" grep -q 'back-off 40s restarting failed container=failing' "$NODE/kubelet.log"
if [ "$restarts" -ge 3 ] && [ "$restarts" -le 6 ]; then
	pass "back-off slows the restarts down"
else
	fail "back-off slows the restarts down ($restarts restarts)"
fi

before=$(value 'web["containerID"]')
stop_kubelet
# The second one has its figures from the runtime alone, and hears of containers by events.
echo 'featureGates: {PodAndContainerStatsFromCRI: true, EventedPLEG: true}' >>"$NODE/kubelet.yaml"
start_kubelet
within 60 "a restarted kubelet adopts the pod" "ready(web) and web['containerID'] == '$before' and web['restartCount'] == 0"
sleep 10
within 5 "and leaves it alone" "ready(web) and web['containerID'] == '$before' and web['restartCount'] == 0"

limit=$((SECONDS + 60))
while ! python3 -B "$here/observed.py" probed web 2>"$NODE/observed.log" && [ "$SECONDS" -lt "$limit" ]; do sleep 2; done
check "its figures are complete and those of the cgroups, and it hears of events" python3 -B "$here/observed.py" probed web
[ ! -s "$NODE/observed.log" ] || tail -n 3 "$NODE/observed.log" >&2

manifest apart.yaml
within 60 "a pod in a user namespace writes to its volume" 'ready(own)'
check "its root is an ordinary user, inside its volume's owner" \
	python3 -c 'import glob, sys
lines = open(glob.glob("/var/log/pods/default_apart-*/own/0.log")[0], encoding="utf-8").read().splitlines()
first, outside, count = lines[0].split()[3:]
owner = lines[-1].split()[5]
sys.exit(not (first == "0" and int(outside) >= 65536 and count == "65536" and owner == "0"))'

rm "$NODE"/manifests/*.yaml
within 60 "without their manifests the pods go" 'not pods'
listed() { "$CRI_TOOLS/crictl" --runtime-endpoint "unix://$SOCKET" "$@" -q 2>>"$NODE/crictl.log"; }
# The kubelet's own clean-up of what it stopped runs once a minute.
limit=$((SECONDS + 90))
while [ -n "$(listed ps -a)" ] && [ "$SECONDS" -lt "$limit" ]; do sleep 1; done
check "no container is left" test -z "$(listed ps -a)"
check "no pod is ready" test -z "$(listed pods --state ready)"
stop_kubelet

errors=$(our_errors)
if [ -z "$errors" ]; then
	pass "the kubelet's log has no error of ours"
else
	fail "the kubelet's log has errors of ours"
	cut -c1-400 <<<"$errors" | head -n 20 >&2
fi
[ "$FAILED" = 0 ] || runtime_log_tail 40
finish
