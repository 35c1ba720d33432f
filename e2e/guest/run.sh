#!/bin/bash
# The daemon as a systemd service on a node as most are: a virtual machine with systemd and the unified cgroup tree.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=hack/lib.sh
. "$here/../../hack/lib.sh"
# shellcheck source=e2e/harness/report.sh
. "$here/../harness/report.sh"
# shellcheck source=e2e/harness/node.sh
. "$here/../harness/node.sh"

prepare_node

VMDIR=$CACHE/guest-$(sha256sum "$ROOT/hack/vm.sh" | cut -c1-12)
export VMDIR
if [ ! -s "$VMDIR/root" ]; then
	say "making the guest (kept in $VMDIR)"
	"$ROOT/hack/vm.sh" build >"$CACHE/guest-build.log" 2>&1 || {
		tail -n 30 "$CACHE/guest-build.log" >&2
		die "the guest was not made"
	}
fi

NODE=$(mktemp -d)
trap leave_node EXIT
job=$NODE/job
mkdir -p "$job"/{bin,hack,e2e/harness,files} "$NODE/out"
cp "$ROOT/hack/lib.sh" "$job/hack/"
cp "$ROOT/e2e/harness/report.sh" "$job/e2e/harness/"
cp "$CRI_TOOLS/crictl" "$job/bin/"
cp "$(unpacked docker-registry)/usr/bin/docker-registry" "$job/bin/registry"
cp -a "$IMAGES" "$job/storage"
registry_config /job/storage "$REGISTRY_PORT" read-only >"$job/registry.yml"

# What is installed on the guest, by path.
root=$job/files
mkdir -p "$root"/{usr/bin,opt/cni/bin,etc/cni/net.d,etc/coracle/certs.d,etc/systemd/system}
cp "$CNI_PLUGINS"/* "$root/opt/cni/bin/"
write_mirrors "$root/etc/coracle/certs.d" "$REGISTRY_PORT"
NODE=/var/lib/node cni_config "$(runtime_cni_version)" >"$root/etc/cni/net.d/10-node.conflist"
if [ "${CORACLE_E2E_RUNTIME:-coracle}" = containerd ]; then
	cp -L "$PEER"/{containerd,containerd-shim-runc-v2,runc} "$root/usr/bin/"
	mkdir -p "$root/etc/containerd"
	containerd_config /usr/bin /var/lib/containerd /run/containerd /run/containerd/containerd.sock |
		sed 's|= ".*/cni/conf"|= "/etc/cni/net.d"|; s|= ".*/certs.d"|= "/etc/coracle/certs.d"|; s|bin_dir = .*|bin_dir = "/opt/cni/bin"|' \
			>"$root/etc/containerd/config.toml"
	sed 's|^ExecStart=.*|ExecStart=/usr/bin/containerd|' "$ROOT/hack/coracle.service" >"$root/etc/systemd/system/containerd.service"
	settings=(UNIT=containerd STORE=/var/lib/containerd SOCKET=/run/containerd/containerd.sock)
else
	cp "$CORACLE_BINARY" "$root/usr/bin/coracle"
	cp "$ROOT/hack/coracle.service" "$root/etc/systemd/system/"
	settings=(UNIT=coracle STORE=/var/lib/coracle SOCKET=/run/coracle/coracle.sock)
fi
printf '%s\n' "${settings[@]}" >"$job/settings"
{
	echo 'cp -a files/. / && rm -r files'
	echo '. ./inside.sh'
} >"$job/start.sh"
cp "$here/inside.sh" "$job/"

say "running the guest"
rc=0
"$ROOT/hack/vm.sh" run -i "$job" -o "$NODE/out" -d 4G -t 600 "$job/start.sh" >"$NODE/guest.log" 2>&1 || rc=$?
if [ -s "$NODE/out/results" ]; then cat "$NODE/out/results" >>"$CORACLE_RESULTS"; fi
grep -E '^(ok|FAIL) ' "$NODE/guest.log" >&2 || true
if [ "$rc" != 0 ]; then
	FAILED=1
	grep -vE '^ok ' "$NODE/guest.log" | tail -n 60 >&2
	for log in "$NODE"/out/*.log; do
		[ ! -s "$log" ] || { say "-- ${log##*/}" && tail -n 10 "$log" >&2; }
	done
fi
finish
