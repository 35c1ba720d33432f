#!/bin/bash
# What runs inside the guest: the runtime as a systemd service on a node with SELinux, critest's specs for it, and labels as the
# node sees them. run.sh put all it needs beside it.
# shellcheck disable=SC2016 # shells in containers expand what is theirs
set -euo pipefail
export HOME=/root PATH=$PWD/bin:$PATH
# shellcheck source=hack/lib.sh
. ./hack/lib.sh
export CORACLE_RESULTS=$PWD/out/results
# shellcheck source=e2e/harness/report.sh
. ./e2e/harness/report.sh
# shellcheck disable=SC1091
. ./settings # UNIT, STORE, SOCKET

readonly IMAGE=registry.k8s.io/e2e-test-images/busybox:1.29-2 LEVEL='s0:c[0-9]+,c[0-9]+'
readonly PROCESS=system_u:system_r:container_t FILES=system_u:object_r:container_file_t

crictl() { ./bin/crictl --runtime-endpoint "unix://$SOCKET" --timeout 60s "$@" 2>>out/crictl.log; }

# pod NAME [LINUX]: runs one, and prints its id.
pod() {
	cat >"$1.pod.json" <<-END
		{"metadata": {"name": "$1", "namespace": "default", "uid": "uid-$1", "attempt": 0}, "hostname": "$1", "linux": {${2-}}}
	END
	crictl runp "$1.pod.json"
}

# config POD NAME [CONTEXT [MOUNTS]]: writes the configuration of a container that tells, whenever asked, whether it can read the
# volume's file.
config() {
	cat >"$2.json" <<-END
		{"metadata": {"name": "$2"}, "image": {"image": "$IMAGE"},
		 "command": ["sh", "-c", "while :; do cat /volume/file >/dev/null 2>&1 && echo open >/now || echo closed >/now; sleep 0.2; done"],
		 "mounts": [${4-}], "linux": {"security_context": {${3-}}}}
	END
}

# container POD NAME [CONTEXT [MOUNTS]]: makes and starts one, and prints its id.
container() {
	local id
	config "$@"
	id=$(crictl create "${!1}" "$2.json" "$1.pod.json") && crictl start "$id" >/dev/null && echo "$id"
}

# refusal POD NAME PATTERN CONTEXT [MOUNTS]: the part of the refusal that is like the pattern.
refusal() {
	config "$1" "$2" "$4" "${5-}"
	./bin/crictl --runtime-endpoint "unix://$SOCKET" create "${!1}" "$2.json" "$1.pod.json" 2>&1 | grep -oE "$3" | head -n 1
}

pid_of() { crictl inspect -o go-template --template '{{.info.pid}}' "$1"; }

# label_of ID: that of a container's first process.
label_of() { tr -d '\0' <"/proc/$(pid_of "$1")/attr/current"; }

# seen ID PATH: the label of a file as a container has it.
seen() { stat -c %C "/proc/$(pid_of "$1")/root$2"; }

# becomes WANTED FILE: a file's content, once it is that, or after 30 seconds.
becomes() {
	local limit=$((SECONDS + 30))
	while [ "$(cat "$2" 2>/dev/null)" != "$1" ] && [ "$SECONDS" -lt "$limit" ]; do sleep 0.2; done
	cat "$2"
}

bin/registry serve registry.yml >out/registry.log 2>&1 &
mkdir -p "$STORE"
mount /dev/vdd "$(readlink -f "$STORE")"
systemctl daemon-reload
systemctl start "$UNIT" || { fail "the daemon starts on a node with SELinux"; journalctl --no-pager -q -u "$UNIT" | tail -n 30 >&2; exit 1; }
equal "the node has SELinux, and lets pass" Permissive "$(getenforce)"
equal "the status tells what labels there are" "true $PROCESS:s0 $FILES:s0" \
	"$(crictl info -o go-template --template '{{.selinux.enabled}} {{.selinux.process}} {{.selinux.files}}')"
timeout -k 10 600 bin/critest --runtime-endpoint="unix://$SOCKET" --ginkgo.no-color --ginkgo.focus=SELinux \
	--ginkgo.json-report="$PWD/out/report.json" >out/critest.log 2>&1 </dev/null || true

crictl pull "$IMAGE" >/dev/null || fail "an image is pulled"
mkdir -p /root/volume/below /root/outside
echo secret | tee /root/volume/file >/root/outside/file
ln -s /root/outside /root/volume/below/link
before=$(stat -c %C /root/outside/file)
volume='{"host_path": "/root/volume", "container_path": "/volume", "selinux_relabel": '

one=$(pod one) || fail "a pod runs"
two=$(pod two) || fail "another pod runs"
owner=$(container one owner '' "$volume true}") || fail "a container with a volume to be labelled starts"
level=$(label_of "$owner" | grep -oE "$LEVEL")
equal "a process has the policy's label with a level" "$PROCESS:$level" "$(label_of "$owner")"
equal "a command has its container's label" "$PROCESS:$level" "$(crictl exec -s "$owner" cat /proc/self/attr/current | tr -d '\0' | head -n 1)"
for path in / /dev /dev/pts /dev/shm /dev/mqueue /etc/hosts /etc/hostname /etc/resolv.conf /volume /volume/file /volume/below/link; do
	equal "$path has the label of its files" "$FILES:$level" "$(seen "$owner" "$path")"
done
equal "what a link leads to keeps its label" "$before" "$(stat -c %C /root/outside/file)"
neighbour=$(container one neighbour '' "$volume false}") || fail "another container of the pod starts"
stranger=$(container two stranger '' "$volume false}") || fail "a container of another pod starts"
equal "containers of a pod have one level" "$PROCESS:$level" "$(label_of "$neighbour")"
equal "those of another have another" different "$([ "$(label_of "$stranger")" = "$PROCESS:$level" ] || echo different)"

# The pods' own files have no part in it: what is asked is all between two processes and a file.
for id in "$neighbour" "$stranger"; do
	equal "a volume can be read while nothing is enforced" open "$(becomes open "/proc/$(pid_of "$id")/root/now")"
done
near=/proc/$(pid_of "$neighbour")/root/now far=/proc/$(pid_of "$stranger")/root/now
setenforce 1
closed=$(becomes closed "$far") still=$(cat "$near")
setenforce 0
equal "another pod cannot read what is of this one's level" closed "$closed"
equal "the pod itself can" open "$still"

id=$(container one image '' '{"image": {"image": "'"$IMAGE"'"}, "container_path": "/image"}') || fail "a container with an image as a volume starts"
equal "an image as a volume has the label of the pod's files" "$FILES:$level" "$(seen "$id" /image/bin/busybox)"
mapping='[{"host_id": 200000, "container_id": 0, "length": 65536}]'
user='"namespace_options": {"userns_options": {"mode": 0, "uids": '$mapping', "gids": '$mapping'}}'
mapped=$(pod mapped "\"security_context\": {$user}") || fail "a pod in a user namespace runs"
id=$(container mapped all "$user") || fail "a container in a user namespace starts"
own=$(label_of "$id" | grep -oE "$LEVEL")
equal "a container in a user namespace has labels too" "$PROCESS:$own $FILES:$own $FILES:$own $FILES:$own" \
	"$(label_of "$id") $(seen "$id" /) $(seen "$id" /dev/pts) $(seen "$id" /dev/mqueue)"

spc=system_u:system_r:spc_t:s0
privileged=$(pod privileged '"security_context": {"privileged": true}') || fail "a privileged pod runs"
id=$(container privileged all '"privileged": true') || fail "a privileged container starts"
equal "a privileged process is not confined" "$spc" "$(label_of "$id")"
equal "nor is a command in it" "$spc" "$(crictl exec -s "$id" cat /proc/self/attr/current | tr -d '\0' | head -n 1)"
node='"security_context": {"namespace_options": {"pid": 2}}'
sharing=$(pod sharing "$node") || fail "a pod with the node's processes runs"
id=$(container sharing all '"namespace_options": {"pid": 2}') || fail "a container with the node's processes starts"
equal "nor is one among the node's processes" "$spc" "$(label_of "$id")"

equal "a type that the policy does not have is refused by name" "the node's policy does not know the label system_u:system_r:odd_t:$level" \
	"$(refusal one odd "the node's policy does not know the label [^ \"]*" '"selinux_options": {"type": "odd_t"}')"
sed 's|"linux": {}|"linux": {"security_context": {"selinux_options": {"type": "odd_t", "level": "s0:c1"}}}|; s|"one"|"odd"|' one.pod.json >odd.pod.json
equal "so is a pod's" "the node's policy does not know the label system_u:system_r:odd_t:s0:c1" \
	"$(./bin/crictl --runtime-endpoint "unix://$SOCKET" runp odd.pod.json 2>&1 | grep -oE "the node's policy does not know the label [^ \"]*" | head -n 1)"
equal "a directory of the system's is not relabelled" "selinux_relabel: /etc is the system's" \
	"$(refusal one system "selinux_relabel: /etc is the system's" '' '{"host_path": "/etc", "container_path": "/x", "selinux_relabel": true}')"

systemctl restart "$UNIT" || fail "the daemon restarts"
again=$(container one again) || fail "a container starts after a restart"
equal "a pod keeps its level over a restart" "$PROCESS:$level" "$(label_of "$again")"
equal "so do commands in what runs" "$PROCESS:$level" "$(crictl exec -s "$owner" cat /proc/self/attr/current | tr -d '\0' | head -n 1)"
for id in "$one" "$two" "$privileged" "$sharing" "$mapped"; do
	crictl rmp -f "$id" >/dev/null || fail "rmp"
done
check "the audit finds nothing afterwards" coracle check
journalctl --no-pager -q -u "$UNIT" >out/runtime.log || true
[ "$FAILED" = 0 ]
