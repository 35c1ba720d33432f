# shellcheck shell=bash
# What tests in the virtual machine share: the guest's image, and the directory that a job on it is given. With it come the
# node and how to report.
# Sourced, never run.

# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../hack/lib.sh"
# shellcheck source=e2e/harness/report.sh
. "$ROOT/e2e/harness/report.sh"
# shellcheck source=e2e/harness/node.sh
. "$ROOT/e2e/harness/node.sh"

# need_guest SUITE [PACKAGES]: makes the guest's image, of that suite of Debian and with these packages too, unless it is
# there; VMDIR is where.
need_guest() {
	export VM_SUITE=$1 VM_PKGS=${2-}
	# What makes the image says when it is another one.
	VMDIR=$CACHE/guest-$VM_SUITE-$({ sed -n '/^build()/,/^}/p' "$ROOT/hack/vm.sh" && echo "$VM_PKGS"; } | sha256sum | cut -c1-12)
	export VMDIR
	if [ ! -s "$VMDIR/root" ]; then
		say "making the guest (kept in $VMDIR)"
		"$ROOT/hack/vm.sh" build >"$CACHE/guest-build.log" 2>&1 || {
			tail -n 30 "$CACHE/guest-build.log" >&2
			die "the guest was not made"
		}
	fi
}

# install_containerd DIR PEER: puts containerd of PEER, to run as a service with our registry and networks, below the root DIR.
install_containerd() {
	mkdir -p "$1/etc/containerd"
	cp -L "$2"/{containerd,containerd-shim-runc-v2,runc} "$1/usr/bin/"
	containerd_config "$2" /var/lib/containerd /run/containerd /run/containerd/containerd.sock |
		sed 's|= ".*/cni/conf"|= "/etc/cni/net.d"|; s|= ".*/certs.d"|= "/etc/coracle/certs.d"|; s|bin_dir = .*|bin_dir = "/opt/cni/bin"|
			s|= ".*/runc"|= "/usr/bin/runc"|' \
			>"$1/etc/containerd/config.toml"
	# It feeds no watchdog.
	sed 's|^ExecStart=.*|ExecStart=/usr/bin/containerd|; /^WatchdogSec=/d' "$ROOT/hack/coracle.service" >"$1/etc/systemd/system/containerd.service"
}

# run_guest JOB SECONDS [ARGUMENTS]: runs a job whose inside.sh reports as a part of the test run does; its logs come to
# $NODE/out. ARGUMENTS are the kernel's.
run_guest() {
	local rc=0 log
	mkdir "$NODE/out"
	say "running the guest"
	"$ROOT/hack/vm.sh" run -i "$1" -o "$NODE/out" -d 4G -t "$2" -c "${3-}" "$1/start.sh" >"$NODE/guest.log" 2>&1 || rc=$?
	if [ -s "$NODE/out/results" ]; then cat "$NODE/out/results" >>"$CORACLE_RESULTS"; fi
	grep -E '^(ok|FAIL) ' "$NODE/guest.log" >&2 || true
	[ "$rc" != 0 ] || return 0
	# shellcheck disable=SC2034 # read by report.sh
	FAILED=1
	grep -vE '^ok ' "$NODE/guest.log" | tail -n 60 >&2
	for log in "$NODE"/out/*.log; do
		[ ! -s "$log" ] || { say "-- ${log##*/}" && tail -n 10 "$log" >&2; }
	done
}

# fill_job DIR [ADDRESS]: the daemon with what it needs to be a service, its client, a registry with the images of the suite;
# with ADDRESS, that registry is there and not in the guest. What runs in the guest is `inside.sh`, which the caller puts there.
fill_job() {
	local job=$1 registry=${2-} installed settings
	mkdir -p "$job"/{bin,hack,e2e/harness,files}
	cp "$ROOT/hack/lib.sh" "$job/hack/"
	cp "$ROOT/e2e/harness/report.sh" "$job/e2e/harness/"
	cp "$CRI_TOOLS/crictl" "$job/bin/"
	if [ -z "$registry" ]; then
		cp "$(unpacked docker-registry)/usr/bin/docker-registry" "$job/bin/registry"
		cp -a "$IMAGES" "$job/storage"
		registry_config /job/storage "$REGISTRY_PORT" read-only >"$job/registry.yml"
	fi

	# What is installed on the guest, by path.
	installed=$job/files
	mkdir -p "$installed"/{usr/bin,opt/cni/bin,etc/cni/net.d,etc/coracle/certs.d,etc/systemd/system}
	cp "$CNI_PLUGINS"/* "$installed/opt/cni/bin/"
	write_mirrors "$installed/etc/coracle/certs.d" "$REGISTRY_PORT" "$registry"
	NODE=/var/lib/node cni_config "$(runtime_cni_version)" >"$installed/etc/cni/net.d/10-node.conflist"
	if [ "${CORACLE_E2E_RUNTIME:-coracle}" = containerd ]; then
		install_containerd "$installed" "$PEER"
		settings=(UNIT=containerd STORE=/var/lib/containerd SOCKET=/run/containerd/containerd.sock)
	else
		cp "$CORACLE_BINARY" "$installed/usr/bin/coracle"
		cp "$ROOT/hack/coracle.service" "$installed/etc/systemd/system/"
		settings=(UNIT=coracle STORE=/var/lib/coracle SOCKET=/run/coracle/coracle.sock)
	fi
	printf '%s\n' "${settings[@]}" >"$job/settings"
	echo 'cp -a files/. / && rm -r files; . ./inside.sh' >"$job/start.sh"
}
