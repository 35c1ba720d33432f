"""What runs on the node while something is done to it: pods that write numbered lines, and somebody who runs commands in them."""

import subprocess
import threading
import time

from parts import BUSYBOX, CLUSTER, apply, get, gone, kubectl
from trials import eventually, must

# Twenty lines a second, without a process for each: it waits for what never comes.
WRITE = "mkfifo /tmp/never; exec 3<>/tmp/never; i=0; while true; do echo $i; i=$((i+1)); read -t 0.05 -u 3 _; done"
PODS = 2


def deploy():
    """The Deployment of those pods."""
    container = {"name": "counter", "image": BUSYBOX, "command": ["sh", "-c", WRITE],
                 "livenessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 10, "timeoutSeconds": 10}}
    labels = {"app": "counter"}
    apply({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "counter"}, "spec": {
        "replicas": PODS, "selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels}, "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]}}}})
    rolled_out()


def rolled_out():
    kubectl("rollout", "status", "deployment/counter", "--timeout=240s", seconds=250)


def remove():
    gone("deployment", "counter")


def pods():
    """The pods that run, by name."""
    live = [one for one in get("pods", "-l", "app=counter")["items"] if "deletionTimestamp" not in one["metadata"]]
    return {one["metadata"]["name"]: one for one in live}


def restarts():
    """How often containers were started again, and which they are."""
    containers = [one["status"]["containerStatuses"][0] for one in pods().values()]
    return sum(one["restartCount"] for one in containers), sorted(one["containerID"] for one in containers)


def lines(name):
    return [int(line) for line in kubectl("logs", name, "--tail=-1").split()]


def lost():
    """How many lines all pods have written, and how many of those that they must have are not in their logs."""
    written = missing = 0
    for name in pods():
        found = lines(name)
        must(found == sorted(found), f"{name}: lines are not in order")
        written += len(found)
        missing += found[-1] + 1 - len(found)
    return written, missing


def goes_on():
    """Waits until every pod has written more than it had."""
    for name in pods():
        known = len(lines(name))
        eventually(30, f"{name} goes on", lambda name=name, known=known: len(lines(name)) > known)


class Execs:
    """Somebody who runs commands in the pods, one after another, until told to end."""

    def __init__(self):
        self.done = self.failed = 0
        # The longest that no command succeeded.
        self.silence = 0.0
        self.errors = []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._run, args=(list(pods()),))

    def _run(self, names):
        last = time.monotonic()
        while not self.over.is_set():
            for name in names:
                command = [CLUSTER, "kubectl", "exec", name, "--", "echo", "here"]
                ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
                if ended.stdout == "here\n" and not ended.returncode:
                    self.done += 1
                    self.silence, last = max(self.silence, time.monotonic() - last), time.monotonic()
                else:
                    self.failed += 1
                    self.errors.append(ended.stderr.strip()[-300:])

    def __enter__(self):
        self.thread.start()
        eventually(60, "a command runs", lambda: self.done)
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()
