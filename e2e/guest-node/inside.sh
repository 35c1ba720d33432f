#!/bin/bash
# What runs inside the guest; run.sh put all it needs beside it.
set -euo pipefail
export HOME=/root
job=$PWD
# shellcheck source=hack/lib.sh
. ./hack/lib.sh
export CORACLE_RESULTS=$job/out/results
# shellcheck source=e2e/harness/report.sh
. ./e2e/harness/report.sh

readonly OLD=/run/containerd/containerd.sock NEW=/run/coracle/coracle.sock

# at SOCKET ARGUMENT...: crictl there.
at() { ./bin/crictl --runtime-endpoint "unix://$1" --timeout 60s "${@:2}" 2>>"$job/out/crictl.log"; }

running() { at "$1" ps -q --name steady --state running | wc -l; }
pods() { at "$1" pods -q | wc -l; }
pid() { at "$NEW" inspect -o go-template --template '{{.info.pid}}' "$(at "$NEW" ps -q --name steady --state running)"; }
main_pid() { systemctl show -p MainPID --value "$1"; }

# eventually NAME WANTED COMMAND...: as equal, once the command says so, or after two minutes.
eventually() {
	local name=$1 wanted=$2 limit=$((SECONDS + 120))
	shift 2
	while [ "$("$@")" != "$wanted" ] && [ "$SECONDS" -lt "$limit" ]; do sleep 0.5; done
	equal "$name" "$wanted" "$("$@")"
}

give_up() {
	local unit
	for unit in coracle coracle-switch containerd kubelet; do
		say "-- the journal's end of $unit"
		journalctl --no-pager -q -u "$unit" | cut -c1-300 | tail -n 15 >&2
	done
	exit 1
}
# must NAME COMMAND...: as check, and all ends when it fails.
must() {
	check "$@"
	[ "$FAILED" = 0 ] || give_up
}

bin/registry serve registry.yml >out/registry.log 2>&1 &
mkdir -p /var/lib/coracle
mount /dev/vdd /var/lib/coracle
systemctl daemon-reload
systemctl start containerd
systemctl enable --quiet --now kubelet
eventually "containerd runs the kubelet's pod" 1 running "$OLD"
[ "$FAILED" = 0 ] || give_up

kubelet=$(main_pid kubelet)
must "Coracle installs itself" ./coracle node install
equal "the kubelet is not touched" "$kubelet 1" "$(main_pid kubelet) $(running "$OLD")"
equal "the daemon runs, and will after a reboot" "active enabled" "$(systemctl is-active coracle) $(systemctl is-enabled coracle)"
daemon=$(main_pid coracle)
must "it installs itself again" coracle node install
equal "and restarts nothing" "$daemon" "$(main_pid coracle)"
check "it is ready" coracle status

must "the kubelet is switched" coracle node switch --timeout 300 --stats-from-cri
eventually "its pod runs on Coracle" 1 running "$NEW"
equal "none is left at containerd" 0 "$(pods "$OLD")"
check "the node is switched" coracle node status --expect switched
if coracle node uninstall >out/uninstall.log 2>&1; then fail "a node in use is not uninstalled"; else
	check "a node in use is not uninstalled" grep -q 'restore' out/uninstall.log
fi

cp coracle newer
echo >>newer
before=$(pid)
daemon=$(main_pid coracle)
must "another version is installed" ./newer node install
check "its daemon was started" test "$daemon" != "$(main_pid coracle)"
equal "under a container that runs on" "$before" "$(pid)"
check "it is the one that is installed" ./newer node status --expect installed

must "the kubelet is restored" coracle node restore --timeout 300
eventually "its pod runs on containerd" 1 running "$OLD"
equal "none is left at Coracle" 0 "$(pods "$NEW")"

# Of two drop-ins the last one counts: with this one the kubelet stays where it is, whatever ours says.
late=/etc/systemd/system/kubelet.service.d/zzzz-late.conf
cp "${late%/*}/10-kubeadm.conf" "$late"
if coracle node switch --timeout 20 >out/switch.log 2>&1; then fail "a switch that does not come to be is told"; else
	check "a switch that does not come to be is told" grep -q "uses $OLD again" out/switch.log
fi
rm "$late"
systemctl daemon-reload
eventually "and undone" 1 running "$OLD"
check "the reason is kept" grep -q '^undone ' <(coracle node status)
must "restoring forgets it" coracle node restore
must "a unit is asked to switch" coracle node switch --by-unit --timeout 300
eventually "and does" 0 eval 'coracle node status --expect switched >/dev/null; echo $?'
eventually "its pod runs on Coracle again" 1 running "$NEW"
must "the kubelet is restored again" coracle node restore --timeout 300
must "Coracle takes itself off" ./coracle node uninstall
equal "nothing of it is there" "" "$(find /opt/coracle /usr/local/bin/coracle /etc/systemd/system -name '*coracle*' 2>/dev/null)"
eventually "the pod runs as before" 1 running "$OLD"
[ "$FAILED" = 0 ] || give_up
