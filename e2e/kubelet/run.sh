#!/bin/bash
# A real kubelet without an API server: pods from files, in namespaces and cgroups of their own. See suite.py for what is tried;
# arguments are the names of the waves to run (all). What needs an API server, as projected volumes, recursive read-only mounts and
# handlers do, is in e2e/cluster and e2e/conformance.
# CORACLE_E2E_DRIVER (cgroupfs) says which cgroup driver; systemd needs a machine that systemd runs.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export CORACLE_E2E_DRIVER=${CORACLE_E2E_DRIVER:-cgroupfs}
# shellcheck source=e2e/harness/kubelet.sh
. "$here/../harness/kubelet.sh"

if [ -z "${CORACLE_NODE-}" ]; then
	"$ROOT/hack/tools.sh" kubelet
	KUBELET=$("$ROOT/hack/tools.sh" --dir kubelet)/kubelet
	export KUBELET
	save_machine
fi
prepare_node
NODE_EXIT=restore_machine enter_node "$here/run.sh" "$@"

node_up
mkdir -p manifests disk/{kubelet,log,certs,host} coracle.toml.d /var/lib/kubelet
mount --bind disk/kubelet /var/lib/kubelet
mount --bind disk/log /var/log
# What containers mount there goes to the host and to each other.
mount --bind disk/host disk/host
mount --make-rshared disk/host
mkdir -p disk/host/tree/below
mount -t tmpfs below disk/host/tree/below
if [ "$CORACLE_E2E_DRIVER" = systemd ]; then root=/; else
	# Apart from other kubelets, which take the cgroups of pods that they do not know away.
	root=/$(basename "$NODE")/kube
	make_cgroups "$root"
fi
sed -e "s|SOCKET|$SOCKET|; s|NODE/|$NODE/|; s|^cgroupRoot: .*|cgroupRoot: $root|" "$here/config.yaml" >kubelet.yaml
printf '[api]\nsocket = "/run/runtime/api.sock"\n' >coracle.toml.d/api.toml
start_runtime
# It is killed, and that is no news.
disown "$RUNTIME_PID"
export NODE SOCKET RUNTIME_PID REGISTRY_PID SUBREAPER_PID=$PPID
PYTHONPATH=$ROOT/e2e/harness python3 -B "$here/suite.py" "$@" || FAILED=1
if [ "$FAILED" != 0 ]; then
	tail -n 15 kubelet.log >&2
	runtime_log_tail 40
fi
finish
