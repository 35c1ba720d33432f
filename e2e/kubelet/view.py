"""What the kubelet says of its pods, and what their containers wrote."""

import glob
import gzip
import json
import re

from node import get
from trials import Failed

LINE = re.compile(rb"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}(?:Z|[+-]\d\d:\d\d) (stdout|stderr) ([FP]) (.*)$")


class Container:
    """A container as its status has it."""

    def __init__(self, status):
        self.name, self.id = status["name"], status.get("containerID", "").split("//")[-1]
        self.state, self.restarts = status.get("state", {}), status["restartCount"]
        self.ready, self.started = status.get("ready", False), status.get("started", False)
        self.resources = status.get("resources", {})
        self.runs = "running" in self.state
        self.waits = self.state.get("waiting", {}).get("reason")
        # How it ended, if it did: (exit code, reason), and its message.
        self.last = status.get("lastState", {}).get("terminated", {})
        now = self.state.get("terminated", {})
        self.ended = (now["exitCode"], now["reason"]) if now else None
        self.died = (self.last["exitCode"], self.last["reason"]) if self.last else None
        self.message = (now or self.last).get("message", "")


class Pod:
    """A pod as the kubelet has it. Its containers are found by their names."""

    def __init__(self, item):
        self.item = item
        self.name, self.uid = item["metadata"]["name"], item["metadata"]["uid"]
        self.phase, self.ip = item["status"].get("phase"), item["status"].get("podIP", "")
        self.conditions = {one["type"]: one["status"] for one in item["status"].get("conditions", [])}
        told = [item["status"].get(kind, []) for kind in ("initContainerStatuses", "containerStatuses")]
        self.containers = {one["name"]: Container(one) for statuses in told for one in statuses}

    def __getitem__(self, name):
        if name not in self.containers:
            raise Failed(f"there is no container {name} in {self.name} yet")
        return self.containers[name]

    def said(self, name, stream=b"stdout"):
        """The lines that the latest of a container's attempts wrote."""
        paths = glob.glob(f"/var/log/pods/*_{self.name}_{self.uid}/{name}/*.log")
        if not paths:
            return []
        latest = max(paths, key=lambda path: int(path.rsplit("/", 1)[1].split(".")[0]))
        return [line.decode() for line in records([latest], stream)]

    def summary(self):
        """What is known of it, for whoever looks for the reason of a failure."""
        lines = [f"{self.name} {self.phase} {self.ip} {self.conditions}"]
        for name, one in self.containers.items():
            lines.append(f"  {name} restarts {one.restarts} ready {one.ready}: {one.state} {one.last}"[:400])
            try:
                lines += [f"    {line[:200]}" for line in self.said(name)[-10:]]
            except ValueError as error:
                lines.append(f"    {error}")
        return "\n".join(lines)


def records(paths, stream):
    """The lines of a stream in log files, in order, put together where they took several records."""
    lines, part = [], b""
    for path in paths:
        with (gzip.open if path.endswith(".gz") else open)(path, "rb") as file:
            text = file.read()
        if text and not text.endswith(b"\n"):
            raise ValueError(f"{path} ends within a record")
        for record in text.split(b"\n")[:-1]:
            found = LINE.match(record)
            if not found:
                raise ValueError(f"{path} has a record that is none: {record[:80]!r}")
            if found[1] != stream:
                continue
            part += found[3]
            if found[2] == b"F":
                lines.append(part)
                part = b""
    if part:
        raise ValueError("the last line has no end")
    return lines


def rotated(pod, name):
    """The log files of a container's first attempt, the oldest first."""
    paths = glob.glob(f"/var/log/pods/*_{pod.name}_{pod.uid}/{name}/0.log*")
    if any(path.endswith(".tmp") for path in paths):
        raise ValueError("a log is being compressed")
    return sorted(paths, key=lambda path: (path.endswith("0.log"), path))


def pods():
    """All pods, by the names that their manifests gave them."""
    items = json.loads(get("/pods"))["items"] or []
    return {item["metadata"]["name"].removesuffix("-node1"): Pod(item) for item in items}
