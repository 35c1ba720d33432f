# shellcheck shell=bash
# The peer: Debian's containerd and runc, for benchmarks, and to try the tests themselves on a runtime known to be good.
# Sourced, never run; needs hack/lib.sh and what node.sh sets up.

# prepare_containerd: its programs, in PEER; CORACLE_PEER names a directory with others.
prepare_containerd() {
	local dir runc
	if [ -n "${CORACLE_PEER-}" ]; then
		PEER=$CORACLE_PEER
	else
		dir=$(unpacked containerd) runc=$(unpacked runc)
		PEER=$CACHE/debs/peer
		mkdir -p "$PEER"
		ln -sf "$dir"/usr/bin/* "$runc/usr/sbin/runc" "$PEER/"
	fi
	export PEER
}

# containerd_config ROOT_DIR SOCKET
containerd_config() {
	cat <<-END
		version = 2
		root = "$1/root"
		state = "/run/containerd"
		[grpc]
		  address = "$2"
		[plugins."io.containerd.grpc.v1.cri"]
		  sandbox_image = "registry.k8s.io/pause:3.10"
		  restrict_oom_score_adj = true
		  [plugins."io.containerd.grpc.v1.cri".cni]
		    bin_dir = "$CNI_PLUGINS"
		    conf_dir = "$NODE/cni/conf"
		  [plugins."io.containerd.grpc.v1.cri".registry]
		    config_path = "$NODE/certs.d"
		  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
		    runtime_type = "io.containerd.runc.v2"
		    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
		      BinaryName = "$PEER/runc"
	END
}

# start_containerd ROOT_DIR SOCKET LOG: sets RUNTIME_PID.
# shellcheck disable=SC2034
start_containerd() {
	containerd_config "$1" "$2" >"$NODE/containerd.toml"
	PATH=$PEER:$PATH "$PEER/containerd" --config "$NODE/containerd.toml" --log-level "${CORACLE_E2E_LOG:-info}" >>"$3" 2>&1 </dev/null &
	RUNTIME_PID=$!
}
