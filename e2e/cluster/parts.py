"""What the cluster consists of: a control plane, and nodes with their programs, all in namespaces that run.sh made."""

import json
import os
import subprocess

from trials import Failed, Program, eventually

NODE = os.environ["CORACLE_NODE"]
CLUSTER = os.environ["CLUSTER"]
KUBELET = os.environ["KUBELET"]
CORACLE = os.environ["CORACLE_BINARY"]
ADDRESS = "10.99.0.1"
TOKEN = "token-of-the-administrator"
BUSYBOX = "registry.k8s.io/e2e-test-images/busybox:1.29-2"
# The nodes, once they are made.
NODES = []
# Of every kubectl that is run from here.
os.environ["KUBECONFIG"] = f"{NODE}/kubeconfig"


def kubectl(*words, stdin=None, seconds=120, check=True, errors=False):
    """Runs kubectl and returns what it prints, errors too where that is asked for."""
    try:
        done = subprocess.run([CLUSTER, "kubectl", *words], input=stdin, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired as error:
        raise Failed(f"kubectl {' '.join(words)}: not within {seconds} s") from error
    if check and done.returncode:
        raise Failed(f"kubectl {' '.join(words)}: {done.returncode}: {(done.stdout + done.stderr).strip()[-600:]}")
    return done.stdout + (done.stderr if errors else "")


def get(*words):
    """The objects that kubectl gets."""
    return json.loads(kubectl("get", "-o", "json", *words))


def apply(*objects):
    """Applies manifests."""
    kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))


def pod(name, *command, node=None, image=BUSYBOX, **spec):
    """A pod with one container, `only`."""
    container = {"name": "only", "image": image, **({"command": list(command)} if command else {}), **spec.pop("container", {})}
    place = {"nodeName": node} if node else {}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
            "spec": {"terminationGracePeriodSeconds": 1, "containers": [container], **place, **spec}}


def runs(name):
    status = get("pod", name)["status"]
    return status.get("phase") == "Running" and all(c["ready"] for c in status["containerStatuses"])


def run(*pods):
    """Applies pods and waits until they run."""
    apply(*pods)
    for one in pods:
        name = one["metadata"]["name"]
        eventually(90, f"pod {name} runs", lambda name=name: runs(name))


def gone(kind, *names):
    kubectl("delete", kind, *names, "--wait=true", "--timeout=90s", seconds=100)


class Plane:
    """etcd, API server, controller manager and scheduler. `bind` is where the API server listens."""

    def __init__(self, bind=ADDRESS):
        keys, certificates = f"{NODE}/sa.key", f"{NODE}/disk/certificates"
        subprocess.run(["openssl", "genrsa", "-out", keys, "2048"], check=True, capture_output=True)
        with open(f"{NODE}/tokens.csv", "w", encoding="ascii") as file:
            file.write(f'{TOKEN},admin,1,"system:masters"\n')
        with open(os.environ["KUBECONFIG"], "w", encoding="ascii") as file:
            json.dump({"apiVersion": "v1", "kind": "Config", "current-context": "it",
                       "clusters": [{"name": "it", "cluster": {"server": f"https://{ADDRESS}:6443",
                                                               "insecure-skip-tls-verify": True}}],
                       "users": [{"name": "it", "user": {"token": TOKEN}}],
                       "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}]}, file)
        config = f"--kubeconfig={NODE}/kubeconfig"
        alone = ["--leader-elect=false", "--authentication-skip-lookup"]
        self.programs = [
            Program("etcd", [CLUSTER, "etcd", f"{NODE}/etcd", "127.0.0.1:2379"]),
            Program("apiserver", [
                CLUSTER, "apiserver", "--etcd-servers=http://127.0.0.1:2379", "--secure-port=6443", f"--bind-address={bind}",
                f"--advertise-address={ADDRESS}", f"--cert-dir={certificates}", "--service-cluster-ip-range=10.96.0.0/24",
                "--service-account-issuer=https://kubernetes.default.svc", f"--service-account-key-file={keys}",
                f"--service-account-signing-key-file={keys}", f"--token-auth-file={NODE}/tokens.csv",
                "--authorization-mode=Node,RBAC", "--allow-privileged", "--kubelet-preferred-address-types=InternalIP"]),
            Program("controller-manager", [
                CLUSTER, "controller-manager", config, f"--service-account-private-key-file={keys}",
                f"--root-ca-file={certificates}/apiserver.crt", "--node-monitor-grace-period=20s", *alone]),
            Program("scheduler", [CLUSTER, "scheduler", config, *alone]),
        ]

    def start(self):
        for program in self.programs:
            program.start()
            if program.name == "apiserver":
                eventually(90, "the API server is ready", lambda: kubectl("get", "--raw", "/readyz") == "ok")


class Node:
    """A node: its runtime, its kubelet and its proxy."""

    def __init__(self, number):
        self.name, self.place = f"node{number}", f"{NODE}/node{number}"
        with open(f"{self.place}/holder.pid", encoding="ascii") as file:
            self.holder = file.read().strip()
        self.ours = [CORACLE, "serve", "--config", f"{self.place}/coracle.toml"]
        self.runtime = Program(f"{self.name}-runtime", self.ours, self.holder)
        self.kubelet = Program(f"{self.name}-kubelet", [
            KUBELET, "--config", f"{self.place}/kubelet.yaml", "--kubeconfig", f"{NODE}/kubeconfig", "--hostname-override", self.name,
            "--node-ip", f"10.99.0.1{number}", "--root-dir", "/var/lib/kubelet", "--cert-dir", f"{NODE}/disk/{self.name}/certs",
            "-v", "2"], self.holder)
        self.proxy = Program(f"{self.name}-proxy", [
            CLUSTER, "proxy", f"--kubeconfig={NODE}/kubeconfig", f"--hostname-override={self.name}", "--proxy-mode=nftables",
            "--cluster-cidr=10.88.0.0/16", "--conntrack-max-per-core=0", "--conntrack-min=0",
            "--conntrack-tcp-timeout-established=0s", "--conntrack-tcp-timeout-close-wait=0s", "--masquerade-all"], self.holder)

    def start(self):
        self._serve()
        # A kubelet ends when its runtime does not answer.
        for program in (self.kubelet, self.proxy):
            program.start()

    def _serve(self):
        self.runtime.start()
        eventually(60, f"the daemon of {self.name} answers", lambda: self.crictl("version"))

    def serve(self, *command):
        """Ends the daemon, and starts one with this command instead."""
        self.runtime.end()
        self.runtime = Program(f"{self.name}-runtime", list(command), self.holder)
        self._serve()

    def crictl(self, *words):
        """Asks the runtime."""
        return self.inside(f"{os.environ['CRI_TOOLS']}/crictl", "--runtime-endpoint", "unix:///run/coracle.sock", *words)

    def inside(self, *words, check=True):
        """Runs a command in the node's namespaces and returns what it prints."""
        done = subprocess.run(["nsenter", "--target", self.holder, "--mount", "--net", "--", *words], capture_output=True,
                              text=True, timeout=120, check=False)
        if check and done.returncode:
            raise Failed(f"{' '.join(words)} on {self.name}: {(done.stdout + done.stderr).strip()[-600:]}")
        return done.stdout

    def check(self):
        """Whatever the audit finds."""
        return self.inside(CORACLE, "check", "--config", f"{self.place}/coracle.toml")

    def is_ready(self):
        conditions = {c["type"]: c["status"] for c in get("node", self.name)["status"]["conditions"]}
        return conditions.get("Ready") == "True"

    def pods(self, *words):
        """Names of pods that run here."""
        return [pod for pod in get("pods", *words)["items"] if pod["spec"].get("nodeName") == self.name]
