#!/bin/bash
# What runs inside the guest between two cuts: looks at what the last one left, then has pods come and go until the next.
# Each line on the console is for run.sh: WHOLE, LOST, PULLED, REMOVES, ANSWERED.
set -uo pipefail
export HOME=/root
# shellcheck disable=SC1091
. ./settings # UNIT, STORE, SOCKET
# shellcheck disable=SC1091
. ./turn # LAST

readonly SUITE=registry.k8s.io/e2e-test-images
readonly IMAGES=("$SUITE/busybox:1.29-2" "$SUITE/nginx:1.14-2" "$SUITE/nonewprivs:1.3")

crictl() { ./bin/crictl --runtime-endpoint "unix://$SOCKET" --timeout 120s "$@" 2>>crictl.log; }
lost() { echo "LOST $*"; }

# answer WHAT COMMAND...: a call that must succeed; prints its answer.
answer() {
	local what=$1
	shift
	"$@" || { lost "$what: $(tail -n 1 crictl.log)" >&2; return 1; }
}

# life IMAGE: a pod's.
life() {
	local pod id
	pod=$(answer runp crictl runp pod.json) || return 1
	echo ANSWERED runp
	sed "s|IMAGE|$1|" container.json >one.json
	id=$(answer create crictl create "$pod" one.json pod.json) || return 1
	echo ANSWERED create
	answer start crictl start "$id" >/dev/null || return 1
	echo ANSWERED start
	answer rmp crictl stopp "$pod" >/dev/null && answer rmp crictl rmp -f "$pod" >/dev/null || return 1
	echo ANSWERED rmp
}

bin/registry serve registry.yml >registry.log 2>&1 &
mkdir -p "$STORE" /var/log/guest
mount /dev/vdd "$(readlink -f "$STORE")" || lost "the disk cannot be mounted"
systemctl daemon-reload
systemctl start "$UNIT" || lost "the daemon does not start: $(journalctl --no-pager -q -u "$UNIT" | tail -n 3 | tr '\n' ' ')"
cat >pod.json <<-END
	{"metadata": {"name": "cut", "namespace": "default", "uid": "cut-uid", "attempt": 0}, "log_directory": "/var/log/guest", "linux": {}}
END
cat >container.json <<-END
	{"metadata": {"name": "only"}, "image": {"image": "IMAGE"}, "command": ["sh", "-c", "echo written >/file"], "log_path": "only.log", "linux": {}}
END

present=$(crictl images -o json)
while read -r image; do
	grep -qF "\"$image\"" <<<"$present" || lost "pulled, and gone: $image"
done <pulled
for pod in $(crictl pods -q); do
	if ! crictl stopp "$pod" >/dev/null || ! crictl rmp -f "$pod" >/dev/null; then lost "pod $pod cannot be removed"; fi
done
# What is put right in the background after a start may take a moment.
for try in {1..20}; do
	found=$(coracle check --deep 2>&1) && break
	sleep 1
done
coracle check --deep >/dev/null 2>&1 || lost "the check finds, try $try: $(tr '\n' ' ' <<<"$found")"
life "$(crictl pull "${IMAGES[0]}" >/dev/null && echo "${IMAGES[0]}")" >/dev/null || lost "a pod's life"
echo WHOLE
while read -r image; do echo "PULLED $image"; done <pulled
echo "PULLED ${IMAGES[0]}"
if [ -n "$LAST" ]; then
	crictl rmi -a >/dev/null || lost "the images cannot be removed"
	coracle check --deep || lost "the check finds something in the end"
	exit 0
fi
while true; do
	for image in "${IMAGES[@]}"; do
		crictl pull "$image" >/dev/null && echo "PULLED $image"
		life "$image"
		if [ $((RANDOM % 2)) = 0 ]; then
			echo "REMOVES $image"
			crictl rmi "$image" >/dev/null && echo ANSWERED rmi
		fi
	done
done
