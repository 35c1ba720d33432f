#!/bin/bash
# critest while the daemon is killed every five seconds.
exec "$(dirname "${BASH_SOURCE[0]}")/../critest/run.sh" --kills
