#!/usr/bin/env python3
"""cluster.py [TRIAL...]: what people do with a cluster, on one whose two nodes run Coracle. Each trial passes or fails under
its name; later ones go on without it. The word `chart` stands for all trials of chart.py."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time

import chart
from parts import BUSYBOX, CLUSTER, NODE, NODES, Node, Plane, apply, get, gone, kubectl, pod, run
from trials import Failed, eventually, must, tell

NGINX = "registry.k8s.io/e2e-test-images/nginx:1.14-2"


def workload(kind, name, replicas=None, **spec):
    """A Deployment or DaemonSet of web servers."""
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "web", "image": NGINX, "ports": [{"containerPort": 80}],
                        "readinessProbe": {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 1}}]}}
    count = {} if replicas is None else {"replicas": replicas}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name},
            "spec": {"selector": {"matchLabels": labels}, "template": template, **count, **spec}}


def typed(line, *words):
    """Runs kubectl at a terminal, types a line, and returns all that was shown."""
    script = " ".join([CLUSTER, "kubectl", *words])
    done = subprocess.run(["script", "-qec", script, "/dev/null"], input=line, capture_output=True, text=True, timeout=90, check=False)
    return done.stdout


def page(client, address, port):
    """What a web server answers a pod. Not by wget: that of a static busybox needs name services."""
    return kubectl("exec", "-i", client, "--", "nc", "-w", "5", address, str(port), stdin="GET / HTTP/1.0\r\n\r\n")


def both_nodes_become_ready():
    for node in NODES:
        eventually(120, f"{node.name} is ready", node.is_ready)
    eventually(60, "the default service account is there", lambda: get("serviceaccount", "default"))


def a_deployment_rolls_out_over_both_nodes():
    apply(workload("Deployment", "web", 4))
    kubectl("rollout", "status", "deployment/web", "--timeout=180s", seconds=200)
    must(all(node.pods("-l", "app=web") for node in NODES), "a node got no pod")
    before = {p["metadata"]["uid"] for p in get("pods", "-l", "app=web")["items"]}
    kubectl("set", "env", "deployment/web", "GENERATION=2")
    kubectl("rollout", "status", "deployment/web", "--timeout=180s", seconds=200)
    old = lambda: {p["metadata"]["uid"] for p in get("pods", "-l", "app=web")["items"]} & before
    eventually(60, "the old pods are gone", lambda: not old())


def a_service_is_reached_from_both_nodes():
    apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
           "spec": {"selector": {"app": "web"}, "ports": [{"port": 8000, "targetPort": 80}]}})
    address = get("service", "web")["spec"]["clusterIP"]
    run(*(pod(f"client-{node.name}", "sleep", "3600", node=node.name) for node in NODES))
    for node in NODES:
        client = f"client-{node.name}"
        eventually(30, f"the service answers on {node.name}", lambda client=client: "nginx" in page(client, address, 8000))
        for server in get("pods", "-l", "app=web")["items"]:
            must("nginx" in page(client, server["status"]["podIP"], 80), f"{server['metadata']['name']} does not answer {node.name}")
    gone("pod", *(f"client-{node.name}" for node in NODES))


def a_job_completes():
    apply({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job"}, "spec": {
        "completions": 4, "parallelism": 2, "template": {"spec": {
            "restartPolicy": "Never", "containers": [{"name": "only", "image": BUSYBOX, "command": ["sh", "-c", "echo done"]}]}}}})
    kubectl("wait", "--for=condition=complete", "job/job", "--timeout=120s", seconds=130)
    must(kubectl("logs", "job/job").strip() == "done", "its log is not what it said")
    gone("job", "job")


def a_daemon_set_runs_on_every_node():
    apply(workload("DaemonSet", "agent"))
    kubectl("rollout", "status", "daemonset/agent", "--timeout=120s", seconds=130)
    must(all(len(node.pods("-l", "app=agent")) == 1 for node in NODES), "not one pod a node")
    gone("daemonset", "agent")


def kubectl_run_and_exec_work_at_a_terminal():
    shown = typed("echo typed $((40 + 2)); exit 3\n", "run", "typed", f"--image={BUSYBOX}", "--restart=Never", "--rm", "-it", "--", "sh")
    must("typed 42" in shown, f"run -it shows {shown!r}")
    run(pod("shell", "sleep", "3600"))
    shown = typed("test -t 0 && echo terminal $((40 + 2)); exit\n", "exec", "-it", "shell", "--", "sh")
    must("terminal 42" in shown, f"exec -it shows {shown!r}")
    must(kubectl("exec", "-i", "shell", "--", "cat", stdin="through\n") == "through\n", "stdin does not come through")
    done = subprocess.run([CLUSTER, "kubectl", "exec", "shell", "--", "sh", "-c", "exit 7"], capture_output=True, check=False, timeout=60)
    must(done.returncode == 7, f"exit code 7 becomes {done.returncode}")
    gone("pod", "shell")


def logs_are_followed_and_those_of_the_previous_container_kept():
    apply(pod("talker", "sh", "-c", "for i in 1 2 3; do echo line $i; sleep 1; done; exit 1", restartPolicy="Always"))
    eventually(60, "it is restarted", lambda: get("pod", "talker")["status"]["containerStatuses"][0]["restartCount"] >= 1)
    must(kubectl("logs", "--previous", "talker") == "line 1\nline 2\nline 3\n", "the previous log is not whole")
    run(pod("steady", "sh", "-c", "i=0; while true; do echo line $i; i=$((i+1)); sleep 0.2; done"))
    follow = subprocess.Popen([CLUSTER, "kubectl", "logs", "-f", "steady"], stdout=subprocess.PIPE, text=True)
    lines = [follow.stdout.readline() for _ in range(20)]
    follow.terminate()
    follow.wait()
    must(lines == [f"line {i}\n" for i in range(20)], f"followed: {lines}")
    gone("pod", "talker", "steady")


def attach_port_forward_and_cp_work():
    run(pod("echo", "cat", container={"stdin": True, "stdinOnce": False}), pod("files", "sleep", "3600"))
    attached = subprocess.Popen([CLUSTER, "kubectl", "attach", "-i", "-q", "echo"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                text=True)
    attached.stdin.write("heard\n")
    attached.stdin.flush()
    heard = attached.stdout.readline()
    attached.terminate()
    attached.wait()
    must(heard == "heard\n", f"attach hears {heard!r}")
    server = get("pods", "-l", "app=web")["items"][0]["metadata"]["name"]
    forward = subprocess.Popen([CLUSTER, "kubectl", "port-forward", server, "18080:80"], stdout=subprocess.PIPE, text=True)
    must("Forwarding from" in forward.stdout.readline(), "port-forward does not begin")
    page = subprocess.run(["curl", "-sf", "--max-time", "10", "http://127.0.0.1:18080/"], capture_output=True, text=True, check=False)
    forward.terminate()
    forward.wait()
    must("nginx" in page.stdout, f"through port-forward comes {page.stdout[:200]!r}")
    with tempfile.TemporaryDirectory(dir=NODE) as place:
        with open(f"{place}/out", "wb") as file:
            file.write(os.urandom(3 << 20))
        kubectl("cp", f"{place}/out", "files:/tmp/there")
        kubectl("cp", "files:/tmp/there", f"{place}/back")
        must(not subprocess.run(["cmp", f"{place}/out", f"{place}/back"], check=False).returncode, "a copy there and back differs")
    gone("pod", "echo", "files")


def debug_containers_run_in_pods_and_on_nodes():
    server = get("pods", "-l", "app=web")["items"][0]["metadata"]["name"]
    shown = typed("tr '\\0' ' ' </proc/1/cmdline; nc 127.0.0.1 80 </dev/null && echo joined $((40 + 2)); exit\n", "debug", "-it", server,
                  f"--image={BUSYBOX}", "--target=web", "--", "sh")
    must("nginx" in shown and "joined 42" in shown, f"a debug container shows {shown!r}")
    shown = typed("ls /host/proc/1 >/dev/null && echo host $((40 + 2)); exit\n", "debug", "-it", f"node/{NODES[0].name}",
                  f"--image={BUSYBOX}", "--", "sh")
    must("host 42" in shown, f"a debug pod on a node shows {shown!r}")
    kubectl("delete", "pods", "-l", "app.kubernetes.io/managed-by=kubectl-debug", "--wait=true", seconds=100)


def a_running_pod_is_resized():
    limits = {"resources": {"requests": {"cpu": "100m", "memory": "32Mi"}, "limits": {"cpu": "200m", "memory": "64Mi"}}}
    run(pod("grows", "sleep", "3600", container=limits))
    patch = {"spec": {"containers": [{"name": "only", "resources": {"limits": {"cpu": "300m", "memory": "96Mi"}}}]}}
    kubectl("patch", "pod", "grows", "--subresource=resize", "--patch", json.dumps(patch))
    held = lambda: get("pod", "grows")["status"]["containerStatuses"][0].get("resources", {}).get("limits", {})
    eventually(60, "the status tells the new limits", lambda: held() == {"cpu": "300m", "memory": "96Mi"})
    seen = kubectl("exec", "grows", "--", "cat", "/sys/fs/cgroup/memory/memory.limit_in_bytes").strip()
    must(seen == str(96 << 20), f"its cgroup says {seen}")
    must(get("pod", "grows")["status"]["containerStatuses"][0]["restartCount"] == 0, "it was restarted")
    gone("pod", "grows")


def a_node_without_a_network_is_not_ready_until_it_has_one():
    node = NODES[1]
    there, away = f"{node.place}/cni/10-node.conflist", f"{node.place}/10-node.conflist"
    os.rename(there, away)
    try:
        eventually(90, f"{node.name} is not ready", lambda: not node.is_ready())
    finally:
        os.rename(away, there)
    eventually(90, f"{node.name} is ready again", node.is_ready)


def a_node_is_drained_and_returns():
    node = NODES[1]
    kubectl("drain", node.name, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=120s", seconds=130)
    must(not node.pods("-l", "app=web"), "a pod stayed")
    kubectl("rollout", "status", "deployment/web", "--timeout=120s", seconds=130)
    kubectl("uncordon", node.name)
    kubectl("rollout", "restart", "deployment/web")
    kubectl("rollout", "status", "deployment/web", "--timeout=120s", seconds=130)
    eventually(60, f"{node.name} has pods again", lambda: node.pods("-l", "app=web"))


def a_rollout_ends_while_a_daemon_is_killed_every_ten_seconds():
    node, over, kills = NODES[0], threading.Event(), []

    def kill():
        while not over.wait(10 if kills else 2):
            node.runtime.end(signal.SIGKILL)
            node.runtime.start()
            kills.append(time.monotonic())

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        apply(workload("Deployment", "many", 30))
        kubectl("rollout", "status", "deployment/many", "--timeout=400s", seconds=420)
        generation = 1
        while len(kills) < 4:
            generation += 1
            kubectl("set", "env", "deployment/many", f"GENERATION={generation}")
            kubectl("rollout", "status", "deployment/many", "--timeout=400s", seconds=420)
    finally:
        over.set()
        thread.join()
    print(f"the daemon of {node.name} was killed {len(kills)} times in {generation} rollouts", flush=True)
    gone("deployment", "many")


def nothing_is_left_when_all_is_deleted():
    kubectl("delete", "service", "web", "--ignore-not-found")
    kubectl("delete", "deployment", "--all", "--wait=true", seconds=100)
    kubectl("delete", "pods", "--all", "--wait=true", "--timeout=120s", seconds=130)
    for node in NODES:
        listed = lambda node=node: node.crictl("ps", "-a", "-q").strip()
        # The kubelet removes what it stopped once a minute.
        eventually(150, f"no container is left on {node.name}", lambda listed=listed: not listed())
        node.check()


TRIALS = [
    both_nodes_become_ready, a_deployment_rolls_out_over_both_nodes, a_service_is_reached_from_both_nodes, a_job_completes,
    a_daemon_set_runs_on_every_node, kubectl_run_and_exec_work_at_a_terminal,
    logs_are_followed_and_those_of_the_previous_container_kept, attach_port_forward_and_cp_work,
    debug_containers_run_in_pods_and_on_nodes, a_running_pod_is_resized, a_node_without_a_network_is_not_ready_until_it_has_one,
    a_node_is_drained_and_returns, a_rollout_ends_while_a_daemon_is_killed_every_ten_seconds, *chart.TRIALS,
    nothing_is_left_when_all_is_deleted,
]


def main():
    plane, failed = Plane(), 0
    NODES.extend(Node(number) for number in (1, 2))
    plane.start()
    for node in NODES:
        node.start()
    needed = TRIALS[:2]
    for trial in TRIALS:
        if len(sys.argv) > 1 and trial not in needed and not {trial.__name__, trial.__module__} & set(sys.argv[1:]):
            continue
        name = "cluster: " + trial.__name__.replace("_", " ")
        try:
            trial()
            tell("pass", name)
        except Failed as error:
            failed += 1
            tell("fail", name)
            print(error, file=sys.stderr, flush=True)
            if trial is TRIALS[0]:
                break
    for node in NODES:
        for program in (node.proxy, node.kubelet, node.runtime):
            program.end()
    sys.exit(failed > 0)


main()
