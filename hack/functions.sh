#!/bin/bash
# functions.sh: finds out which functions run where a node does its work, and writes hack/functions.txt, in whose order the linker
# places them (build.rs).
#
# Those of the zygote come first, which are its forks' too: each monitor and worker maps its pages anew, and what they run is
# on few of them then. Those of the daemon follow, then what did not run. The program goes through the part crictl of the tests
# for that, stopped once at each function (hack/functions.py). To be done again when hack/test.sh guard finds that more pages
# of the program are in memory than were: names change with the compiler and the libraries.
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

need_root
"$ROOT/hack/install.sh" crictl
packages binutils python3
traced=$CACHE/functions
rm -rf "$traced/ran"
mkdir -p "$traced/ran"
say "building coracle with its symbols (this takes ten minutes)"
CARGO_TARGET_DIR=$traced/target cargo rustc --manifest-path "$ROOT/Cargo.toml" --locked --release --bin coracle -- -C strip=none
program=$traced/target/release/coracle
cat >"$traced/coracle" <<END
#!/bin/bash
[ "\${1-}" = serve ] || exec $program "\$@"
exec python3 -B "$ROOT/hack/functions.py" trace "$traced/ran/\$\$" $program "\$@"
END
chmod +x "$traced/coracle"
CORACLE_BINARY=$traced/coracle "$ROOT/hack/test.sh" crictl
python3 -B "$ROOT/hack/functions.py" order "$traced"/ran/* >"$traced/functions.txt"
mv "$traced/functions.txt" "$ROOT/hack/functions.txt"
say "hack/functions.txt has $(wc -l <"$ROOT/hack/functions.txt") functions"
