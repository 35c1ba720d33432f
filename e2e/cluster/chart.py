"""The Helm chart, installed for real on the cluster of cluster.py. Its nodes run Coracle without a service manager, so the
trials do what is left to an operator then: they run the program that was installed, anew after each change. Each goes on from
where the one before ended."""

import fcntl
import json
import os
import re
import subprocess

from parts import CORACLE, NODE, NODES, get, gone, kubectl, pod, run
from trials import Failed, eventually, must

HELM = os.environ["HELM"]
CHART = f"{os.environ['ROOT']}/charts/coracle"
SPACE = "kube-system"
PROGRAM = "/opt/coracle/current/coracle"
SETTINGS = "/etc/coracle/config.toml.d/50-node.toml"
OURS = "app.kubernetes.io/instance=coracle"
PLACES = {name: f"{NODE}/helm/{name}" for name in ("HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME")}


def helm_ends(*words):
    """Runs helm: its exit code, and what it says."""
    done = subprocess.run([HELM, "--namespace", SPACE, *words], env={**os.environ, **PLACES}, capture_output=True, text=True,
                          timeout=300, check=False)
    said = done.stdout + done.stderr
    with open(f"{NODE}/helm.log", "a", encoding="utf-8") as log:
        log.write(f"$ helm {' '.join(words)}\n{said if words[0] != 'template' else ''}")
    return done.returncode, said


def helm(*words):
    """Runs helm and returns what it says."""
    code, said = helm_ends(*words)
    must(not code, f"helm {' '.join(words)}: {code}: {said.strip()[-600:]}")
    return said


def upgrade(*words):
    helm("upgrade", "coracle", CHART, "--reuse-values", *words)


def settled():
    """Waits until the release is on every node."""
    try:
        kubectl("-n", SPACE, "rollout", "status", "daemonset/coracle-install", "--timeout=90s", seconds=100)
    except Failed as error:
        said = kubectl("logs", "-n", SPACE, "-l", OURS, "--prefix", check=False, errors=True)
        raise Failed(f"{error}\n{said}") from error


def objects():
    """Whatever there is of the release."""
    kinds = "daemonsets,configmaps,serviceaccounts,pods,controllerrevisions"
    return [(one["kind"], one["metadata"]["name"]) for one in get(kinds, "-n", SPACE, "-l", OURS)["items"]]


def file(node, path):
    """The place of a node's file, here."""
    return f"/proc/{node.holder}/root{path}"


def settings(node):
    with open(file(node, SETTINGS), encoding="utf-8") as text:
        return text.read()


def installed(node):
    """Everything of an installation that is on a node."""
    found = node.inside("find", "/opt/coracle", "/usr/local/bin/coracle", "/etc/coracle", "/etc/systemd/system/coracle.service",
                        "/var/lib/coracle-node", "!", "-type", "d", "!", "-path", "/etc/coracle/config.toml", "-print", check=False)
    return found.split()


def version(node):
    """The version that is installed there, by the status."""
    return re.search(r"^installed +(\S+)$", node.inside("/usr/local/bin/coracle", "node", "status"), re.MULTILINE)[1]


def serve_anew(node):
    """What `none` leaves to the operator."""
    node.serve(PROGRAM, "serve")


class Counter:
    """A pod that writes a number ten times a second, for a node."""

    def __init__(self, node):
        self.node, self.name = node, f"counter-{node.name}"
        run(pod(self.name, "sh", "-c", "i=0; while true; do echo $i; i=$((i+1)); sleep 0.1; done", node=node.name))
        self.pid = self._pid()

    def _pid(self):
        container = get("pod", self.name)["status"]["containerStatuses"][0]["containerID"].rpartition("/")[2]
        return eventually(30, "a pid", lambda: json.loads(self.node.crictl("inspect", container))["info"]["pid"])

    def _lines(self):
        return [int(line) for line in kubectl("logs", self.name).split()]

    def untouched(self):
        """Fails unless it is the process that it was, goes on, and no line was lost."""
        status = get("pod", self.name)["status"]["containerStatuses"][0]
        must(status["restartCount"] == 0 and status["ready"], f"{self.name}: {status}")
        must(self._pid() == self.pid, f"{self.name} is another process")
        known = len(self._lines())
        eventually(30, f"{self.name} goes on", lambda: len(self._lines()) > known)
        lines = self._lines()
        must(lines == list(range(len(lines))), f"{self.name} lost lines")


COUNTERS = []


def the_api_server_takes_what_the_chart_makes():
    made = helm("template", "coracle", CHART, "--set", "switch.enabled=true,uninstall.enabled=true,metrics.port=9100",
                "--set", "metrics.dashboard.enabled=true")
    taken = kubectl("apply", "--dry-run=server", "-f", "-", stdin=made).splitlines()
    must(len(taken) == made.count("\nkind: ") and all("server dry run" in line for line in taken), f"it takes {taken}")
    must(len(taken) == 8, f"there are {len(taken)} objects")
    wrong = made.replace("maxUnavailable:", "maxUnavailible:")
    said = kubectl("apply", "--dry-run=server", "-f", "-", stdin=wrong, check=False, errors=True)
    must('unknown field "spec.updateStrategy.rollingUpdate.maxUnavailible"' in said, f"of a wrong field it says {said[-300:]}")
    must(not objects(), f"there is {objects()}")


def the_chart_refuses_values_that_cannot_be():
    wrong = {"serviceManager=initd": "serviceManager", "maxUnavailable=0": "maxUnavailable", "nonsense=1": "nonsense",
             "serviceManager=none,switch.enabled=true": "switch.enabled takes serviceManager: systemd"}
    for values, reason in wrong.items():
        code, said = helm_ends("install", "coracle", CHART, "--set", values)
        must(code and reason in said, f"{values}: {code}: {said}")
    must(not helm("list", "--short").split(), "there is a release")
    must(not objects(), f"there is {objects()}")


def the_chart_installs_coracle_and_touches_no_runtime():
    COUNTERS.extend(Counter(node) for node in NODES)
    for node in NODES:
        node.inside("mkdir", "-p", "/etc/coracle")
        node.inside("cp", f"{node.place}/coracle.toml", "/etc/coracle/config.toml")
        must(not installed(node), f"{node.name} has {installed(node)} already")
    daemons = [node.runtime.process.pid for node in NODES]
    notes = helm("install", "coracle", CHART, "--set", "serviceManager=none")
    must("kubectl -n kube-system rollout status daemonset/coracle-install" in notes, f"the notes say {notes}")
    settled()
    for node in NODES:
        said = node.inside("/usr/local/bin/coracle", "node", "status")
        must(re.fullmatch(r"installed  0\.1\.0-[0-9a-f]{12}\nkubelet    not switched\n", said), f"{node.name} says {said}")
        node.inside(PROGRAM, "node", "status", "--expect", "installed")
        must(node.inside("cmp", PROGRAM, CORACLE) == "", "another program is installed")
        must("The value `config` of the release coracle" in settings(node), f"its settings are {settings(node)}")
    pods = get("pods", "-n", SPACE, "-l", OURS)["items"]
    logs = [kubectl("logs", "-n", SPACE, one["metadata"]["name"]) for one in pods]
    must(len(logs) == 2 and all(f"left to you: run `{PROGRAM} serve`" in log for log in logs), f"the pods say {logs}")
    must([node.runtime.process.poll() for node in NODES] == [None, None], "a daemon ended")
    must([node.runtime.process.pid for node in NODES] == daemons, "a daemon is another")
    for counter in COUNTERS:
        counter.untouched()


def helm_test_passes():
    said = helm("test", "coracle")
    must(re.search(r"^Phase: +Succeeded$", said, re.MULTILINE), f"it says {said}")
    must(("Pod", "coracle-test") not in objects(), "its pod stays")


def a_changed_value_is_on_the_nodes_and_counts_once_the_daemon_runs_anew():
    before = [version(node) for node in NODES]
    upgrade("--set-string", "config=[containers]\npids_limit = 77\n")
    settled()
    must([version(node) for node in NODES] == before, "the version changed")
    for node in NODES:
        must("pids_limit = 77" in settings(node), f"{node.name} has {settings(node)}")
        serve_anew(node)
        run(pod(f"limited-{node.name}", "sleep", "3600", node=node.name))
        limit = kubectl("exec", f"limited-{node.name}", "--", "sh", "-c", "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max", check=False)
        must(limit.strip() == "77", f"on {node.name} the limit is {limit}")
    gone("pod", *(f"limited-{node.name}" for node in NODES))
    for counter in COUNTERS:
        counter.untouched()


def settings_with_a_mistake_stop_at_the_first_node():
    upgrade("--set-string", "config=[containers]\npids_limits = 78\n")

    def refused():
        """What the pod says that cannot install them."""
        for one in get("pods", "-n", SPACE, "-l", OURS)["items"]:
            if not any(c["restartCount"] for c in one["status"].get("containerStatuses", [])):
                continue
            # The kubelet keeps the last of a container that ends again and again: what was the last a moment ago may be gone.
            for which in ("--previous", "--previous=false"):
                said = kubectl("logs", "-n", SPACE, which, one["metadata"]["name"], check=False)
                if "pids_limits" in said:
                    return said
        return None

    said = eventually(60, "a pod says what is wrong", refused)
    must("did you mean containers.pids_limit?" in said, f"it says {said}")
    for node in NODES:
        must("pids_limit = 77" in settings(node), f"{node.name} has {settings(node)}")
    ready = get("daemonset", "-n", SPACE, "coracle-install")["status"]
    must(ready["numberReady"] == 1 and ready["updatedNumberScheduled"] == 1, f"the DaemonSet is {ready}")
    helm("rollback", "coracle")
    settled()
    for counter in COUNTERS:
        counter.untouched()


def pods_go_on_when_coracle_is_upgraded():
    before = [version(node) for node in NODES]
    upgrade("--set", "image.tag=newer")
    settled()
    for node, old in zip(NODES, before):
        must(version(node) != old, f"{node.name} has {old} still")
        must(os.path.exists(file(node, f"/opt/coracle/versions/{old}/coracle")), "the version before is not kept")
        must("pids_limit = 77" in settings(node), f"{node.name} has {settings(node)}")
        serve_anew(node)
        must(node.inside("readlink", f"/proc/{node.runtime.process.pid}/exe").strip() == f"/opt/coracle/versions/{version(node)}/coracle",
             "another program runs")
    helm("test", "coracle")
    for counter in COUNTERS:
        counter.untouched()


def of_two_installers_one_waits():
    node = NODES[0]
    with open(file(node, "/var/lib/coracle-node/lock"), "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        command = ["nsenter", "--target", node.holder, "--mount", "--net", "--", PROGRAM, "node", "install"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as second:
            try:
                eventually(20, "it waits", lambda: waits(second.pid))
                must(second.poll() is None, "it did not wait")
                fcntl.flock(lock, fcntl.LOCK_UN)
                said = second.communicate(timeout=60)[0]
            finally:
                second.kill()
    must(second.returncode == 0 and f"coracle {version(node)} is installed" in said, f"it ends with {second.returncode}: {said}")
    must("pids_limit = 77" in settings(node), f"it changed the settings to {settings(node)}")


def waits(pid):
    """Whether a process waits for somebody's lock."""
    with open("/proc/locks", encoding="ascii") as locks:
        return any(re.search(rf"-> FLOCK .* {pid} ", line) for line in locks)


def a_label_takes_coracle_off_a_node():
    node, other = NODES
    for one in NODES:
        one.serve(*one.ours)
    upgrade("--set", "uninstall.enabled=true")
    settled()
    kubectl("label", "node", node.name, "coracle.dev/node=uninstall")
    eventually(90, f"nothing of it is on {node.name}", lambda: not installed(node))
    done = lambda: "everything that was installed is taken back" in kubectl("-n", SPACE, "logs", "daemonset/coracle-uninstall")
    eventually(60, "the pod says so", done)
    one = get("pods", "-n", SPACE, "-l", f"{OURS},app.kubernetes.io/component=uninstall")["items"][0]["status"]["containerStatuses"][0]
    must("running" in one["state"] and not one["restartCount"], f"the pod did not stay: {one}")
    must(os.path.exists(file(node, "/etc/coracle/config.toml")), "what is not of the installation went too")
    settled()
    must(installed(other), f"nothing of it is on {other.name} either")
    other.inside(PROGRAM, "node", "status", "--expect", "installed")
    for counter in COUNTERS:
        counter.untouched()


def helm_uninstall_leaves_nodes_as_they_are():
    other = NODES[1]
    before = installed(other)
    helm("uninstall", "coracle", "--wait")
    eventually(60, "nothing of the release is left", lambda: not objects())
    must(not helm("list", "--short").split(), "there is a release still")
    must(installed(other) == before, f"{other.name} has {installed(other)} instead of {before}")
    # What the notes say is left to do.
    said = other.inside("/usr/local/bin/coracle", "node", "uninstall")
    must("everything that was installed is taken back" in said and not installed(other), f"it says {said}, {installed(other)} stays")
    kubectl("label", "node", NODES[0].name, "coracle.dev/node-")
    for counter in COUNTERS:
        counter.untouched()
    gone("pod", *(counter.name for counter in COUNTERS))


TRIALS = [
    the_api_server_takes_what_the_chart_makes, the_chart_refuses_values_that_cannot_be,
    the_chart_installs_coracle_and_touches_no_runtime, helm_test_passes,
    a_changed_value_is_on_the_nodes_and_counts_once_the_daemon_runs_anew, settings_with_a_mistake_stop_at_the_first_node,
    pods_go_on_when_coracle_is_upgraded, of_two_installers_one_waits, a_label_takes_coracle_off_a_node,
    helm_uninstall_leaves_nodes_as_they_are,
]
