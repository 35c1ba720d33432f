#!/bin/bash
# The daemon as a systemd service on a node as most are: a virtual machine with systemd and the unified cgroup tree.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=e2e/guest/job.sh
. "$here/../guest/job.sh"

prepare_node
need_guest bookworm

NODE=$(mktemp -d)
trap leave_node EXIT
job=$NODE/job
fill_job "$job"
# First without scopes, then with them: scopes.sh takes this away.
mkdir -p "$job/files/etc/coracle/config.toml.d"
echo 'cgroup_driver = "cgroupfs"' >"$job/files/etc/coracle/config.toml.d/50-driver.toml"
cp "$here/inside.sh" "$here/scopes.sh" "$here/devices.sh" "$job/"
run_guest "$job" 600
finish
