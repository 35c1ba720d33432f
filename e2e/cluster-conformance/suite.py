#!/usr/bin/env python3
"""suite.py [PATTERN...]: brings up the cluster with a name server, runs Kubernetes' suite on it (see run.sh), and takes both down.
The suite's report is report.json, its log suite.log; what it found is for others to judge."""

import os
import subprocess
import sys

from parts import ADDRESS, CLUSTER, NODE, NODES, Node, Plane, get, kubectl
from trials import Failed, eventually, must, tell

SUITE, SPECS, PARALLEL = os.environ["SUITE"], os.environ["SPECS"], os.environ["PARALLEL"]
HERE = os.path.dirname(os.path.abspath(__file__))
LIMIT = 5400


def up(plane):
    """Starts all, and waits for nodes that are ready and a name server that answers."""
    plane.start()
    for node in NODES:
        # The suite counts on a handler of this name.
        os.makedirs(f"{node.place}/coracle.toml.d")
        with open(f"{node.place}/coracle.toml.d/handler.toml", "w", encoding="ascii") as file:
            file.write("[runtimes.test-handler]\n")
        node.start()
    for node in NODES:
        eventually(120, f"{node.name} is ready", node.is_ready)
    eventually(60, "the default service account is there", lambda: get("serviceaccount", "default"))
    kubectl("apply", "-f", f"{HERE}/dns.yaml")
    kubectl("-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=180s", seconds=190)


def the_suite(patterns):
    """Runs it. Its own status says less than its report."""
    os.makedirs(f"{NODE}/disk/suite")
    # ginkgo runs the suite where it lies, and the suite leaves files there.
    program, client = f"{NODE}/disk/suite/e2e.test", f"{NODE}/disk/suite/kubectl"
    os.symlink(f"{SUITE}/e2e.test", program)
    with open(client, "w", encoding="ascii") as file:
        file.write(f'#!/bin/sh\nexec "{CLUSTER}" kubectl "$@"\n')
    os.chmod(client, 0o755)
    command = [f"{SUITE}/ginkgo", f"--procs={PARALLEL}", "--no-color", f"--timeout={LIMIT}s", f"--label-filter={SPECS}",
               *(f"--focus={pattern}" for pattern in patterns), f"--output-dir={NODE}", "--json-report=report.json", program, "--",
               f"--kubeconfig={os.environ['KUBECONFIG']}", f"--kubectl-path={client}", f"--host=https://{ADDRESS}:6443",
               "--provider=skeleton", f"--report-dir={NODE}/disk/suite", "--disable-log-dump"]
    with open(f"{NODE}/suite.log", "wb") as log:
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=LIMIT + 60, check=False)
    must(os.path.exists(f"{NODE}/report.json"), f"the suite left no report: see {NODE}/suite.log")


def nothing_is_left():
    """Waits until no container is left of what the suite made, and has the nodes audited."""
    kubectl("-n", "kube-system", "delete", "deployment", "coredns", "--wait=true", seconds=100)
    for node in NODES:
        must(node.runtime.process.poll() is None, f"the daemon of {node.name} ended")
        # The kubelet removes what it stopped once a minute.
        eventually(240, f"no container is left on {node.name}", lambda node=node: not node.crictl("ps", "-a", "-q").strip())
        node.check()


def main():
    plane, failed = Plane(), 0
    NODES.extend(Node(number) for number in (1, 2))
    for name, step in (("the cluster comes up", lambda: up(plane)), ("the suite runs to its end", lambda: the_suite(sys.argv[1:])),
                       ("nothing is left on the nodes", nothing_is_left)):
        try:
            step()
            tell("pass", f"cluster-conformance: {name}")
        except (Failed, subprocess.TimeoutExpired) as error:
            failed += 1
            tell("fail", f"cluster-conformance: {name}")
            print(error, file=sys.stderr, flush=True)
            break
    for node in NODES:
        for program in (node.proxy, node.kubelet, node.runtime):
            if program.process:
                program.end()
    sys.exit(failed > 0)


main()
