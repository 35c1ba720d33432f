#!/bin/bash
# A node that runs Debian's containerd under a real kubelet, in the virtual machine with systemd: Coracle is installed, the kubelet
# switched, restored, switched again, Coracle upgraded under a running pod, a switch that fails undone, all taken off.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=e2e/guest/kubelet.sh
. "$here/../guest/kubelet.sh"

prepare_node
"$ROOT/hack/tools.sh" kubelet
need_guest bookworm

NODE=$(mktemp -d)
trap leave_node EXIT
job=$NODE/job
# The program comes with `coracle node install`.
sed -e 's|SOCKET|/run/containerd/containerd.sock|; s|NODE/manifests|/etc/kubernetes/manifests|' "$here/../kubelet/config.yaml" | fill_node "$job"
cat >"$job/files/etc/kubernetes/manifests/steady.yaml" <<'END'
apiVersion: v1
kind: Pod
metadata: {name: steady}
spec:
  terminationGracePeriodSeconds: 2
  containers:
    - name: steady
      image: registry.k8s.io/e2e-test-images/busybox:1.29-2
      command: [top, -b, -d, "3600"]
END
cp "$here/inside.sh" "$job/"
run_guest "$job" 1500
finish
