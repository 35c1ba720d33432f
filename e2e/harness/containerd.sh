# shellcheck shell=bash
# The peers: Debian's containerd and runc, for benchmarks, and to try the tests themselves on a runtime known to be good;
# and a containerd of today (e2e/tools/containerd), for the suite over gRPC.
# Sourced, never run; needs hack/lib.sh and what node.sh sets up.

# debian_containerd: prints a directory with Debian's programs.
debian_containerd() {
	local programs=$CACHE/debs/peer containerd runc
	containerd=$(unpacked containerd) runc=$(unpacked runc)
	mkdir -p "$programs"
	ln -sf "$containerd"/usr/bin/* "$runc/usr/sbin/runc" "$programs/"
	echo "$programs"
}

# containerd_config PROGRAMS ROOT_DIR STATE_DIR SOCKET
containerd_config() {
	case $("$1/containerd" --version) in
	*' v2.'*) containerd_config_4 "$@" ;;
	*) containerd_config_2 "$@" ;;
	esac
}

# The format of 2.x
containerd_config_4() {
	cat <<-END
		version = 4
		root = "$2"
		state = "$3"
		[plugins."io.containerd.server.v1.grpc"]
		  address = "$4"
		[plugins."io.containerd.server.v1.ttrpc"]
		  address = "$4.ttrpc"
		[plugins."io.containerd.internal.v1.opt"]
		  path = "$2/opt"
		[plugins."io.containerd.nri.v1.nri"]
		  disable = true
		[plugins."io.containerd.cri.v1.images".pinned_images]
		  sandbox = "registry.k8s.io/pause:3.10"
		[plugins."io.containerd.cri.v1.images".registry]
		  config_path = "$NODE/certs.d"
		[plugins."io.containerd.cri.v1.runtime"]
		  restrict_oom_score_adj = true
		  [plugins."io.containerd.cri.v1.runtime".cni]
		    bin_dirs = ["$CNI_PLUGINS"]
		    conf_dir = "$NODE/cni/conf"
		  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
		    runtime_type = "io.containerd.runc.v2"
		    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
		      BinaryName = "$1/runc"
	END
}

# The format of 1.x
containerd_config_2() {
	cat <<-END
		version = 2
		root = "$2"
		state = "$3"
		[grpc]
		  address = "$4"
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
		      BinaryName = "$1/runc"
	END
}

# start_containerd PROGRAMS ROOT_DIR STATE_DIR SOCKET LOG: sets CONTAINERD_PID.
start_containerd() {
	containerd_config "$1" "$2" "$3" "$4" >"${5%.log}.toml"
	PATH=$1:$PATH "$1/containerd" --config "${5%.log}.toml" --log-level "${CORACLE_E2E_LOG:-info}" >>"$5" 2>&1 </dev/null &
	export CONTAINERD_PID=$!
}
