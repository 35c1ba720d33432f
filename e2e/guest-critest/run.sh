#!/bin/bash
# critest in a virtual machine that has what this one may lack: AppArmor, the unified cgroup tree with systemd as the driver,
# a kernel that maps the owners of every file system. Nothing may be skipped there.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=e2e/guest/job.sh
. "$here/../guest/job.sh"

prepare_node
# critest loads its profiles by sudo.
need_guest trixie sudo

NODE=$(mktemp -d)
trap leave_node EXIT
job=$NODE/job
fill_job "$job"
cp "$CRI_TOOLS"/{critest,ginkgo} "$job/bin/"
cp "$here/inside.sh" "$job/"
mkdir "$NODE/out"

say "running critest in the guest"
"$ROOT/hack/vm.sh" run -i "$job" -o "$NODE/out" -d 4G -t 3600 "$job/start.sh" >"$NODE/guest.log" 2>&1 || {
	fail "the guest ends well"
	tail -n 30 "$NODE/guest.log" >&2
}
lists=$here/../critest reason='needs a host with AppArmor'
grep "$reason\$" "$lists/not-yet.txt" | cut -f 1 | cat "$lists/passing.txt" - >"$NODE/passing.txt"
grep -v "$reason\$" "$lists/not-yet.txt" >"$NODE/not-yet.txt"
for report in report websocket; do
	how=(--how "in the guest")
	[ "$report" = report ] || how=(--only Streaming --how "in the guest, over WebSocket")
	python3 "$lists/compare.py" "$NODE/out/$report.json" "$NODE/passing.txt" "$NODE/not-yet.txt" "${how[@]}" >>"$CORACLE_RESULTS" ||
		FAILED=1
done
check "the machine's logs came" cp -t "$NODE" "$NODE/out"/*.json "$NODE/out"/*.log
finish
