#!/usr/bin/env python3
"""pods.py EXPRESSION: whether what the kubelet says of its pods satisfies a Python expression.

The expression sees `pods` (all of them), and of the first one `pod` (its status), `web` and `failing` (its containers'
statuses, empty when there is none). Prints nothing when true, what the kubelet says when not."""

import json
import sys
import urllib.request

with urllib.request.urlopen("http://127.0.0.1:10255/pods", timeout=5) as answer:
    pods = json.load(answer)["items"] or []
pod = pods[0]["status"] if pods else {}
statuses = {status["name"]: status for status in pod.get("containerStatuses", [])}
web, failing = statuses.get("web", {}), statuses.get("failing", {})


def ready(status):
    """Whether a container's probes let traffic in."""
    return status.get("ready", False) and "running" in status.get("state", {})


if len(sys.argv) == 3 and sys.argv[1] == "--print":
    print(eval(sys.argv[2]))
elif not eval(sys.argv[1]):
    print(json.dumps(pod), file=sys.stderr)
    sys.exit(1)
