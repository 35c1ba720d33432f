#!/bin/bash
# What runs inside the guest: the daemon as a systemd service, and critest. run.sh put all it needs beside it, and judges.
set -euo pipefail
export HOME=/root PATH=$PWD/bin:$PATH
# shellcheck disable=SC1091
. ./settings # UNIT, STORE, SOCKET

bin/registry serve registry.yml >out/registry.log 2>&1 &
mkdir -p "$STORE"
mount /dev/vdd "$(readlink -f "$STORE")"
systemctl daemon-reload
systemctl start "$UNIT"
critest() {
	timeout -k 10 3000 bin/critest --runtime-endpoint="unix://$SOCKET" --ginkgo.no-color --ginkgo.json-report="$PWD/out/$1" \
		"${@:2}" >>out/critest.log 2>&1 </dev/null || true
}
critest report.json --parallel=4
critest websocket.json --ginkgo.focus='Streaming runtime' --websocket-exec --websocket-attach --websocket-portforward
journalctl --no-pager -q -u "$UNIT" >out/daemon.log
cat /sys/kernel/security/apparmor/profiles >out/profiles.log
