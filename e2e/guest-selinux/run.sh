#!/bin/bash
# Labels on a node with SELinux: that virtual machine with Debian's policy, which has contexts for containers. critest has specs
# for it that it knows of there only; what is beyond them is looked at from the node. The machine's files have no labels of
# their own, so the policy is enforced for the moment in which that is what is shown.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=e2e/guest/job.sh
. "$here/../guest/job.sh"

prepare_node
need_guest trixie selinux-policy-default,selinux-utils

NODE=$(mktemp -d)
trap leave_node EXIT
job=$NODE/job
fill_job "$job"
cp "$CRI_TOOLS"/{critest,ginkgo} "$job/bin/"
cp "$here/inside.sh" "$job/"
run_guest "$job" 900 'security=selinux selinux=1 enforcing=0'
python3 "$here/../critest/compare.py" "$NODE/out/report.json" "$here/passing.txt" /dev/null --only SELinux --how "on a node with SELinux" \
	>>"$CORACLE_RESULTS" || FAILED=1
finish
