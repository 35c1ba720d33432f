#!/bin/bash
# Power cuts without a power switch: run.sh [CUTS [KIND]]: so many (10) on ext4 and on xfs each, or on KIND; run.sh --case
# layer: a few on ext4. CORACLE_SEED repeats a run. See power.py.
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

cuts=${1:-10} kinds=(ext4 xfs)
[ -z "${2-}" ] || kinds=("$2")
if [ "$cuts" = --case ]; then cuts=4 kinds=(ext4); fi
seed=${CORACLE_SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}

# The image files lie on a file system whose files can be cloned.
truncate -s 8G reflink.img
mkfs.xfs -q -m reflink=1 reflink.img
mkdir reflink
mount -o loop,noatime reflink.img reflink
# The node of the daemons that find a cut: a network of its own, with the same registry in it.
unshare --net sh -c 'ip link set lo up; exec "$@"' sh "$(unpacked docker-registry)/usr/bin/docker-registry" serve \
	"$NODE/registry.log.yml" >"$NODE/registry-cuts.log" 2>&1 </dev/null &
POWER_NETWORK=$!
POWER_CONFIG=$(coracle_config @STATE@ @RUN@ @SOCKET@ | sed 's|^\(cgroup_parent = \).*|\1"@GROUP@"|; s|^\(monitor_cgroup = \).*|\1"@GROUP@/monitors"|')
export POWER_CONFIG POWER_NETWORK
mkdir -p "$CACHE/results"
for kind in "${kinds[@]}"; do
	if python3 -B "$here/power.py" "$kind" "$cuts" "$seed" >"power-$kind.log" 2>&1; then
		pass "power cuts on $kind: $(tail -n 1 "power-$kind.log"), seed $seed"
	else
		fail "power cuts on $kind, seed $seed"
		tail -n 20 "power-$kind.log" >&2
	fi
	result=$(tail -n 1 "power-$kind.log" | grep '^{"filesystem"' || echo '{"filesystem":"'"$kind"'","cuts":0,"calls":0,"losses":1}')
	result=${result#\{}
	[ -n "${CORACLE_PLANTED-}" ] || record power power "\"seed\":$seed,${result%\}}"
done
finish
