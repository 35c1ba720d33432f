#!/bin/bash
# The daemon as a systemd service on a node as most are: a virtual machine with systemd and the unified cgroup tree.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=hack/lib.sh
. "$here/../../hack/lib.sh"
# shellcheck source=e2e/harness/report.sh
. "$here/../harness/report.sh"
# shellcheck source=e2e/harness/node.sh
. "$here/../harness/node.sh"

# shellcheck source=e2e/guest/job.sh
. "$here/job.sh"

prepare_node
need_guest bookworm

NODE=$(mktemp -d)
trap leave_node EXIT
job=$NODE/job
fill_job "$job"
# First without scopes, then with them: scopes.sh takes this away.
mkdir -p "$job/files/etc/coracle/config.toml.d"
echo 'cgroup_driver = "cgroupfs"' >"$job/files/etc/coracle/config.toml.d/50-driver.toml"
mkdir "$NODE/out"
{
	echo 'cp -a files/. / && rm -r files'
	echo '. ./inside.sh'
} >"$job/start.sh"
cp "$here/inside.sh" "$here/scopes.sh" "$job/"

say "running the guest"
rc=0
"$ROOT/hack/vm.sh" run -i "$job" -o "$NODE/out" -d 4G -t 600 "$job/start.sh" >"$NODE/guest.log" 2>&1 || rc=$?
if [ -s "$NODE/out/results" ]; then cat "$NODE/out/results" >>"$CORACLE_RESULTS"; fi
grep -E '^(ok|FAIL) ' "$NODE/guest.log" >&2 || true
if [ "$rc" != 0 ]; then
	FAILED=1
	grep -vE '^ok ' "$NODE/guest.log" | tail -n 60 >&2
	for log in "$NODE"/out/*.log; do
		[ ! -s "$log" ] || { say "-- ${log##*/}" && tail -n 10 "$log" >&2; }
	done
fi
finish
