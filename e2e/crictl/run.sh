#!/bin/bash
# crictl, the client that operators use: every command of a pod's life, each with its output checked.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=hack/lib.sh
. "$here/../../hack/lib.sh"
# shellcheck source=e2e/harness/report.sh
. "$here/../harness/report.sh"
# shellcheck source=e2e/harness/node.sh
. "$here/../harness/node.sh"

prepare_node
enter_node "$here/run.sh" "$@"
node_up
start_runtime

readonly IMAGE=registry.k8s.io/e2e-test-images/busybox:1.29-2 SERVER=registry.k8s.io/e2e-test-images/nginx:1.14-2
OUT=''

crictl() { "$CRI_TOOLS/crictl" --runtime-endpoint "unix://$SOCKET" --timeout 20s "$@"; }

# run NAME COMMAND...: a crictl command that must succeed; OUT is its standard output. Returns 1 when it fails.
run() {
	local name=$1
	shift
	if ! OUT=$(crictl "$@" 2>"$NODE/crictl.log"); then
		fail "$name: crictl $*"
		tail -n 5 "$NODE/crictl.log" >&2
		return 1
	fi
}

# says NAME REGEX COMMAND...: OUT of the command has a line that matches.
says() {
	local name=$1 regex=$2
	shift 2
	run "$name" "$@" || return 0
	if grep -qE -e "$regex" <<<"$OUT"; then pass "$name"; else
		fail "$name: crictl $* does not say /$regex/"
		head -n 20 <<<"$OUT" >&2
	fi
}

# holds NAME EXPRESSION COMMAND...: the command's JSON, as Python's x, satisfies the expression.
holds() {
	local name=$1 expression=$2
	shift 2
	run "$name" "$@" || return 0
	if python3 -c 'import json, sys
x = json.load(sys.stdin)
sys.exit(not eval(sys.argv[1]))' "$expression" <<<"$OUT" 2>"$NODE/python.log"; then pass "$name"; else
		fail "$name: crictl $* does not satisfy $expression"
		tail -n 2 "$NODE/python.log" >&2
		head -n 60 <<<"$OUT" >&2
	fi
}

# refused NAME REGEX COMMAND...: the command fails and standard error matches.
refused() {
	local name=$1 regex=$2
	shift 2
	if crictl "$@" >"$NODE/crictl.log" 2>&1; then
		fail "$name: crictl $* succeeded"
	elif grep -qiE -e "$regex" "$NODE/crictl.log"; then pass "$name"; else
		fail "$name: crictl $* fails without saying /$regex/"
		tail -n 5 "$NODE/crictl.log" >&2
	fi
}

says "version names the CRI's and the runtime's" '^RuntimeApiVersion: +v1$' version
holds "info has both conditions true" \
	'all(c["status"] for c in x["status"]["conditions"] if c["type"] in ("RuntimeReady", "NetworkReady"))' info
says "runtime-config names the cgroup driver" '^cgroup driver: +CGROUPFS$' runtime-config
holds "imagefsinfo has a mount point and its use" \
	'x["status"]["imageFilesystems"][0]["fsId"]["mountpoint"].startswith("/") and "usedBytes" in x["status"]["imageFilesystems"][0]' \
	imagefsinfo

says "pull says what is there now" 'sha256:[0-9a-f]{64}' pull "$IMAGE"
refused "pull of a missing image fails" 'not ?found' pull registry.k8s.io/e2e-test-images/absent:1
says "images lists it" 'e2e-test-images/busybox +1\.29-2 +[0-9a-f]{13} +[0-9.]+MB' images
holds "images filters by name" "[t for i in x['images'] for t in i['repoTags']] == ['$IMAGE']" images -o json "$IMAGE"
holds "inspecti shows id, size and names" \
	"x['status']['id'].startswith('sha256:') and int(x['status']['size']) > 100000 and x['status']['repoTags'] == ['$IMAGE']" \
	inspecti "$IMAGE"

mkdir "$NODE/disk/logs"
cat >"$NODE/pod.yaml" <<-END
	metadata: {name: web, namespace: default, uid: crictl-uid, attempt: 1}
	hostname: web
	log_directory: $NODE/disk/logs
	labels: {app: web}
	annotations: {note: kept as is}
	port_mappings: [{container_port: 80, host_port: 8080}]
	linux: {}
END
cat >"$NODE/container.yaml" <<-END
	metadata: {name: shell, attempt: 0}
	image: {image: $IMAGE}
	command: [sh, -c, "echo to-stdout; echo to-stderr >&2; exec top -b -d 3600 >/dev/null"]
	envs: [{key: GREETING, value: hello}]
	labels: {tier: front}
	log_path: shell.log
	linux: {resources: {memory_limit_in_bytes: 67108864}}
END

run "runp starts a pod" runp "$NODE/pod.yaml" || { runtime_log_tail 40; exit 1; }
pod=$OUT
says "runp prints an id" '^[0-9a-f]{64}$' pods -q --no-trunc --id "$pod"
says "pods lists it as ready" '^[0-9a-f]{13} .* Ready +web +default +1 ' pods
holds "pods filters by label" 'len(x["items"]) == 1' pods -o json --label app=web
holds "pods filters by label that none has" 'not x.get("items")' pods -o json --label app=other
holds "inspectp shows address, labels and annotations" \
	'x["status"]["network"]["ip"].startswith("10.88.") and x["status"]["labels"] == {"app": "web"} and x["status"]["annotations"]["note"] == "kept as is" and x["status"]["state"] == "SANDBOX_READY"' \
	inspectp "$pod"

run "create makes a container" create "$pod" "$NODE/container.yaml" "$NODE/pod.yaml" || { runtime_log_tail 40; exit 1; }
container=$OUT
says "ps -a lists it as created" ' Created +shell +0 ' ps -a
says "start prints its id" "^$container\$" start "$container"
says "ps lists it as running" ' Running +shell +0 ' ps
holds "inspect shows state, image and label" \
	'x["status"]["state"] == "CONTAINER_RUNNING" and x["status"]["metadata"]["name"] == "shell" and x["status"]["labels"]["tier"] == "front" and int(x["info"]["pid"]) > 1' \
	inspect "$container"
says "an id may be abbreviated" '"CONTAINER_RUNNING"' inspect "${container:0:10}"
# shellcheck disable=SC2016 # the container's shell expands it
says "exec -s runs in the container's environment" '^hello web$' exec -s "$container" sh -c 'echo "$GREETING $(hostname)"'
refused "exec -s reports the exit code" '7' exec -s "$container" sh -c 'exit 7'
# exec with streams, by both transports that crictl has.
typing() { python3 "$here/terminal.py" 33 111 "$1" "$CRI_TOOLS/crictl" --runtime-endpoint "unix://$SOCKET" "${@:2}"; }
for transport in spdy websocket; do
	says "exec by $transport prints the output" '^hello$' exec -r "$transport" "$container" echo hello
	# shellcheck disable=SC2016 # the container's shell expands it
	run "exec by $transport keeps the outputs apart" exec -r "$transport" "$container" sh -c 'echo out; echo err >&2' &&
		check "exec by $transport brings both" test "$OUT $(grep -x err "$NODE/crictl.log")" = "out err"
	check "exec -i by $transport passes the input on" \
		test "$(printf 'one\ntwo' | crictl exec -i -r "$transport" "$container" cat)" = "$(printf 'one\ntwo')"
	refused "exec by $transport reports the exit code" 'exit code 7' exec -r "$transport" "$container" sh -c 'exit 7'
	refused "exec by $transport says what cannot be run" 'no such file' exec -r "$transport" "$container" /nope
	check "exec -it by $transport has a terminal of the client's size" \
		grep -q '^33 111' <<<"$(typing 'stty size; exit\n' exec -it -r "$transport" "$container" sh)"
	check "exec -it by $transport tells the command's exit code" \
		grep -q 'exit code 3' <<<"$(typing 'exit 3\n' exec -it -r "$transport" "$container" sh)"
done

# attach, to containers with a terminal, each of which ends when it has heard a line and has the client's size.
for transport in spdy websocket; do
	cat >"$NODE/attached.yaml" <<-END
		metadata: {name: $transport, attempt: 0}
		image: {image: $IMAGE}
		command: [sh, -c, "until read -t 1 -r line; do echo waiting; done; until stty size | grep -q '^33 111'; do sleep 0.1; done; echo got \$line"]
		stdin: true
		tty: true
		log_path: $transport.log
		linux: {}
	END
	run "create makes a container with a terminal" create "$pod" "$NODE/attached.yaml" "$NODE/pod.yaml" || continue
	attached=$OUT
	run "start starts it" start "$attached" || continue
	check "attach -it by $transport has the client's keys and size, and ends with the container" \
		grep -q '^got one' <<<"$(typing 'one\n' attach -it -r "$transport" "$attached")"
	check "the log has what attach by $transport has shown" grep -q 'stdout F got one' "$NODE/disk/logs/$transport.log"
	refused "attach to an ended container says so" 'not running' attach -r "$transport" "$attached"
	run "rm removes it" rm "$attached"
done
refused "attach -t to a container without a terminal says so" 'no terminal' attach -t "$container"

# port-forward, to a web server.
run "pull brings a web server" pull "$SERVER"
cat >"$NODE/server.yaml" <<-END
	metadata: {name: server, attempt: 0}
	image: {image: $SERVER}
	log_path: server.log
	linux: {}
END
run "create makes a web server" create "$pod" "$NODE/server.yaml" "$NODE/pod.yaml"
server=$OUT
run "start starts it" start "$server"
for transport in spdy websocket; do
	crictl port-forward -r "$transport" "$pod" 18080:80 >"$NODE/forward.log" 2>&1 &
	forward=$!
	check "curl through port-forward by $transport reaches the server" \
		curl --silent --show-error --fail --retry 30 --retry-delay 1 --retry-connrefused http://127.0.0.1:18080/
	kill "$forward"
	wait "$forward" || true
done
run "rm -f removes the web server" rm -f "$server"

says "update prints the id" "^$container\$" update --memory 134217728 --cpu-quota 50000 --cpu-period 100000 "$container"
holds "inspect shows the new limits" \
	'(lambda r: int(r["memoryLimitInBytes"]) == 134217728 and int(r["cpuQuota"]) == 50000)(x["status"]["resources"]["linux"])' \
	inspect "$container"
refused "update refuses what no kernel takes" 'invalidargument|cpu' update --cpu-period 1 "$container"
refused "checkpoint says by name that it is not there" 'unimplemented.*CheckpointContainer' checkpoint --export="$NODE/disk/checkpoint.tar" "$container"

says "logs has what it wrote" '^to-stdout$' logs "$container"
check "the log file is in CRI's format" grep -qE '^[0-9T:.-]+(Z|[+-][0-9:]+) stderr F to-stderr$' "$NODE/disk/logs/shell.log"
says "stats shows it" "^${container:0:13} " stats
holds "stats has the memory in use" 'int(x["stats"][0]["memory"]["workingSetBytes"]["value"]) > 0' stats -o json "$container"

holds "statsp has the pod's figures" \
	'x["stats"][0]["linux"]["network"]["defaultInterface"]["name"] == "eth0" and int(x["stats"][0]["linux"]["cpu"]["usageCoreNanoSeconds"]["value"]) > 0' \
	statsp -o json "$pod"
says "metricsp names the metrics of the container" '"container_memory_working_set_bytes"' metricsp
crictl events >"$NODE/events.log" 2>&1 &
events=$!

refused "rm refuses what runs" 'running|force' rm "$container"
says "stop prints its id" "^$container\$" stop "$container"
holds "a stopped container has ended" \
	'x["status"]["state"] == "CONTAINER_EXITED" and x["status"]["finishedAt"] > x["status"]["startedAt"]' inspect "$container"
says "stopping it again succeeds" "^$container\$" stop "$container"
says "rm prints its id" "^$container\$" rm "$container"
refused "inspect of a removed one says so" 'not ?found' inspect "$container"
says "stopp prints what it stopped" "$pod" stopp "$pod"
kill "$events"
wait "$events" || true
check "events tells of the removal" grep -q CONTAINER_DELETED_EVENT "$NODE/events.log"
says "pods lists it as not ready" ' NotReady +web ' pods
says "rmp prints what it removed" "$pod" rmp "$pod"
holds "no pod is left" 'not x.get("items")' pods -o json
says "rmi prints what it deleted" "$IMAGE" rmi "$IMAGE"
holds "no image of that name is left" "not any('$IMAGE' in i['repoTags'] for i in x.get('images') or [])" images -o json
refused "inspecti of a removed one says so" 'no such image|not ?found' inspecti "$IMAGE"

[ "$FAILED" = 0 ] || runtime_log_tail 40
finish
