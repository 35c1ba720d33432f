#!/bin/bash
# What runs inside the guest: the kubelet's suite, on a node of its own for each cgroup driver.
set -euo pipefail
job=$PWD
# shellcheck disable=SC1091
. ./settings # WAVES, DRIVERS
export HOME=/root CORACLE_CACHE=$job/cache CORACLE_RESULTS=$job/out/results CRI_TOOLS=$job/bin CNI_PLUGINS=/opt/cni/bin IMAGES=$job/storage
export CORACLE_BINARY=$job/bin/coracle KUBELET=$job/bin/kubelet CORACLE_E2E_PATIENCE=4
mkdir -p /var/lib/node
mount /dev/vdd /var/lib/node
modprobe loop
rc=0
for CORACLE_E2E_DRIVER in $DRIVERS; do
	export CORACLE_E2E_DRIVER CORACLE_NODE=/var/lib/node/coracle-$CORACLE_E2E_DRIVER
	mkdir -p "$CORACLE_NODE/coracle.toml.d"
	printf '[cni]\ntimeout_seconds = 240\n' >"$CORACLE_NODE/coracle.toml.d/slow.toml"
	echo "-- $CORACLE_E2E_DRIVER"
	# shellcheck disable=SC2086 # WAVES is words
	python3 e2e/harness/subreaper.py unshare --mount --net --propagation private bash e2e/kubelet/run.sh $WAVES || rc=$?
	for log in "$CORACLE_NODE"/*.log; do tail -n 3000 "$log" >"out/$CORACLE_E2E_DRIVER-${log##*/}"; done
done
exit "$rc"
