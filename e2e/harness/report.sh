# shellcheck shell=bash
# How a part of the test run reports: every check passes or fails under a name, and test.sh adds them up.
# Sourced, never run.

# Where the results go: a line "pass N NAME" or "fail N NAME" each. test.sh names the file.
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

# finish: the part's exit status.
finish() { [ "$FAILED" = 0 ]; }
