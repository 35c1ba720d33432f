#!/bin/bash
# Format, lints, unit tests and documentation tests: what needs no daemon.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=hack/lib.sh
. hack/lib.sh
# shellcheck source=e2e/harness/report.sh
. e2e/harness/report.sh
need_rust
hack/tools.sh cni-plugins cargo-deny
CORACLE_CNI_BIN=$(hack/tools.sh --dir cni-plugins)
PATH=$PATH:$(unpacked docker-registry)/usr/bin
export CORACLE_CNI_BIN PATH

mapfile -t scripts < <(find .ci hack e2e -type f '(' -name '*.sh' -o -path .ci/run ')' | sort)
check "shell scripts are clean" shellcheck -x "${scripts[@]}"
check "python scripts compile" python3 -c '
import ast, pathlib
for directory in ("e2e", "hack"):
    for path in pathlib.Path(directory).rglob("*.py"):
        ast.parse(path.read_text(), str(path))'
check "documents and planted faults name what is there" e2e/unit/names.py docs/conformance.md docs/security.md e2e/planted/faults.tsv
check "what the operator's documents name is there" e2e/unit/documents.py
# packaged: whether hack/install.sh knows each part.
packaged() {
	local part
	for part in e2e/*/run.sh; do
		part=${part%/run.sh} part=${part#e2e/}
		grep -Eq "^[[:space:]]([a-z-]+ \| )*$part( \| [a-z-]+)*\)" hack/install.sh || {
			echo "hack/install.sh does not know $part"
			return 1
		}
	done
}
check "every part of the tests has its packages" packaged
# Not its advisories: those are in a database that is fetched.
check "dependencies are as deny.toml has them" "$(hack/tools.sh --dir cargo-deny)/cargo-deny" --locked check bans licenses sources
check "the format is rustfmt's" cargo fmt --check
say "running clippy"
check "clippy has no complaint" cargo clippy --locked --quiet --all-targets -- -D warnings
HOSTILE="image::(unpack::)?tests::(hostile|links|limits|odd)" cargo_tests "unit tests" --lib --bins
cargo_tests "documentation tests" --doc
finish
