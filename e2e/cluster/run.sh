#!/bin/bash
# A cluster on one machine: a control plane, and two nodes, each with namespaces, cgroups, a kubelet, a kube-proxy and a
# Coracle of its own. See cluster.py for what is tried on it, chart.py for what with the Helm chart. Arguments are the names of the
# trials to run (all), or `chart`.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=e2e/harness/kubelet.sh
. "$here/../harness/kubelet.sh"
# shellcheck source=e2e/harness/cluster.sh
. "$here/../harness/cluster.sh"
# shellcheck source=e2e/harness/release.sh
. "$here/../harness/release.sh"

if [ -z "${CORACLE_NODE-}" ]; then
	need_cluster chart
	save_machine
fi
prepare_node
NODE_EXIT=restore_machine enter_node "$here/run.sh" "$@"

node_up
export NODE PYTHONPATH=$ROOT/e2e/harness:$ROOT/e2e/images
start_releases
write_mirror "$NODE/certs.d" ghcr.io "$RELEASES_PORT"
for number in 1 2; do make_node "$number"; done
python3 -B "$here/cluster.py" "$@" || FAILED=1
finish
