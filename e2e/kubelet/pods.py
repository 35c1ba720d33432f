#!/usr/bin/env python3
"""pods.py EXPRESSION: whether what the kubelet says of its pods satisfies a Python expression.

The expression sees `pods` (all of them), of the one that is probed `pod` (its status), and `web`, `failing` and `own` (the
containers' statuses, empty when there is none). Prints nothing when true, what the kubelet says when not."""

import json
import sys
import urllib.request

with urllib.request.urlopen("http://127.0.0.1:10255/pods", timeout=5) as answer:
    pods = json.load(answer)["items"] or []
pod = next((one["status"] for one in pods if one["metadata"]["name"].startswith("probed")), {})
statuses = {status["name"]: status for one in pods for status in one["status"].get("containerStatuses", [])}
web, failing, own = (statuses.get(name, {}) for name in ("web", "failing", "own"))


def ready(status):
    """Whether a container's probes let traffic in."""
    return status.get("ready", False) and "running" in status.get("state", {})


if len(sys.argv) == 3 and sys.argv[1] == "--print":
    print(eval(sys.argv[2]))
elif not eval(sys.argv[1]):
    print(json.dumps([one["status"] for one in pods]), file=sys.stderr)
    sys.exit(1)
