#!/bin/bash
# Kubernetes' conformance suite for CRI runtimes, critest, unmodified and without retries.
# CRITEST_PARALLEL says how many specs run at once (4); 1 runs them one after the other.
#
# run.sh --kills: the daemon is killed every five seconds and started again. Calls under way at a kill are made once more by
# e2e/tools/repeater, as a kubelet does; all else has to pass as it is. A session of exec or port-forward ends with the
# daemon that serves it, and `brctl addbr` fails when it is run again: the specs of both are left out (KILLED).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=hack/lib.sh
. "$here/../../hack/lib.sh"
# shellcheck source=e2e/harness/report.sh
. "$here/../harness/report.sh"
# shellcheck source=e2e/harness/node.sh
. "$here/../harness/node.sh"

readonly STREAMS='Streaming runtime should support streaming interfaces'
readonly KILLED="$STREAMS|Privileged is true|adding capability"
readonly KILL_EVERY=5
kills=''
[ "${1-}" != --kills ] || kills=yes

[ -z "$kills" ] || "$ROOT/hack/tools.sh" repeater
prepare_node
enter_node "$here/run.sh" "$@"
node_up
start_runtime

except=()
if [ -n "$kills" ]; then
	shift
	direct=$SOCKET SOCKET=/run/runtime/repeated.sock
	"$("$ROOT/hack/tools.sh" --dir repeater)/repeater" "$SOCKET" "$direct" "$NODE/repeated.json" >"$NODE/repeater.log" 2>&1 &
	repeater=$!
	except=(--but "$KILLED")
	set -- --ginkgo.skip="$KILLED" "$@"
	# In a shell of its own, which has the daemon as its child. Told to end, it leaves the last one running.
	(
		over=''
		trap 'over=yes' TERM
		count=0
		while sleep "$KILL_EVERY" && [ -z "$over" ]; do
			kill -KILL "$RUNTIME_PID"
			count=$((count + 1))
			echo "$count" >"$NODE/kills"
			while kill -0 "$RUNTIME_PID" 2>/dev/null; do sleep 0.01; done
			"$CORACLE_BINARY" serve --config "$NODE/coracle.toml" >>"$NODE/runtime.log" 2>&1 </dev/null &
			RUNTIME_PID=$!
			echo "$RUNTIME_PID" >"$NODE/runtime.pid"
			wait_for_runtime "$direct" "$RUNTIME_PID" "$NODE/runtime.log"
		done
	) &
	killer=$!
fi

# critest REPORT ARGUMENT...: its status says less than its report: skipped is not passed, and one spec cannot pass anywhere
# but upstream.
critest() {
	PATH=$CRI_TOOLS:$PATH timeout -k 10 1200 "$CRI_TOOLS/critest" --runtime-endpoint="unix://$SOCKET" --ginkgo.no-color \
		--ginkgo.json-report="$NODE/$1" "${@:2}" >>"$NODE/critest.log" 2>&1 </dev/null || true
}

args=()
parallel=${CRITEST_PARALLEL:-4}
# critest refuses an explicit 1
[ "$parallel" = 1 ] || args+=(--parallel="$parallel")
say "running critest, $parallel at a time"
started=$SECONDS
critest report.json "${args[@]}" "$@"
# Streams go over SPDY unless a client asks for WebSocket.
[ -n "$kills" ] || critest websocket.json --ginkgo.focus="$STREAMS" --websocket-exec --websocket-attach --websocket-portforward
say "critest took $((SECONDS - started)) s"
if [ -n "$kills" ]; then
	kill "$killer"
	wait "$killer" || true
	RUNTIME_PID=$(cat "$NODE/runtime.pid")
	kill "$repeater"
	wait "$repeater" || true
fi
if [ ! -s "$NODE/report.json" ]; then
	tail -n 60 "$NODE/critest.log" >&2
	runtime_log_tail 40
	die "critest left no report"
fi
if ! kill -0 "$RUNTIME_PID" 2>/dev/null; then
	fail "the daemon lives on"
	runtime_log_tail 80
fi
# judge REPORT ARGUMENT...
judge() {
	python3 "$here/compare.py" "$NODE/$1" "$here/passing.txt" "$here/not-yet.txt" "${@:2}" >>"$NODE/judged" || {
		FAILED=1
		runtime_log_tail 40
	}
}
judge report.json "${except[@]}"
[ -n "$kills" ] || judge websocket.json --only "$STREAMS" --how "over WebSocket"
cat "$NODE/judged" >>"$CORACLE_RESULTS"
if [ -n "$kills" ]; then
	check "nothing is out of place after the kills" "$CORACLE_BINARY" check --config "$NODE/coracle.toml"
	lost=$(grep -c '^fail' "$NODE/judged" || true)
	[ "$FAILED" = 0 ] || [ "$lost" != 0 ] || lost=1
	repeated=$(python3 -c 'import json, sys; print(sum(json.load(open(sys.argv[1])).values()))' "$NODE/repeated.json")
	kills=$(cat "$NODE/kills") specs=$(grep -c '^pass' "$NODE/judged" || true)
	say "$kills kills, $repeated calls made again, $specs specs passed, $lost lost"
	record critest critest-kills "\"seed\":0,\"kills\":$kills,\"repeated\":$repeated,\"specs\":$specs,\"losses\":$lost"
fi
finish
