#!/bin/bash
# A node that runs Debian's containerd under a real kubelet, in the virtual machine with systemd: Coracle is installed, the kubelet
# switched, restored, switched again, Coracle upgraded under a running pod, a switch that fails undone, all taken off.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=e2e/guest/job.sh
. "$here/../guest/job.sh"

prepare_node
"$ROOT/hack/tools.sh" kubelet
need_guest bookworm

NODE=$(mktemp -d)
trap leave_node EXIT
job=$NODE/job
fill_job "$job"
files=$job/files
# The package's way is not what is tested: the program comes with `coracle node install`.
mv "$files/usr/bin/coracle" "$job/coracle"
rm "$files/etc/systemd/system/coracle.service"
install_containerd "$files" "$(debian_containerd)"
sed -i 's|\( *\)BinaryName = .*|&\n\1SystemdCgroup = true|' "$files/etc/containerd/config.toml"
cp "$("$ROOT/hack/tools.sh" --dir kubelet)/kubelet" "$files/usr/bin/"
mkdir -p "$files"/{etc/kubernetes/manifests,etc/systemd/system/kubelet.service.d,var/lib/kubelet}
# Both runtimes read this one: the older CNI.
sed -i 's/"cniVersion": "[^"]*"/"cniVersion": "1.0.0"/' "$files/etc/cni/net.d/10-node.conflist"
sed -e 's|SOCKET|/run/containerd/containerd.sock|; s|NODE/manifests|/etc/kubernetes/manifests|' "$here/../kubelet/config.yaml" \
	>"$files/var/lib/kubelet/config.yaml"
echo 'cgroupDriver: systemd' >>"$files/var/lib/kubelet/config.yaml"
# As kubeadm's packages have it.
printf '[Service]\nExecStart=/usr/bin/kubelet\nRestart=always\nRestartSec=10\n' >"$files/etc/systemd/system/kubelet.service"
cat >"$files/etc/systemd/system/kubelet.service.d/10-kubeadm.conf" <<'END'
[Service]
Environment="KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml"
EnvironmentFile=-/etc/default/kubelet
ExecStart=
ExecStart=/usr/bin/kubelet $KUBELET_CONFIG_ARGS $KUBELET_EXTRA_ARGS
END
cat >"$files/etc/kubernetes/manifests/steady.yaml" <<'END'
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
