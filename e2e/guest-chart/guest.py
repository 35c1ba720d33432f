"""The virtual machine that is the cluster's only node, seen from outside."""

import os
import socket

from parts import ADDRESS, NODE, get
from trials import Failed, Program, eventually, must

NAME = "vm"
HERE, GUEST, JOB = os.environ["HERE"], os.environ["GUEST"], os.environ["JOB"]
SHELL = ("127.0.0.1", 7000)
SECONDS = 2400


class Guest:
    """The machine, with systemd, containerd and a kubelet."""

    def __init__(self):
        # The kubelet's way to the API server.
        with open(os.environ["KUBECONFIG"], encoding="ascii") as file:
            text = file.read()
        with open(f"{JOB}/files/etc/kubernetes/kubelet.conf", "w", encoding="ascii") as file:
            file.write(text.replace(ADDRESS, HERE))
        forward = f"VM_FORWARD=tcp:{GUEST}:10250-:10250 tcp:{SHELL[0]}:{SHELL[1]}-:{SHELL[1]}"
        self.program = Program("guest", ["env", forward, f"{os.environ['ROOT']}/hack/vm.sh", "run", "-i", JOB, "-o", f"{NODE}/out",
                                         "-d", "4G", "-t", str(SECONDS), f"{JOB}/start.sh"])

    def start(self):
        self.program.start()

    def shell(self, command, check=True):
        """Runs a command there, and returns what it says."""
        with socket.create_connection(SHELL, timeout=120) as connection:
            connection.sendall(f"cd /job; {{ {command}\n}} </dev/null 2>&1; echo \"=$?\"; exit\n".encode())
            said = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
        text, mark, code = said.rpartition("=")
        if not mark or (check and code.strip() != "0"):
            raise Failed(f"on the node `{command}` ended with {code.strip() or 'nothing'}: {text[-600:]}")
        return text

    def pods(self, socket_path):
        """How many pods a runtime of the node has, by CRI."""
        return len(self.shell(f"./bin/crictl --runtime-endpoint unix://{socket_path} --timeout 60s pods -q 2>/dev/null").split())

    def daemon(self):
        """The process of Coracle's daemon."""
        return int(self.shell("systemctl show -p MainPID --value coracle"))

    def end(self):
        """Has it leave its logs, and ends it."""
        if self.program.process.poll() is None:
            self.shell("echo >over")
        must(self.program.process.wait(120) == 0, "the machine did not end well")


def runtime():
    """Which runtime the node's kubelet says that it uses."""
    return get("node", NAME)["status"]["nodeInfo"]["containerRuntimeVersion"]


def is_ready():
    conditions = {c["type"]: c["status"] for c in get("node", NAME)["status"]["conditions"]}
    return conditions.get("Ready") == "True"


def ready_with(scheme, seconds=300):
    """Waits until the node is ready with a runtime."""
    eventually(seconds, f"the node is ready with {scheme}", lambda: runtime().startswith(f"{scheme}://") and is_ready())
