#!/bin/bash
# Planted faults: each fault of faults.tsv is switched on by itself, and the test meant for it must fail. A fault that its test
# does not notice fails the run. run.sh NAME... takes the faults of these names only.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=hack/lib.sh
. hack/lib.sh
# shellcheck source=e2e/harness/report.sh
. e2e/harness/report.sh
need_root
need_rust
test_environment planted
PATH=$PATH:$(unpacked docker-registry)/usr/bin
readonly TABLE=e2e/planted/faults.tsv
# A test that takes longer than this, in seconds, hangs.
readonly PATIENCE=180

# program FLAG...: builds a test program with the faults in it and prints its path.
program() {
	cargo test --locked --quiet --features planted --no-run --message-format=json "$@" |
		sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1
}

# attempt SUITE TEST: runs one test.
attempt() {
	case $1 in
	unit) timeout -k 5 "$PATIENCE" "$unit" --exact "$2" ;;
	grpc) timeout -k 5 "$PATIENCE" "$grpc" "$2" ;;
	# It would count what is to fail.
	power) CORACLE_RESULTS=/dev/null timeout -k 5 "$PATIENCE" e2e/power/run.sh --case "$2" ;;
	*) die "no such suite: $1" ;;
	esac
}

say "building the tests with the faults in them"
unit=$(program --lib) grpc='' log=$(mktemp)
trap 'rm -f "$log"' EXIT
readonly names="$*"
# asked NAME: whether a fault is to be planted.
asked() { [ -z "$names" ] || [[ " $names " == *" $1 "* ]]; }
if while IFS=$'\t' read -r name _ test _; do asked "$name" && echo "$test"; done <"$TABLE" | grep -qE '^(grpc|power) '; then
	# With it comes the daemon.
	grpc=$(program --test grpc)
	CORACLE_BINARY=$CARGO_TARGET_DIR/debug/coracle
	export CORACLE_BINARY
fi

declare -A good
faults=0 missed=0
while IFS=$'\t' read -r name file test what <&3; do
	case $name in '' | '#'*) continue ;; esac
	asked "$name" || continue
	faults=$((faults + 1))
	grep -q "planted(\"$name\")" "$file" || die "$file has no fault $name"
	suite=${test%% *} of=${test#* }
	# Without the fault it passes: else its failing would prove nothing. "0 passed" is a test that is not there.
	if [ -z "${good[$test]-}" ]; then
		if attempt "$suite" "$of" </dev/null >"$log" 2>&1 && ! grep -q 'result: ok. 0 passed' "$log"; then
			good[$test]=yes
		else
			tail -n 20 "$log" >&2
			fail "planted $name: $of does not pass without it"
			continue
		fi
	fi
	rc=0
	CORACLE_PLANTED=$name attempt "$suite" "$of" </dev/null >"$log" 2>&1 || rc=$?
	if [ "$rc" = 0 ] || [ "$rc" = 124 ] || [ "$rc" = 137 ]; then
		# A test that hangs says nothing.
		missed=$((missed + 1))
		fail "planted $name ($what): not noticed by $of ($rc)"
	else
		pass "planted $name ($what): noticed"
	fi
done 3<"$TABLE"
[ "$faults" -gt 0 ] || die "no such fault"
record planted planted "\"seed\":0,\"faults\":$faults,\"losses\":$missed"
finish
