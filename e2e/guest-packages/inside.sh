#!/bin/bash
# What runs inside the guest; run.sh put all it needs beside it.
set -euo pipefail
export HOME=/root DEBIAN_FRONTEND=noninteractive
job=$PWD
# shellcheck source=hack/lib.sh
. ./hack/lib.sh
export CORACLE_RESULTS=$job/out/results
# shellcheck source=e2e/harness/report.sh
. ./e2e/harness/report.sh

readonly IMAGE=registry.k8s.io/e2e-test-images/busybox:1.29-2

crictl() { ./bin/crictl --config "$job/crictl.yaml" --timeout 60s "$@" 2>>"$job/out/crictl.log"; }
property() { systemctl show -p "$1" --value coracle; }
pid() { crictl inspect -o go-template --template '{{.info.pid}}' "$ID"; }

# eventually NAME WANTED COMMAND...: as equal, once the command says so, or after two minutes.
eventually() {
	local name=$1 wanted=$2 limit=$((SECONDS + 120))
	shift 2
	while [ "$("$@" 2>&1)" != "$wanted" ] && [ "$SECONDS" -lt "$limit" ]; do sleep 0.5; done
	equal "$name" "$wanted" "$("$@" 2>&1)"
}

# must NAME COMMAND...: as check, and all ends when it fails.
must() {
	check "$@"
	[ "$FAILED" = 0 ] && return
	say "-- the journal's end"
	journalctl --no-pager -q -u coracle | tail -n 40 >&2
	exit 1
}

bin/registry serve registry.yml >out/registry.log 2>&1 &
mkdir -p /var/lib/coracle
mount /dev/vdd /var/lib/coracle
# The guest's own settings of what the package brings.
rm /etc/modules-load.d/vm.conf /etc/sysctl.d/90-vm.conf
sysctl -qw net.ipv4.ip_forward=0 fs.inotify.max_user_instances=128

# The guest is small, and has no documentation but the package's.
echo 'path-include=/usr/share/doc/coracle/*' >/etc/dpkg/dpkg.cfg.d/zz-coracle
must "the package installs" dpkg -i 1.deb
equal "the daemon runs, and will after a boot" "active enabled" "$(systemctl is-active coracle) $(systemctl is-enabled coracle)"
equal "it is the package's" /usr/bin/coracle "$(readlink "/proc/$(property MainPID)/exe")"
equal "the kernel is set as a node's is" "1 1 8192" "$(sysctl -n net.ipv4.ip_forward net.bridge.bridge-nf-call-iptables fs.inotify.max_user_instances | xargs)"
check "systemd has nothing to say of the unit" test -z "$(journalctl -q -b -t systemd --no-pager | grep -i 'coracle.service:.*\(unknown\|ignoring\|deprecated\)')"
cp /usr/share/doc/coracle/examples/crictl.yaml .
must "coracle status finds all ready" coracle status

cat >pod.json <<-END
	{"metadata": {"name": "packaged", "namespace": "default", "uid": "packaged-uid", "attempt": 0}, "log_directory": "/var/log/packaged", "linux": {}}
END
cat >container.json <<-END
	{"metadata": {"name": "steady"}, "image": {"image": "$IMAGE"}, "command": ["top", "-b", "-d", "3600"], "log_path": "steady.log",
	 "linux": {"security_context": {"seccomp": {"profile_type": 0}}}}
END
mkdir -p /var/log/packaged
must "an image is pulled" crictl pull "$IMAGE"
POD=$(crictl runp pod.json) || must "a pod runs" false
ID=$(crictl create "$POD" container.json pod.json) || must "a container is made" false
must "and starts" crictl start "$ID"
container=$(pid)
# Its first process may gain more by a set-user-id program, and has the one filter that it has asked for.
equal "nothing of the unit confines it further" "0 2 1" "$(sed -n 's/^NoNewPrivs:\t//p; s/^Seccomp:\t//p; s/^Seccomp_filters:\t//p' "/proc/$container/status" | xargs)"

daemon=$(property MainPID)
must "the package is upgraded" dpkg -i 2.deb
check "its daemon was restarted" test "$daemon" != "$(property MainPID)"
equal "once, and ended well" "success 0" "$(property Result) $(property NRestarts)"
eventually "under a container that runs on" "$container" pid

# The watchdog, with less patience.
mkdir -p /run/systemd/system/coracle.service.d
printf '[Service]\nWatchdogSec=6\n' >/run/systemd/system/coracle.service.d/watchdog.conf
systemctl daemon-reload
systemctl restart coracle
daemon=$(property MainPID)
# That nothing happens takes time to see.
sleep 13
equal "a daemon that answers is left alone, for longer than it may be silent" "$daemon 0" "$(property MainPID) $(property NRestarts)"
kill -STOP "$daemon"
eventually "one that hangs is killed and started anew" 1 property NRestarts
eventually "and is ready" active systemctl is-active coracle
check "another process" test "$daemon" != "$(property MainPID)"
check "systemd says why" grep -q 'Watchdog timeout' <(journalctl -q --no-pager -u coracle)
eventually "under a container that runs on still" "$container" pid
equal "which answers" yes "$(crictl exec -s "$ID" echo yes)"
rm -r /run/systemd/system/coracle.service.d

must "the package is removed" dpkg -r coracle
equal "the daemon is stopped" inactive "$(systemctl is-active coracle || true)"
check "the container runs on" test -d "/proc/$container"
must "the package is installed again" dpkg -i 2.deb
eventually "and finds it" "$container" pid
crictl rmp -fa >/dev/null || fail "all pods are removed"
must "the package is purged" dpkg -P coracle
equal "nothing of the unit is left" "" "$(find /etc/systemd /usr/lib/systemd /etc/coracle/config.toml -name '*coracle*' -o -name config.toml 2>/dev/null)"
check "images and records stay" test -s /var/lib/coracle/state.redb -o -d /var/lib/coracle/images
[ "$FAILED" = 0 ]
