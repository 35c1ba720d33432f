#!/bin/bash
# A throw-away Debian VM for tests that need what the host lacks: systemd as
# PID 1, the unified cgroup v2 tree, AppArmor, CAP_SYS_RESOURCE.
#
#   vm.sh build                    make the image (needs root, mmdebstrap, e2fsprogs, cpio)
#   vm.sh run [-i DIR] [-o DIR] [-d SIZE | -D FILE] [-t SECONDS] [-c 'kernel args'] SCRIPT [ARG...]
#
# SCRIPT runs as root in the guest, in a copy of the -i directory (/job), when
# the boot is done. Its output appears here, its exit status is ours
# (125: the guest never reported, 124: time-out). What it leaves in /job/out
# comes back under the -o directory. The image itself is never written to.
# With -d the guest also has an empty ext4, with a journal, of that size as
# /dev/vdd. With -D that disk is FILE, which stays; what the guest has flushed
# is in it even if qemu is killed (VM_PIDFILE names its process).
#
# Env: VMDIR (./vm) VM_SUITE (bookworm) VM_PKGS (extra packages) VM_MEM (2048)
#      VM_CPUS (2) VM_ACCEL (tcg,thread=multi,tb-size=512) VM_SIZE (4G)
#      VM_OUT (256M: room for results) VM_NET (user; none: no network)
#      VM_FORWARD (what listens here for ports of the guest, as qemu's hostfwd has it: tcp:127.0.0.1:8000-:80 ...)
# No loop mounts, no 9p: the guest gets its input as a tar on a raw disk and
# writes its results as a tar onto another (Debian's cloud kernel has no 9p).
# shellcheck disable=SC2016,SC2054 # what the initrd's shell expands; qemu's options, which hold commas
set -euo pipefail
VMDIR=${VMDIR:-./vm}
say() { echo "vm: $*" >&2; }
die() { say "$*"; exit 125; }

build() {
	mkdir -p "$VMDIR"
	local root pkgs ver mods
	root=$(mktemp -d "$VMDIR/root.XXXXXX")
	# shellcheck disable=SC2064
	trap "rm -rf --one-file-system '$root'" EXIT
	pkgs=systemd,systemd-sysv,udev,dbus,kmod,linux-image-cloud-amd64,busybox-static
	pkgs+=,apparmor,iproute2,iptables,nftables,procps,util-linux,conntrack,socat
	pkgs+=,ca-certificates,iputils-ping,libseccomp2,e2fsprogs${VM_PKGS:+,$VM_PKGS}
	# INITRD=No: the package's own initrd is not needed, ours is much smaller
	INITRD=No mmdebstrap --mode=root --variant=minbase --format=directory \
		--aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' \
		--dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
		--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/info/*' \
		--include="$pkgs" "${VM_SUITE:-bookworm}" "$root"
	ver=$(ls "$root/lib/modules")

	# --- guest configuration
	echo vm >"$root/etc/hostname"
	printf '127.0.0.1 localhost vm\n10.0.2.2 host\n' >"$root/etc/hosts"
	echo '/dev/vda / ext4 rw,noatime 0 0' >"$root/etc/fstab"
	: >"$root/etc/machine-id"
	passwd -R "$(realpath "$root")" -d root >/dev/null
	printf '%s\n' overlay br_netfilter >"$root/etc/modules-load.d/vm.conf"
	printf 'net.ipv4.ip_forward=1\nnet.bridge.bridge-nf-call-iptables=1\nkernel.printk=3 3 3 3\n' \
		>"$root/etc/sysctl.d/90-vm.conf"
	install -D -m 755 /dev/stdin "$root/usr/local/sbin/vm-job" <<'GUEST'
#!/bin/bash
# runs once, at the end of the boot: /dev/vdb in, /dev/vdc out, ttyS1 the status
mkdir -p /job && cd /job && tar -xf /dev/vdb
modprobe -a virtio_net virtio_rng 2>/dev/null
for _ in 1 2 3 4 5; do [ -e /sys/class/net/eth0 ] && break; sleep 0.2; done
if [ -e /sys/class/net/eth0 ]; then
  ip link set lo up; ip link set eth0 up
  ip addr add 10.0.2.15/24 dev eth0; ip route add default via 10.0.2.2
  echo nameserver 10.0.2.3 >/etc/resolv.conf
fi
mkdir -p out
echo "vm-job: start after $(cut -d' ' -f1 /proc/uptime) s of uptime"
bash ./.vm-cmd; rc=$?
tar -cf /dev/vdc -C out . 2>/dev/null || { echo "vm-job: results did not fit"; [ $rc = 0 ] && rc=1; }
sync
echo "$rc" >/dev/ttyS1
sleep 0.3
echo o >/proc/sysrq-trigger # at once: an orderly power-off waits 90 s for whoever ignores SIGTERM
sleep 60
GUEST
	cat >"$root/etc/systemd/system/vm-job.service" <<'UNIT'
[Unit]
Description=test job
After=basic.target dbus.service systemd-modules-load.service apparmor.service
SuccessAction=poweroff-immediate
FailureAction=poweroff-immediate
[Service]
Type=oneshot
ExecStart=/usr/local/sbin/vm-job
StandardInput=null
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
TimeoutStartSec=infinity
TimeoutStopSec=2
LimitNOFILE=1048576
TasksMax=infinity
Delegate=yes
UNIT
	# The boot stops short of multi-user.target: no logins, no timers. What a test
	# needs of those (systemd-logind, say) it starts itself.
	cat >"$root/etc/systemd/system/vm.target" <<'UNIT'
[Unit]
Requires=basic.target
Wants=dbus.service vm-job.service
After=basic.target
AllowIsolate=yes
UNIT
	ln -sf vm.target "$root/etc/systemd/system/default.target"
	# Under emulation a process start costs some 0.1 s, a unit about a second:
	# leave out all that this machine can do without. Devices come from devtmpfs,
	# so nothing is cold-plugged; vm-job loads the network driver.
	local u
	for u in apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer \
		dpkg-db-backup.timer systemd-tmpfiles-clean.timer systemd-udev-trigger.service \
		systemd-random-seed.service systemd-sysusers.service kmod-static-nodes.service \
		systemd-tmpfiles-setup-dev.service systemd-update-utmp.service ldconfig.service \
		systemd-update-utmp-runlevel.service systemd-hwdb-update.service \
		systemd-journal-catalog-update.service systemd-journal-flush.service \
		systemd-pcrphase.service systemd-pcrphase-sysinit.service systemd-firstboot.service \
		modprobe@configfs.service modprobe@dm_mod.service modprobe@drm.service \
		modprobe@efi_pstore.service modprobe@loop.service modprobe@fuse.service \
		dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount \
		sys-kernel-config.mount sys-fs-fuse-connections.mount proc-sys-fs-binfmt_misc.automount; do
		ln -sf /dev/null "$root/etc/systemd/system/$u"
	done
	# Stock profiles of programs that are not here; compiling them takes 10 s
	rm -f "$root"/etc/apparmor.d/{lsb_release,nvidia_modprobe}
	mkdir -p "$root/etc/systemd/journald.conf.d"
	printf '[Journal]\nStorage=volatile\nRuntimeMaxUse=32M\n' >"$root/etc/systemd/journald.conf.d/vm.conf"

	# --- kernel and a small initrd (busybox and the virtio modules; ext4 is built in)
	cp "$root/boot/vmlinuz-$ver" "$VMDIR/vmlinuz.new"
	mods=$(awk -v 'want=virtio_pci virtio_blk ext4' '
		function need(m,  i, n, d) { if (m in done) return; done[m] = 1
			n = split(dep[m], d, " "); for (i = 1; i <= n; i++) need(base(d[i])); if (m in file) print file[m] }
		function base(p) { sub(/.*\//, "", p); sub(/\.ko.*/, "", p); gsub(/-/, "_", p); return p }
		{ f = $1; sub(/:$/, "", f); m = base(f); file[m] = f; $1 = ""; dep[m] = $0 }
		END { n = split(want, w, " "); for (i = 1; i <= n; i++) need(w[i]) }' "$root/lib/modules/$ver/modules.dep")
	local ird="$root/.initrd" m
	mkdir -p "$ird"/{bin,m,proc,dev,new}
	cp "$root/bin/busybox" "$ird/bin/busybox"
	{ echo '#!/bin/busybox sh'
		echo 'b=/bin/busybox; $b mount -t proc p /proc; $b mount -t devtmpfs d /dev'
		for m in $mods; do
			cp "$root/lib/modules/$ver/$m" "$ird/m/"
			echo "\$b insmod /m/${m##*/}"
		done
		echo 'i=0; while [ ! -b /dev/vda ] && [ $i -lt 600 ]; do $b usleep 50000; i=$((i+1)); done'
		echo '$b mount -t ext4 -o rw,noatime /dev/vda /new || exec $b sh'
		echo '$b umount /proc; $b mount --move /dev /new/dev; exec $b switch_root /new /lib/systemd/systemd'
	} >"$ird/init"
	chmod 755 "$ird/init"
	(cd "$ird" && find . | cpio -o -H newc --quiet) >"$VMDIR/initrd.new"
	rm -rf "$ird" "${root:?}"/boot/* "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*

	rm -f "$VMDIR/root.new"
	mke2fs -q -t ext4 -O ^has_journal,^metadata_csum -E lazy_itable_init=1,nodiscard -m 0 -L root \
		-d "$root" "$VMDIR/root.new" "${VM_SIZE:-4G}"
	for m in vmlinuz initrd root; do mv "$VMDIR/$m.new" "$VMDIR/$m"; done
	say "built: $(du -h "$VMDIR/root" | cut -f1) image, $(du -h "$VMDIR/initrd" | cut -f1) initrd, kernel $ver"
}

run() {
	local in='' out='' disk='' kept='' limit=1800 extra='' o
	while getopts i:o:d:D:t:c: o; do
		case $o in i) in=$OPTARG ;; o) out=$OPTARG ;; d) disk=$OPTARG ;; D) kept=$OPTARG ;; t) limit=$OPTARG ;; c) extra=$OPTARG ;; *) exit 125 ;; esac
	done
	shift $((OPTIND - 1))
	[ $# -ge 1 ] || die "no script given"
	[ -s "$VMDIR/root" ] || die "no image in $VMDIR: run '$0 build' first"
	local tmp rc
	tmp=$(mktemp -d)
	# shellcheck disable=SC2064
	trap "rm -rf '$tmp'" EXIT
	mkdir "$tmp/cmd"
	cp -- "$1" "$tmp/cmd/.vm-script"; shift
	{ printf 'exec bash ./.vm-script'; [ $# = 0 ] || printf ' %q' "$@"; echo; } >"$tmp/cmd/.vm-cmd"
	if [ -n "$in" ]; then tar -C "$in" -cf "$tmp/in" .; tar -C "$tmp/cmd" -rf "$tmp/in" .
	else tar -C "$tmp/cmd" -cf "$tmp/in" .; fi
	truncate -s "${VM_OUT:-256M}" "$tmp/out"
	: >"$tmp/status"
	local data=()
	if [ -n "$disk" ]; then
		mke2fs -q -t ext4 -E nodiscard "$tmp/data" "$disk"
		data=(-drive "if=none,id=d,format=raw,cache=unsafe,file=$tmp/data" -device virtio-blk-pci,drive=d)
	fi
	[ -z "$kept" ] || data=(-drive "if=none,id=d,format=raw,cache=writeback,file=$kept" -device virtio-blk-pci,drive=d)
	[ -z "${VM_PIDFILE-}" ] || data+=(-pidfile "$VM_PIDFILE")
	local net=(-nic none) nic=user,model=virtio-net-pci forward
	for forward in ${VM_FORWARD-}; do nic+=,hostfwd=$forward; done
	[ "${VM_NET:-user}" = none ] || net=(-nic "$nic")
	rc=0
	timeout -k 5 "$limit" qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot \
		-machine q35,hpet=off,smm=off,usb=off -accel "${VM_ACCEL:-tcg,thread=multi,tb-size=512}" \
		-cpu "${VM_CPU:-qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt,+cx16}" -smp "${VM_CPUS:-2}" -m "${VM_MEM:-2048}" \
		-kernel "$VMDIR/vmlinuz" -initrd "$VMDIR/initrd" \
		-append "console=ttyS0 quiet rw net.ifnames=0 random.trust_cpu=on mitigations=off tsc=reliable no_timer_check panic=-1 apparmor=1 security=apparmor systemd.show_status=no systemd.log_level=warning $extra" \
		-drive if=none,id=r,format=raw,snapshot=on,cache=unsafe,file="$VMDIR/root" -device virtio-blk-pci,drive=r \
		-drive if=none,id=i,format=raw,readonly=on,file="$tmp/in" -device virtio-blk-pci,drive=i \
		-drive if=none,id=o,format=raw,cache=unsafe,file="$tmp/out" -device virtio-blk-pci,drive=o \
		"${data[@]}" -device virtio-rng-pci "${net[@]}" \
		-serial stdio -serial file:"$tmp/status" </dev/null | stdbuf -oL tr -d '\r' || rc=${PIPESTATUS[0]}
	case $rc in 0) ;; 124 | 137) say "stopped after $limit s"; exit 124 ;; *) die "qemu failed ($rc)" ;; esac
	if [ -n "$out" ]; then mkdir -p "$out"; tar -C "$out" -xf "$tmp/out" --no-same-owner || say "no results came back"; fi
	rc=$(tr -cd 0-9 <"$tmp/status")
	[ -n "$rc" ] || die "the guest reported no status"
	exit "$rc"
}

case ${1-} in
	build) build ;;
	run) shift; run "$@" ;;
	*) sed -n '2,23p' "$0" >&2; exit 125 ;;
esac
