"""Pods while their node's programs come and go: the daemon is killed, the kubelet restarted, the machine rebooted."""

import glob
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request

from node import HERE, NODE, RUN_DIR, SOCKET, audit, get, leases, manifests, mounts, put, state_of
from trials import Failed, eventually, must
from view import pods

# The manifests of which each has a pod here, by their files.
KEPT = {"probes": ["probed"], "spaces": ["apart", "shared-processes", "of-the-host"], "life": ["init"], "limits": ["limited"], "kept": ["ticks"]}
NAMES = [f"kept-{name}" for names in KEPT.values() for name in names]


def start_those_that_are_kept():
    """Starts the pods of the trials that follow."""
    for topic, names in KEPT.items():
        there = manifests(topic)
        for name in names:
            put(f"kept-{name}", there[name].replace("metadata: {name: ", "metadata: {name: kept-"))
    eventually(90, "they run", all_run)


def all_run():
    """The pods, once all of their containers that ought to run do, and are ready."""
    there = pods()
    found = [there[name] for name in NAMES if name in there]
    good = len(found) == len(NAMES) and all(
        one.runs and one.ready or one.ended == (0, "Completed") for pod in found for one in pod.containers.values())
    return found if good else None


def identity(found):
    """What must not change of containers that run on."""
    return {(pod.name, name): (one.id, one.restarts) for pod in found for name, one in pod.containers.items()}


def must_be_the_same(before):
    """Fails where a container is not what it was."""
    now = identity(all_run() or [])
    changed = {name: (was, now.get(name)) for name, was in before.items() if now.get(name) != was}
    must(not changed, f"other containers than before: {changed}")


def probes(result):
    """How often the probes of `kept-ticks` came to a result, by kind."""
    form = r'^prober_probe_total\{container="probed".*?pod="kept-ticks-node1".*?probe_type="(\w+)",result="' + result + r'"\} (\S+)'
    return {kind: float(count) for kind, count in re.findall(form, get("/metrics/probes"), re.M)}


def page():
    """Asks the web server of a pod, by the host's port."""
    with urllib.request.urlopen("http://10.99.0.1:8081/", timeout=5) as answer:
        return b"nginx" in answer.read()


def numbers(pod):
    """How far `kept-ticks` has counted, if it left nothing out."""
    said = pod.said("numbers")
    must(said == [str(number) for number in range(1, len(said) + 1)], f"its log has a gap: it is at {said[-1:]} in line {len(said)}")
    return len(said)


def ticks():
    return pods()["kept-ticks"]


def a_killed_daemon_leaves_pods_alone_and_finds_them_again(runtime):
    """They run, serve and write while it is dead; then they are probed, and none is restarted."""
    before = identity(all_run() or [])
    must(before, "not all of the pods run")
    runtime.kill()
    counted = numbers(ticks())
    must(page(), "the web server does not answer while the daemon is dead")
    eventually(20, "a container writes its log while the daemon is dead", lambda: numbers(ticks()) > counted + 20)
    runtime.begin()
    done = probes("successful")
    eventually(30, "probes of both kinds go on", lambda: all(count >= done[kind] + 3 for kind, count in probes("successful").items()))
    eventually(30, "the pods are ready", all_run)
    must_be_the_same(before)
    numbers(ticks())
    audit()


def a_restarted_kubelet_adopts_the_pods(kubelet):
    """It finds them running."""
    before = identity(all_run() or [])
    must(before, "not all of the pods run")
    kubelet.end()
    kubelet.begin()
    eventually(60, "they are ready", all_run)
    # Its own rounds: it would do away with what it does not know in the second one.
    time.sleep(10)
    must_be_the_same(before)


def figures_and_events_are_complete(kubelet, gates):
    """A kubelet with other features has its figures from the runtime alone; observed.py has them in detail. That the same containers
    run is not asked: with events (EventedPLEG, alpha) two of the kubelet's rounds overlap, and one may make what the other has."""
    kubelet.end()
    kubelet.begin(gates)
    eventually(60, "the pods are ready", all_run)
    command = [sys.executable, "-B", f"{HERE}/observed.py", "kept-probed", "web"]
    done = lambda: subprocess.run(command, capture_output=True, text=True, check=False)
    eventually(60, "they are", lambda: not done().returncode or fail(done().stderr[-600:]))


def fail(why):
    raise Failed(why)


def reboot(kubelet, runtime):
    """What a reboot leaves of a node: its disks."""
    kubelet.end(signal.SIGKILL)
    runtime.kill()
    end_all_others()
    for point in sorted(mounts(), reverse=True):
        subprocess.run(["umount", "--lazy", point], check=True)
    if os.environ["CORACLE_E2E_DRIVER"] == "systemd":
        # Of what was in them nothing is left; no service manager outlives a reboot to remember them.
        subprocess.run(["systemctl", "stop", "kubepods.slice"], check=True)
    shutil.rmtree(os.path.dirname(RUN_DIR))
    os.makedirs(os.path.dirname(SOCKET))
    for place in cgroup_roots():
        for path, _, _ in os.walk(place, topdown=False):
            if path != place:
                os.rmdir(path)
    subprocess.run(["ip", "link", "delete", "cni0"], check=True)
    for command in (["-F"], ["-X"]):
        subprocess.run(["iptables", "-t", "nat", *command], check=True)


def cgroup_roots():
    """The directories below which are the cgroups of pods and monitors."""
    return glob.glob(f"/sys/fs/cgroup/**/{os.path.basename(NODE)}/kube", recursive=True) + \
        glob.glob(f"/sys/fs/cgroup/**/{os.path.basename(NODE)}/monitors", recursive=True)


def end_all_others():
    """Kills all that the node's programs left: every process below the subreaper but this one, those above it, and the registry."""
    spared, pid = {int(os.environ["REGISTRY_PID"]), os.getpid()}, os.getpid()
    top = int(os.environ["SUBREAPER_PID"])
    while pid != top:
        pid = parent_of(pid)
        spared.add(pid)
    until = time.monotonic() + 30
    while others := [pid for pid in below(top) if pid not in spared and state_of(pid) not in ("Z", None)]:
        must(time.monotonic() < until, f"these do not end: {others}")
        for pid in others:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.1)


def parent_of(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return int(file.read().rsplit(")", 1)[1].split()[1])


def below(top):
    """The processes below another."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                parents.setdefault(parent_of(int(name)), []).append(int(name))
            except OSError:
                pass
    found, next_ones = [], [top]
    while next_ones:
        next_ones = [child for pid in next_ones for child in parents.get(pid, [])]
        found += next_ones
    return found


def pods_come_back_after_a_reboot(kubelet, runtime):
    """Each of their containers as its next attempt, in a new pod of the old name."""
    before = {(pod.name, name): one for pod in all_run() or [] for name, one in pod.containers.items()}
    must(before, "not all of the pods run")
    reboot(kubelet, runtime)
    runtime.begin()
    kubelet.begin()
    came = eventually(120, "they are ready again", all_run)
    for pod in came:
        for name, now in pod.containers.items():
            was = before[pod.name, name]
            must(now.id != was.id, f"{pod.name} {name} is the container of before")
            # The kubelet counts its init containers from the start.
            must(now.ended or now.restarts == was.restarts + 1, f"{pod.name} {name}: attempt {now.restarts} after {was.restarts}")
    must(page(), "the web server does not answer by the host's port")
    eventually(90, "no address of the pods of before is held", lambda: len(leases()) == len(came) - 1)
    audit()
