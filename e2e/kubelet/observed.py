#!/usr/bin/env python3
"""observed.py POD_NAME CONTAINER: whether the kubelet's /stats/summary, /metrics/cadvisor and /metrics are complete for a pod and
a container, and agree with the files of their cgroups. For a kubelet that has its figures from the runtime alone
(PodAndContainerStatsFromCRI) and hears of containers by events (EventedPLEG)."""

import glob
import json
import os
import re
import sys
import urllib.error
import urllib.request

UNIFIED = bool(glob.glob("/sys/fs/cgroup/cgroup.controllers"))
SLACK = 1 << 20


def get(path):
    try:
        with urllib.request.urlopen("http://127.0.0.1:10255" + path, timeout=20) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        raise SystemExit(f"GET {path}: {error}: {error.read().decode()}") from error


def cgroup(path, controller):
    """The directory of the cgroup with such a path."""
    root = "/sys/fs/cgroup/" + ("" if UNIFIED else controller + "/")
    return next(place for place, _, _ in os.walk(root) if re.search(path, place))


def number(path, controller, v1, v2):
    with open(f"{cgroup(path, controller)}/{v2 if UNIFIED else v1}", encoding="utf-8") as file:
        return int(file.read().split()[1 if v2 == "cpu.stat" and UNIFIED else 0])


def memory(path):
    return number(path, "memory", "memory.usage_in_bytes", "memory.current")


def cpu(path):
    return number(path, "cpuacct", "cpuacct.usage", "cpu.stat") * (1000 if UNIFIED else 1)


def between(what, before, told, after, slack=0):
    low, high = min(before, after) - slack, max(before, after) + slack
    assert low <= told <= high, f"{what}: {told} is not in {low}..{high}"


def samples(text, name, **labels):
    """The values of a metric's samples that have all the labels."""
    found = []
    for line in re.finditer(rf"^{name}(?:{{(.*?)}})? (\S+)", text, re.M):
        has = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', line[1] or ""))
        if all(has.get(key) == value for key, value in labels.items()):
            found.append(float(line[2]))
    return found


pods = json.loads(get("/pods"))["items"]
pod = next(pod for pod in pods if pod["metadata"]["name"].startswith(sys.argv[1]))
# Of either driver: /podUID/ID, or …-podUID.slice/coracle-ID.scope.
uid = f"pod({pod['metadata']['uid']}|{pod['metadata']['uid'].replace('-', '_')}.slice)$"
statuses = {status["name"]: status for status in pod["status"]["containerStatuses"]}
container = statuses[sys.argv[2]]["containerID"].split("//")[1]
inside = uid.replace("$", f"/[a-z-]*{container}(.scope)?$")

before = cpu(uid), memory(uid), cpu(inside), memory(inside)
summary = json.loads(get("/stats/summary"))
cadvisor = get("/metrics/cadvisor")
after = cpu(uid), memory(uid), cpu(inside), memory(inside)

of_pod = next(one for one in summary["pods"] if one["podRef"]["name"] == pod["metadata"]["name"])
between("pod cpu", before[0], of_pod["cpu"]["usageCoreNanoSeconds"], after[0])
between("pod memory", before[1], of_pod["memory"]["usageBytes"], after[1], SLACK)
assert of_pod["memory"]["workingSetBytes"] > 0 and of_pod["process_stats"]["process_count"] > 0, of_pod
assert of_pod["network"]["name"] == "eth0" and of_pod["network"]["rxBytes"] > 0 and of_pod["network"]["txBytes"] > 0, of_pod
assert of_pod["ephemeral-storage"]["usedBytes"] > 0, of_pod
one = next(one for one in of_pod["containers"] if one["name"] == sys.argv[2])
between("container cpu", before[2], one["cpu"]["usageCoreNanoSeconds"], after[2])
between("container memory", before[3], one["memory"]["usageBytes"], after[3], SLACK)
for part, fields in {
    "memory": ["workingSetBytes", "rssBytes", "pageFaults", "majorPageFaults"],
    "rootfs": ["usedBytes", "inodesUsed", "capacityBytes", "availableBytes"],
    "logs": ["usedBytes"],
}.items():
    missing = [field for field in fields if field not in one.get(part, {})]
    assert not missing, f"container {part} has no {missing}: {one}"

labels = {"container": sys.argv[2], "pod": pod["metadata"]["name"], "namespace": pod["metadata"]["namespace"]}
[usage] = samples(cadvisor, "container_memory_usage_bytes", **labels)
between("memory of /metrics/cadvisor", before[3], usage, after[3], SLACK)
[seconds] = samples(cadvisor, "container_cpu_usage_seconds_total", **labels)
between("cpu of /metrics/cadvisor", before[2] // 10**9, seconds, after[2] // 10**9)
for name in ["container_memory_working_set_bytes", "container_spec_memory_limit_bytes", "container_processes",
             "container_start_time_seconds", "container_fs_usage_bytes", "container_oom_events_total"]:
    assert len(samples(cadvisor, name, **labels)) == 1, name
for name in ["container_network_receive_bytes_total", "container_network_transmit_packets_total"]:
    assert samples(cadvisor, name, pod=labels["pod"], interface="eth0")[0] > 0, name

metrics = get("/metrics")
assert sum(samples(metrics, "kubelet_evented_pleg_connection_success_count")) >= 1, "no event stream"
assert sum(samples(metrics, "kubelet_evented_pleg_connection_error_count")) == 0, "the event stream broke"
