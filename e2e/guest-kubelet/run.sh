#!/bin/bash
# The kubelet's suite (e2e/kubelet) on a node with cgroup v2: in the virtual machine with systemd, once with its cgroup driver, once
# with cgroupfs (CORACLE_E2E_DRIVER: with that one alone).
# run.sh [WAVE...]: other waves than those about programs that come and go; emulated, the machine is too slow for those with
# dozens of pods at once.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=e2e/guest/job.sh
. "$here/../guest/job.sh"

prepare_node
"$ROOT/hack/tools.sh" kubelet
# The kernel of Debian 12 has no user namespaces for pods.
need_guest trixie python3

NODE=$(mktemp -d)
trap leave_node EXIT
job=$NODE/job
fill_job "$job"
mv "$job/files/usr/bin/coracle" "$job/bin/"
cp "$("$ROOT/hack/tools.sh" --dir kubelet)/kubelet" "$job/bin/"
cp -r "$ROOT/e2e/harness" "$ROOT/e2e/kubelet" "$job/e2e/"
cat "$here/allowed-errors.txt" >>"$job/e2e/kubelet/allowed-errors.txt"
# Where the harness finds the registry.
mkdir -p "$job/cache/debs/docker-registry/root/usr/bin"
mv "$job/bin/registry" "$job/cache/debs/docker-registry/root/usr/bin/docker-registry"
[ $# -gt 0 ] || set -- kept restart reboot
[ "$CORACLE_E2E_DRIVER" != auto ] || CORACLE_E2E_DRIVER="systemd cgroupfs"
printf "WAVES='%s'\nDRIVERS='%s'\n" "$*" "$CORACLE_E2E_DRIVER" >>"$job/settings"
cp "$here/inside.sh" "$job/"
VM_MEM=4096 run_guest "$job" 2400
finish
