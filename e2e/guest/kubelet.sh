# shellcheck shell=bash
# The job of a guest that is a node as kubeadm leaves it: Debian's containerd under a real kubelet, both services of systemd.
# Coracle is not installed on it. With it come the guest, the node and how to report.
# Sourced, never run.

# shellcheck source=e2e/guest/job.sh
. "$(dirname "${BASH_SOURCE[0]}")/job.sh"

# fill_node JOB [ADDRESS [OPTIONS]]: JOB as fill_job makes it, its program as JOB/coracle, and the node. The kubelet's configuration
# comes on standard input; OPTIONS are of its command line.
fill_node() {
	local files=$1/files
	fill_job "$1" "${2-}"
	mv "$files/usr/bin/coracle" "$1/coracle"
	rm "$files/etc/systemd/system/coracle.service"
	install_containerd "$files" "$(debian_containerd)"
	sed -i 's|\( *\)BinaryName = .*|&\n\1SystemdCgroup = true|' "$files/etc/containerd/config.toml"
	cp "$("$ROOT/hack/tools.sh" --dir kubelet)/kubelet" "$files/usr/bin/"
	mkdir -p "$files"/{etc/kubernetes/manifests,etc/systemd/system/kubelet.service.d,var/lib/kubelet}
	# Both runtimes read this one: the older CNI.
	sed -i 's/"cniVersion": "[^"]*"/"cniVersion": "1.0.0"/' "$files/etc/cni/net.d/10-node.conflist"
	{ cat && echo 'cgroupDriver: systemd'; } >"$files/var/lib/kubelet/config.yaml"
	# As kubeadm's packages have it.
	printf '[Service]\nExecStart=/usr/bin/kubelet\nRestart=always\nRestartSec=10\n' >"$files/etc/systemd/system/kubelet.service"
	cat >"$files/etc/systemd/system/kubelet.service.d/10-kubeadm.conf" <<-END
		[Service]
		Environment="KUBELET_KUBECONFIG_ARGS=${3-}"
		Environment="KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml"
		EnvironmentFile=-/etc/default/kubelet
		ExecStart=
		ExecStart=/usr/bin/kubelet \$KUBELET_KUBECONFIG_ARGS \$KUBELET_CONFIG_ARGS \$KUBELET_EXTRA_ARGS
	END
}
