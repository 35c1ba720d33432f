# shellcheck shell=bash
# How a part of the test run reports: every check passes or fails under a name, and test.sh adds them up.
# Sourced, never run.

# Where the results go: a line "pass N NAME", "fail N NAME" or "skip N NAME" each. test.sh names the file.
CORACLE_RESULTS=${CORACLE_RESULTS:-/dev/null}
FAILED=0

# pass NAME [N]: N checks (1) passed.
pass() {
	echo "pass ${2:-1} $1" >>"$CORACLE_RESULTS"
	say "ok    $1"
}

# fail NAME [N]: N checks (1) failed.
fail() {
	echo "fail ${2:-1} $1" >>"$CORACLE_RESULTS"
	say "FAIL  $1"
	FAILED=$((FAILED + ${2:-1}))
}

# skip NAME N: N checks were not made.
skip() {
	echo "skip $2 $1" >>"$CORACLE_RESULTS"
	say "skip  $1"
}

# check NAME COMMAND...: passes when the command does; its output is shown only when it fails.
check() {
	local name=$1 output
	shift
	if output=$("$@" 2>&1); then
		pass "$name"
	else
		fail "$name"
		tail -n 40 <<<"$output" >&2
	fi
}

# equal NAME WANTED GOT
equal() { if [ "$2" = "$3" ]; then pass "$1"; else fail "$1: '$3' is not '$2'"; fi; }

# cargo_tests NAME ARG...: runs cargo test and counts what its harness counted. With HOSTILE, a pattern of names, those tests
# are recorded as the ones of images made to harm.
cargo_tests() {
	local name=$1 log rc=0 passed failed
	shift
	log=$(mktemp)
	say "running $name"
	cargo test --locked "$@" >"$log" 2>&1 || rc=$?
	passed=$(awk '/^test result:/ { n += $4 } END { print n + 0 }' "$log")
	failed=$(awk '/^test result:/ { n += $6 } END { print n + 0 }' "$log")
	[ "$passed" = 0 ] || pass "$passed $name" "$passed"
	[ "$failed" = 0 ] || fail "$failed $name" "$failed"
	# "test NAME ... ignored (WHY)"
	while read -r count reason; do skip "$count $name: the test $reason" "$count"; done < <(
		sed -nE 's/^test .* \.\.\. ignored \((.*)\)$/\1/p' "$log" | sort | uniq -c | sort -rn
	)
	if [ "$rc" != 0 ]; then
		[ "$failed" != 0 ] || fail "$name"
		# Frames of backtraces would leave no room for what was said.
		grep -vE '^test .* \.\.\. (ok|ignored.*)$|^ +Compiling |^stack backtrace:|^ +[0-9]+: |^ +at ' "$log" | tail -n 80 >&2
	fi
	[ -z "${HOSTILE-}" ] || record hostile hostile-images "\"part\":\"$name\",\"tests\":$(grep -cE "^test ($HOSTILE).* ok$" "$log" || true),\"losses\":$(grep -cE "^test ($HOSTILE).* FAILED$" "$log" || true)"
	rm -f "$log"
}

# test_environment NAME: builds and exports what tests that start the daemon themselves need; their logs go to logs/NAME.
test_environment() {
	hack/tools.sh cni-plugins cri-tools grpcurl
	unpacked docker-registry >/dev/null
	CORACLE_CNI_BIN=$(hack/tools.sh --dir cni-plugins)
	CORACLE_E2E_LOGS=$CACHE/logs/$1
	CORACLE_CACHE=$CACHE
	CORACLE_E2E_FIGURES=$CACHE/results
	CORACLE_COMMIT=$(commit)
	rm -rf "$CORACLE_E2E_LOGS"
	export CORACLE_CACHE CORACLE_CNI_BIN CORACLE_E2E_LOGS CORACLE_E2E_FIGURES CORACLE_COMMIT
}

# commit: that of the checkout.
commit() { git -C "$ROOT" rev-parse --short=12 HEAD 2>/dev/null || echo unknown; }

# record FILE SUITE FIELDS: adds a line to results/FILE.jsonl in the cache, for hack/reliability.sh. FIELDS are JSON, without
# braces.
record() {
	mkdir -p "$CACHE/results"
	printf '{"suite":"%s","commit":"%s","date":"%s",%s}\n' "$2" "$(commit)" "$(date -u +%FT%TZ)" "$3" >>"$CACHE/results/$1.jsonl"
}

# finish: the part's exit status.
finish() { [ "$FAILED" = 0 ]; }
