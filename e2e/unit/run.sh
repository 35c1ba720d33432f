#!/bin/bash
# Format, lints, unit tests and documentation tests: what needs no daemon.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=hack/lib.sh
. hack/lib.sh
# shellcheck source=e2e/harness/report.sh
. e2e/harness/report.sh
need_rust

# cargo_tests NAME ARG...: runs cargo test and counts what it counted.
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
	if [ "$rc" != 0 ]; then
		[ "$failed" != 0 ] || fail "$name"
		grep -vE '^test .* \.\.\. ok$|^ +Compiling ' "$log" | tail -n 80 >&2
	fi
	rm -f "$log"
}

mapfile -t scripts < <(find .ci hack e2e -type f '(' -name '*.sh' -o -path .ci/run ')' | sort)
check "shell scripts are clean" shellcheck -x "${scripts[@]}"
check "python scripts compile" python3 -c '
import ast, pathlib
for path in pathlib.Path("e2e").rglob("*.py"):
    ast.parse(path.read_text(), str(path))'
check "the format is rustfmt's" cargo fmt --check
say "running clippy"
check "clippy has no complaint" cargo clippy --locked --quiet --all-targets -- -D warnings
cargo_tests "unit tests" --lib --bins
cargo_tests "documentation tests" --doc
finish
