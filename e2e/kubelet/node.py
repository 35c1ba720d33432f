"""The node under test: its kubelet, its runtime, what its operators' client lists, and whatever may be left of pods."""

import glob
import json
import os
import signal
import ssl
import subprocess
import time
import urllib.error
import urllib.request

from trials import PATIENCE, Failed, Program, eventually

HERE = os.path.dirname(os.path.abspath(__file__))
NODE = os.environ["CORACLE_NODE"]
SOCKET = os.environ["SOCKET"]
CORACLE = os.environ["CORACLE_BINARY"]
CONFIG = f"{NODE}/coracle.toml"
HOST = f"{NODE}/disk/host"
MANIFESTS = f"{NODE}/manifests"
RUN_DIR = "/run/runtime/coracle"
UNIFIED = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
REGISTRY = "registry.k8s.io/e2e-test-images"
PLACES = {
    "BUSYBOX": f"{REGISTRY}/busybox:1.29-2",
    "NGINX": f"{REGISTRY}/nginx:1.14-2",
    "GROUPS": "gcr.io/k8s-staging-cri-tools/test-image-predefined-group:latest",
    "HOST": HOST,
    "TOOLS": os.path.dirname(os.environ["KUBELET"]),
}


def run(*words, seconds=120):
    """Runs a command and returns what it prints."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=seconds, check=False)
    if done.returncode:
        raise Failed(f"{' '.join(words)}: {done.returncode}: {(done.stdout + done.stderr).strip()[-1500:]}")
    return done.stdout


def crictl(*words):
    """Runs the operators' client."""
    at = f"unix://{SOCKET}"
    return run(f"{os.environ['CRI_TOOLS']}/crictl", "--runtime-endpoint", at, "--image-endpoint", at, "--timeout", "60s", *words)


def get(path):
    """What the kubelet answers without being asked who one is."""
    try:
        with urllib.request.urlopen("http://127.0.0.1:10255" + path, timeout=20) as answer:
            return answer.read().decode()
    except (urllib.error.URLError, OSError) as error:
        raise Failed(f"GET {path}: {error}") from error


def ask(path, method="GET"):
    """What the kubelet answers on its own port, where logs and commands are."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        request = urllib.request.Request("https://127.0.0.1:10250" + path, method=method)
        with urllib.request.urlopen(request, timeout=30, context=context) as answer:
            return answer.read().decode()
    except (urllib.error.URLError, OSError) as error:
        raise Failed(f"{method} {path}: {error}") from error


class Kubelet(Program):
    """The kubelet."""

    def __init__(self):
        super().__init__("kubelet", [])

    def begin(self, gates=""):
        """Starts it with its configuration, and these gates of features as well, and returns when it answers."""
        with open(f"{NODE}/kubelet.yaml", encoding="utf-8") as file:
            plain = file.read()
        with open(f"{NODE}/kubelet-now.yaml", "w", encoding="utf-8") as file:
            file.write(plain.replace("featureGates: {", "featureGates: {" + gates))
        self.command = [os.environ["KUBELET"], "--config", f"{NODE}/kubelet-now.yaml", "--hostname-override", "node1", "--node-ip",
                        "10.99.0.1", "--root-dir", "/var/lib/kubelet", "--cert-dir", f"{NODE}/disk/certs", "-v", "2"]
        self.start()
        eventually(60, "the kubelet answers", lambda: get("/pods"))


class Runtime(Program):
    """The daemon, which run.sh started."""

    def __init__(self):
        super().__init__("runtime", [CORACLE, "serve", "--config", CONFIG])
        self.pid = int(os.environ["RUNTIME_PID"])

    def kill(self):
        """Kills it, and returns when it is dead."""
        os.kill(self.pid, signal.SIGKILL)
        if self.process:
            self.process.wait(30)
        else:
            eventually(30, "the daemon is dead", lambda: state_of(self.pid) in ("Z", None))

    def begin(self):
        """Starts it anew, and returns when it answers."""
        self.start()
        self.pid = self.process.pid
        eventually(60, "the daemon answers", lambda: crictl("imagefsinfo"))


def state_of(pid):
    """The state of a process, by one letter."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rsplit(")", 1)[1].split()[0]
    except OSError:
        return None


def put(name, text):
    """Gives the kubelet a manifest, whole at once: it watches the directory."""
    with open(f"{NODE}/new-manifest", "w", encoding="utf-8") as file:
        file.write(text)
    os.rename(f"{NODE}/new-manifest", f"{MANIFESTS}/{name}.yaml")


def take(*names):
    """Takes manifests away again; all, if none is named."""
    for path in [f"{MANIFESTS}/{name}.yaml" for name in names] or glob.glob(f"{MANIFESTS}/*.yaml"):
        os.unlink(path)


def manifests(topic):
    """The manifests of a file below pods/, by the names of their pods."""
    with open(f"{HERE}/pods/{topic}.yaml", encoding="utf-8") as file:
        text = file.read()
    for word, meaning in PLACES.items():
        text = text.replace(word, meaning)
    found = {}
    for one in text.split("\n---\n"):
        name = one.split("metadata: {name: ", 1)[1].split(",")[0].split("}")[0]
        found[name] = one
    return found


def kubelet_said(*words):
    """Whether a line of the kubelet's log has all the words."""
    with open(f"{NODE}/kubelet.log", encoding="utf-8", errors="replace") as file:
        return any(all(word in line for word in words) for line in file)


def audit():
    """Fails with whatever the runtime's own audit finds."""
    run(CORACLE, "check", "--config", CONFIG)


def cgroups_of(uid):
    """The cgroup directories of a pod, one a hierarchy, whichever driver made them."""
    names = {f"pod{uid}", f"pod{uid.replace('-', '_')}.slice"}
    return [root for root, _, _ in os.walk("/sys/fs/cgroup") if any(os.path.basename(root).endswith(name) for name in names)]


def limits(uid, container):
    """What the cgroup of a container is limited to: bytes of memory, and processors."""
    found = {}
    for pod in cgroups_of(uid):
        for place in glob.glob(f"{pod}/*{container}*"):
            for name in ("memory.limit_in_bytes", "cpu.cfs_quota_us", "cpu.cfs_period_us", "memory.max", "cpu.max"):
                if os.path.exists(f"{place}/{name}"):
                    with open(f"{place}/{name}", encoding="ascii") as file:
                        found[name] = file.read().split()
    if UNIFIED:
        quota, period = found["cpu.max"]
        return int(found["memory.max"][0]), int(quota) / int(period)
    return int(found["memory.limit_in_bytes"][0]), int(found["cpu.cfs_quota_us"][0]) / int(found["cpu.cfs_period_us"][0])


def leases():
    """The addresses that the network's plugins hold."""
    return [name for name in os.listdir(f"{NODE}/cni/state/node") if name[0].isdigit()] if os.path.isdir(f"{NODE}/cni/state/node") else []


def mounts():
    """The mounts of pods and containers in this mount namespace."""
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        points = [line.split()[4] for line in file]
    return [point for point in points if point.startswith((RUN_DIR + "/", "/var/lib/kubelet/pods/"))]


def interfaces():
    """The network interfaces of pods."""
    return [one["ifname"] for one in json.loads(run("ip", "-j", "link")) if one["ifname"].startswith("veth")]


def left(uids):
    """What is still there of pods that are gone; nothing, when all is well."""
    found = {
        "containers": crictl("ps", "-a", "-q").split(),
        "pods": crictl("pods", "-q").split(),
        "cgroups": [path for uid in uids for path in cgroups_of(uid)],
        "mounts": mounts(),
        "addresses": leases(),
        "interfaces": interfaces(),
    }
    return {what: those[:5] for what, those in found.items() if those}


def nothing_is_left(uids, seconds):
    """Waits until nothing is left of pods. The kubelet cleans up what it stopped once a minute."""
    seconds *= PATIENCE
    until = time.monotonic() + seconds
    while found := left(uids):
        if time.monotonic() > until:
            raise Failed(f"still there after {seconds} s: {found}")
        time.sleep(1)
