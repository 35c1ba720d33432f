# shellcheck shell=bash
# The daemon under test: coracle. With CORACLE_E2E_RUNTIME=containerd Debian's containerd stands in, to test the tests
# themselves; CORACLE_PEER names a directory with another one, and its runc. CORACLE_BINARY names a coracle to test that
# is not to be built.
# CORACLE_E2E_DRIVER names the cgroup driver (auto).
# Sourced, never run; needs hack/lib.sh and what node.sh sets up.

SOCKET=/run/runtime/cri.sock
export CORACLE_E2E_DRIVER=${CORACLE_E2E_DRIVER:-auto}

# shellcheck source=e2e/harness/containerd.sh
. "$ROOT/e2e/harness/containerd.sh"

prepare_runtime() {
	if [ "${CORACLE_E2E_RUNTIME:-coracle}" = containerd ]; then
		PEER=${CORACLE_PEER:-$(debian_containerd)}
		export PEER
	elif [ -z "${CORACLE_BINARY-}" ]; then
		need_rust
		say "building coracle (the first time takes some minutes)"
		cargo build --manifest-path "$ROOT/Cargo.toml" --locked --release --quiet --bin coracle
		export CORACLE_BINARY=$CARGO_TARGET_DIR/release/coracle
	fi
}

# runtime_cni_version: the newest version of the CNI specification that the runtime speaks.
runtime_cni_version() {
	if [ "${CORACLE_E2E_RUNTIME:-coracle}" = containerd ]; then echo 1.0.0; else echo 1.1.0; fi
}

# coracle_config STATE_DIR RUN_DIR SOCKET: what the daemon under test is configured with.
coracle_config() {
	cat <<-END
		state_dir = "$1"
		run_dir = "$2"
		socket = "$3"
		# What has to be cleaned up is told apart by name: cgroups have no namespace that would hide them.
		cgroup_parent = "/$(basename "$NODE")"
		monitor_cgroup = "/$(basename "$NODE")/monitors"
		cgroup_driver = "$CORACLE_E2E_DRIVER"

		[cni]
		conf_dir = "$NODE/cni/conf"
		bin_dirs = ["$CNI_PLUGINS"]

		[registry]
		config_dir = "$NODE/certs.d"

		[log]
		level = "${CORACLE_E2E_LOG:-info}"
		format = "text"
	END
}

# start_runtime: sets RUNTIME_PID, and waits until the daemon answers at SOCKET.
start_runtime() {
	mkdir -p /run/runtime "$NODE/disk/runtime"
	if [ "${CORACLE_E2E_RUNTIME:-coracle}" = containerd ]; then
		start_containerd "$PEER" "$NODE/disk/runtime" /run/runtime/containerd "$SOCKET" "$NODE/runtime.log"
		RUNTIME_PID=$CONTAINERD_PID
	else
		coracle_config "$NODE/disk/runtime" /run/runtime/coracle "$SOCKET" >"$NODE/coracle.toml"
		"$CORACLE_BINARY" serve --config "$NODE/coracle.toml" >>"$NODE/runtime.log" 2>&1 </dev/null &
		RUNTIME_PID=$!
	fi
	wait_for_runtime "$SOCKET" "$RUNTIME_PID" "$NODE/runtime.log"
}

# wait_for_runtime SOCKET PID LOG: until both of its services answer.
wait_for_runtime() {
	local try
	for try in {1..150}; do
		! "$CRI_TOOLS/crictl" --runtime-endpoint "unix://$1" --timeout 2s imagefsinfo >/dev/null 2>&1 || return 0
		kill -0 "$2" 2>/dev/null || break
		sleep 0.1
	done
	tail -n 40 "$3" >&2
	die "the daemon did not answer (try $try)"
}

# stop_runtime
stop_runtime() {
	kill "$RUNTIME_PID"
	wait "$RUNTIME_PID" || true
}

# runtime_log_tail LINES: what the daemon said last, for whoever looks for the reason of a failure.
runtime_log_tail() {
	say "-- the end of the daemon's log:"
	tail -n "$1" "$NODE/runtime.log" >&2
}
