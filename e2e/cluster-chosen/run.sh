#!/bin/bash
# A part of Kubernetes' suite for clusters that takes a few minutes: the specs of e2e/cluster-conformance/chosen.txt.
exec "$(dirname "${BASH_SOURCE[0]}")/../cluster-conformance/run.sh" --chosen
