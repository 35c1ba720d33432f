#!/bin/bash
# quickstart.sh: from a fresh clone to a pod that runs.
#
# Installs what is missing, builds coracle, makes a small image of this machine's own busybox, starts the daemon with
# its built-in defaults, runs a pod with a container through CRI, shows what happens, and cleans up. Needs root on
# Debian or Ubuntu; no configuration file, no registry, no cluster.
#
# All of it happens in mount, process and network namespaces of its own: whatever ends this script, nothing that it
# started or mounted is left, and a coracle that serves this machine is not disturbed.
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=hack/layout.sh
. "$ROOT/hack/layout.sh"

readonly IMAGE=localhost/coracle-quickstart:1
# The only names outside the namespaces: cgroups have none of their own.
readonly CGROUP=/coracle-quickstart

main() {
	need_root
	step "Installing what is needed to build and to run"
	install_packages
	step "Building coracle (the first time takes a few minutes)"
	cargo build --manifest-path "$ROOT/Cargo.toml" --locked --release --bin coracle
	remove_cgroups
	trap remove_cgroups EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	# What is inside sees the signals too, ends in good order, and then it is our turn.
	unshare --mount --pid --net --fork --kill-child --mount-proc -- "${BASH_SOURCE[0]}" --inside
	say
	say "That was a pod on Coracle. Nothing of it is left on this machine but the packages and $CACHE."
	say "Next: hack/test.sh runs the tests, README.md tells how to put Coracle under a kubelet."
}

# Runs as the first process of the new namespaces.
inside() {
	CORACLE=$CARGO_TARGET_DIR/release/coracle
	NODE=/run/coracle-quickstart
	DAEMON=
	mkdir -p "$NODE"
	mount -t tmpfs -o mode=0700 coracle-quickstart "$NODE"
	trap stop_daemon EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	ip link set lo up

	step "Making an image of $(command -v busybox), in the layout of the OCI"
	make_image "$NODE/image"
	step "Writing a network configuration: a bridge that exists only here"
	mkdir -p "$NODE/cni"
	network_configuration >"$NODE/cni/10-quickstart.conflist"
	step "Starting the daemon on a socket and directories of its own"
	start_daemon
	coracle status
	step "Importing the image"
	coracle image import "$NODE/image.tar"
	coracle image list
	step "Running a pod with a container, through CRI as a kubelet would"
	coracle demo --image "$IMAGE"
	step "Stopping the daemon"
}

STEP=0
# step TEXT: tells what comes next.
step() {
	STEP=$((STEP + 1))
	say
	say "== $*"
}

install_packages() {
	packages ca-certificates curl gcc libc6-dev pkg-config libseccomp-dev protobuf-compiler libprotobuf-dev \
		iproute2 util-linux mount containernetworking-plugins
	# Either build of busybox will do, and the two exclude each other.
	command -v busybox >/dev/null || packages busybox
	[ -x "$HOME/.cargo/bin/cargo" ] && PATH=$HOME/.cargo/bin:$PATH
	command -v cargo >/dev/null || install_rust
}

install_rust() {
	say "installing Rust with rustup into $HOME/.cargo and $HOME/.rustup"
	curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs |
		sh -s -- -y --quiet --no-modify-path --profile minimal --default-toolchain none
	PATH=$HOME/.cargo/bin:$PATH
}

# coracle ARGUMENT...: the command line, beside the daemon.
coracle() { "$CORACLE" --socket "$NODE/coracle.sock" "$@"; }

# start_daemon: starts it and waits until it is ready, network included.
start_daemon() {
	local try
	# In a session of its own: Ctrl-C is for the demo, which needs the daemon to clean up.
	setsid "$CORACLE" serve --state-dir "$NODE/state" --run-dir "$NODE/run" --socket "$NODE/coracle.sock" \
		--set cgroup_parent="$CGROUP" --set monitor_cgroup="$CGROUP/monitors" --set cni.conf_dir="$NODE/cni" \
		>"$NODE/daemon.log" 2>&1 </dev/null &
	DAEMON=$!
	for try in {1..200}; do
		! coracle status >/dev/null 2>&1 || return 0
		kill -0 "$DAEMON" 2>/dev/null || break
		sleep 0.1
	done
	coracle status || true
	die "the daemon is not ready (try $try)"
}

# stop_daemon: on the way out, whatever it was that failed.
stop_daemon() {
	local status=$?
	if [ -n "$DAEMON" ]; then
		kill -TERM "$DAEMON" 2>/dev/null || true
		wait "$DAEMON" || { say "error: the daemon ended with code $?"; status=1; }
	fi
	# An interruption is nobody's failure.
	if [ "$status" != 0 ] && [ "$status" -lt 129 ] && [ -f "$NODE/daemon.log" ]; then
		say "-- the end of the daemon's log:"
		tail -n 40 "$NODE/daemon.log" >&2
	fi
	exit "$status"
}

# remove_cgroups: what a run leaves in the cgroup trees once its processes are gone: empty directories.
remove_cgroups() {
	local group try
	for try in {1..50}; do
		for group in /sys/fs/cgroup"$CGROUP" /sys/fs/cgroup/*"$CGROUP"; do
			[ ! -d "$group" ] || find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
		done
		compgen -G "/sys/fs/cgroup$CGROUP" >/dev/null || compgen -G "/sys/fs/cgroup/*$CGROUP" >/dev/null || return 0
		# The processes of a namespace that has just ended take a moment to go.
		sleep 0.1
	done
	say "warning: there are still processes in the cgroup $CGROUP (try $try)"
}

network_configuration() {
	# 198.18.0.0/15 is set aside for tests (RFC 2544), so it is nobody's network.
	cat <<-END
		{
		  "cniVersion": "1.0.0",
		  "name": "quickstart",
		  "plugins": [{
		    "type": "bridge",
		    "bridge": "coracle0",
		    "isGateway": true,
		    "ipam": {
		      "type": "host-local",
		      "dataDir": "$NODE/addresses",
		      "ranges": [[{"subnet": "198.18.213.0/24"}]]
		    }
		  }]
		}
	END
}

# make_image DIR: an image of one layer that holds busybox, as DIR.tar.
make_image() {
	mkdir -p "$1.root"
	fill_root "$1.root"
	make_layout "$1" "$1.root" "$IMAGE" '{"Env": ["PATH=/bin"], "Cmd": ["sh"], "WorkingDir": "/"}'
}

# fill_root DIR: a root file system of busybox, its names, and the libraries it is linked with.
fill_root() {
	local root=$1 busybox name
	busybox=$(readlink -f "$(command -v busybox)")
	mkdir -p "$root"/{bin,dev,etc,proc,root,sys,tmp}
	chmod 1777 "$root/tmp"
	cp "$busybox" "$root/bin/busybox"
	for name in $("$busybox" --list); do
		[ "$name" = busybox ] || ln "$root/bin/busybox" "$root/bin/$name"
	done
	add_libraries "$root" "$busybox"
	echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
	echo 'root:x:0:' >"$root/etc/group"
}

case ${1-} in
--inside) inside ;;
"") main ;;
*) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" ;;
esac
