#!/bin/bash
# What runs inside the guest: a node, and a shell on a port for who looks at it from outside, until that one writes to `over`.
set -euo pipefail
mkfifo over
mkdir -p /var/lib/coracle
mount /dev/vdd /var/lib/coracle
systemctl daemon-reload
systemctl start containerd
systemctl enable --quiet --now kubelet
socat TCP-LISTEN:7000,fork,reuseaddr EXEC:bash >out/shell.log 2>&1 &
read -r _ <over
for unit in coracle coracle-switch containerd kubelet; do
	journalctl --no-pager -q -u "$unit" | cut -c1-400 | tail -n 4000 >"out/$unit.log"
done
