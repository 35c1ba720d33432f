#!/bin/bash
# A virtual machine loses its power: run.sh [CUTS] (10). Its disk is one file with a journalled ext4, written back; QEMU is
# killed at a random instant while pods come and go, the same disk is booted again, and what had been answered is asked
# for: the images that were pulled, a deep check without findings, pods and containers that can be taken away and made
# anew. CORACLE_SEED repeats the instants.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=e2e/guest/job.sh
. "$here/../guest/job.sh"

# How long a boot, or the rest after it, may take under emulation on a busy machine, in seconds.
readonly PATIENCE=600
# The longest time that a load runs before its cut, in seconds.
readonly LOAD=60

prepare_node
need_guest bookworm
cuts=${1:-10}
seed=${CORACLE_SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
RANDOM=$seed

NODE=$(mktemp -d -p "${CORACLE_SCRATCH:-/var/tmp}" coracle-cuts.XXXXXX)
vm=''
end() {
	[ -z "$vm" ] || kill "$vm" 2>/dev/null || true
	[ ! -s "$NODE/qemu.pid" ] || kill -KILL "$(cat "$NODE/qemu.pid")" 2>/dev/null || true
	leave_node
}
trap end EXIT
job=$NODE/job
fill_job "$job"
cp "$here/inside.sh" "$job/"
truncate -s 4G "$NODE/data.img"
mke2fs -q -t ext4 -E nodiscard "$NODE/data.img"
: >"$job/pulled"

# boot CUT LAST: starts the machine; its console goes to a log. LAST: it ends by itself.
boot() {
	rm -f "$NODE/qemu.pid"
	echo "LAST=$2" >"$job/turn"
	VM_PIDFILE=$NODE/qemu.pid "$ROOT/hack/vm.sh" run -i "$job" -D "$NODE/data.img" -t "$PATIENCE" "$job/start.sh" \
		>"$NODE/guest-$1.log" 2>&1 </dev/null &
	vm=$!
}

# said CUT LINE: waits until the guest says it.
said() {
	until grep -q "^$2" "$NODE/guest-$1.log"; do
		if ! kill -0 "$vm" 2>/dev/null; then return 1; fi
		sleep 0.2
	done
}

# judge CUT: what the guest found after the cut before.
judge() {
	if grep -q '^LOST' "$NODE/guest-$1.log" || ! grep -q '^WHOLE' "$NODE/guest-$1.log"; then
		losses=$((losses + 1))
		grep '^LOST' "$NODE/guest-$1.log" >&2 || tail -n 30 "$NODE/guest-$1.log" >&2
	fi
}

losses=0 done=0
for ((cut = 0; cut <= cuts; cut++)); do
	last=''
	[ "$cut" != "$cuts" ] || last=yes
	boot "$cut" "$last"
	if [ -n "$last" ]; then
		wait "$vm" || losses=$((losses + 1))
		vm=''
		judge "$cut"
		break
	fi
	if ! said "$cut" WHOLE; then
		judge "$cut"
		fail "the guest comes up after cut $((cut - 1))"
		break
	fi
	judge "$cut"
	sleep "$((RANDOM % LOAD)).$((RANDOM % 10))"
	kill -KILL "$(cat "$NODE/qemu.pid")"
	wait "$vm" || true
	vm='' done=$((done + 1))
	# The images whose pull was answered, and whose removal had not begun.
	awk '$1 == "PULLED" { has[$2] = 1 } $1 == "REMOVES" { delete has[$2] } END { for (name in has) print name }' \
		"$NODE/guest-$cut.log" >"$job/pulled"
	say "cut $cut: $(grep -c '^ANSWERED\|^PULLED' "$NODE/guest-$cut.log" || true) calls answered, $(wc -l <"$job/pulled") images to be there"
done
answered=$(cat "$NODE"/guest-*.log | grep -c '^ANSWERED\|^PULLED' || true)
if [ "$losses" = 0 ] && [ "$done" = "$cuts" ]; then
	pass "$cuts power cuts of a virtual machine: $answered calls meanwhile, seed $seed"
else
	fail "$done power cuts of a virtual machine: $losses losses, seed $seed"
fi
record powercut powercut "\"seed\":$seed,\"cuts\":$done,\"calls\":$answered,\"losses\":$losses"
finish
