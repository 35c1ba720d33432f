#!/bin/bash
# soak.sh MINUTES: churns pods, execs, pulls, log rotation and daemon restarts on a node of its own, counts each minute what the
# daemon and its processes hold, draws it, and fails when something grows. The picture and a result line go to
# ~/.cache/coracle/results (CORACLE_CACHE says otherwise).
set -euo pipefail
case ${1-} in
	'' | *[!0-9]*)
		sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"
		exit 2
		;;
esac
"$(dirname "${BASH_SOURCE[0]}")/install.sh" soak
exec "$(dirname "${BASH_SOURCE[0]}")/../e2e/soak/run.sh" "$1"
