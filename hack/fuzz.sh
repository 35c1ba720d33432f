#!/bin/bash
# fuzz.sh SECONDS [TARGET...]: runs the fuzz targets of e2e/fuzz, all or those named, SECONDS each.
#
# Starts from the kept inputs in e2e/fuzz/corpus and from what earlier runs found, in ~/.cache/coracle/fuzz
# (CORACLE_CACHE says otherwise). An input that makes a target fail is left there in crashes/; put it into
# e2e/fuzz/corpus/TARGET together with the repair. `fuzz.sh --minimise` writes the kept inputs anew from what was found.
# A line for each target goes to results/fuzz.jsonl in the cache. `fuzz.sh --build` builds the targets.
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=e2e/harness/report.sh
. "$ROOT/e2e/harness/report.sh"

readonly PACKAGE=$ROOT/e2e/fuzz
readonly HOST=x86_64-unknown-linux-gnu
# Most bytes of a kept input, and of all kept inputs of one target.
readonly LONGEST=8192 MOST=60000

case ${1-} in
	--minimise) seconds=0 minimise=1 build='' ;;
	--build) seconds=0 minimise='' build=1 ;;
	'' | *[!0-9]*)
		sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"
		exit 2
		;;
	*) seconds=$1 minimise='' build='' ;;
esac
shift
need_root
need_rust
mapfile -t targets < <(find "$PACKAGE/targets" -name '*.rs' -printf '%f
' | sed 's/\.rs$//' | sort)
[ $# -eq 0 ] || targets=("$@")
for target in "${targets[@]}"; do
	[ -e "$PACKAGE/targets/$target.rs" ] || die "no such target: $target"
done

# What cargo-fuzz sets, with flags that a stable compiler takes: counters on edges, their table, traced comparisons.
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares"
export CARGO_TARGET_DIR=${CORACLE_FUZZ_TARGET_DIR:-$CACHE/fuzz/target}
(cd "$ROOT" && cargo build --locked --quiet --profile fuzz --target "$HOST" --package coracle-fuzz --bins)
[ -z "$build" ] || exit 0

readonly PROGRAMS=$CARGO_TARGET_DIR/$HOST/fuzz
TMPDIR=$(mktemp -d -p /dev/shm coracle-fuzz.XXXXXX)
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
mkdir -p "$CACHE/results" "$CACHE/fuzz/crashes"

# minimise TARGET: writes its kept inputs anew.
minimise() {
	local target=$1
	local program=$PROGRAMS/$target kept=$PACKAGE/corpus/$target found=$CACHE/fuzz/corpus/$target log=$CACHE/fuzz/$target.log
	mkdir -p "$found"
	rm -rf "$TMPDIR/merged" && mkdir "$TMPDIR/merged"
	"$program" -merge=1 -max_len="$LONGEST" "$TMPDIR/merged" "$kept" "$found" 2>"$log" || die "$target: see $log"
	# The smallest first, up to the bound; kept ones named by hand stay.
	find "$kept" -type f -regex '.*/[0-9a-f]+' -delete
	find "$TMPDIR/merged" -type f -printf '%s %p\n' | sort -n | awk -v most="$MOST" '{ sum += $1 } sum <= most { print $2 }' |
		xargs -r cp -t "$kept"
	say "$target: $(find "$kept" -type f | wc -l) inputs kept, $(du -bs "$kept" | cut -f1) bytes"
}

# fuzz TARGET: runs it, and reports; fails if it did.
fuzz() {
	local target=$1 status=0 started=$SECONDS seed executions ran losses
	local program=$PROGRAMS/$target kept=$PACKAGE/corpus/$target found=$CACHE/fuzz/corpus/$target log=$CACHE/fuzz/$target.log
	mkdir -p "$found"
	seed=${CORACLE_SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
	"$program" -seed="$seed" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=4096 -print_final_stats=1 \
		-artifact_prefix="$CACHE/fuzz/crashes/$target-" "$found" "$kept" >"$log" 2>&1 </dev/null || status=$?
	executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -n 1)
	ran=$((SECONDS - started)) losses=$((status == 0 ? 0 : 1))
	record fuzz fuzz "\"seed\":$seed,\"target\":\"$target\",\"executions\":${executions:-0},\"seconds\":$ran,\"losses\":$losses"
	if [ "$losses" = 0 ]; then
		pass "fuzz $target: ${executions:-0} executions in $ran s, seed $seed"
	else
		fail "fuzz $target: seed $seed, log $log, input in $CACHE/fuzz/crashes"
		grep -m 3 -E 'panicked|ERROR|SUMMARY' "$log" >&2 || tail -n 5 "$log" >&2
		return 1
	fi
}

# One a processor at a time.
running=0
# one_less: waits for one of them.
one_less() {
	wait -n || FAILED=$((FAILED + 1))
	running=$((running - 1))
}
for target in "${targets[@]}"; do
	if [ -n "$minimise" ]; then
		minimise "$target"
		continue
	fi
	[ "$running" -lt "$(nproc)" ] || one_less
	fuzz "$target" &
	running=$((running + 1))
done
while [ "$running" -gt 0 ]; do one_less; done
finish
