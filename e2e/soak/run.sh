#!/bin/bash
# Churns a node for MINUTES and shows that nothing grows: run.sh MINUTES. See soak.py; hack/soak.sh calls it.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=hack/lib.sh
. "$here/../../hack/lib.sh"
# shellcheck source=e2e/harness/report.sh
. "$here/../harness/report.sh"
# shellcheck source=e2e/harness/node.sh
. "$here/../harness/node.sh"

minutes=${1?usage: run.sh MINUTES}
prepare_node
enter_node "$here/run.sh" "$@"
node_up
mkdir -p /run/runtime "$NODE/disk/runtime" "$NODE/disk/logs" "$CACHE/results"
coracle_config "$NODE/disk/runtime" /run/runtime/coracle /run/runtime/cri.sock >"$NODE/coracle.toml"
seed=${CORACLE_SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
picture=$CACHE/results/soak-$(date -u +%Y%m%dT%H%M%S).svg
if python3 -B "$here/soak.py" "$minutes" "$seed" "$picture" >soak.log 2>&1; then
	pass "soak: $(tail -n 1 soak.log), seed $seed, picture $picture"
else
	fail "soak, seed $seed, picture $picture"
	tail -n 12 soak.log >&2
fi
result=$(tail -n 1 soak.log | grep '^{"minutes"' || echo '{"minutes":0,"pods":0,"restarts":0,"losses":1}')
result=${result#\{}
record soak soak "\"seed\":$seed,${result%\}}"
finish
