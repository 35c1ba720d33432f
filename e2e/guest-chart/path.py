#!/usr/bin/env python3
"""path.py: a person's path from a cluster of containerd's to one of Coracle's, back, and off, by helm and kubectl alone. Each step
goes on from where the one before ended, so the first that fails is the last. The commands with all that they said come to
transcript.log, what each step took and cost to record.json and the results."""

import json
import os
import shlex
import subprocess
import sys
import time

import load
from chart import OURS, PLACES, SPACE
from guest import NAME, Guest, is_ready, ready_with, runtime
from parts import BUSYBOX, CLUSTER, NODE, Plane, get, kubectl
from trials import Failed, eventually, must, tell

PROGRAMS = {"kubectl": [CLUSTER, "kubectl"], "helm": [os.environ["HELM"]]}
OLD, NEW = "/run/containerd/containerd.sock", "/run/coracle/coracle.sock"
UPGRADE = f"helm -n {SPACE} upgrade coracle charts/coracle --reuse-values --set "
# Somebody's drop-in that comes after ours: of two the last counts, so the kubelet stays where it is.
LATE = "/etc/systemd/system/kubelet.service.d/zzzz-late.conf"
# What it came to, as reliability.py reads it.
RECORD = {"moves": 0, "upgrades": 0, "losses": 0}
GUEST = None


def typed(line, good=True, seconds=600):
    """Runs a line as a person types it, in the checkout, and returns what it says."""
    program, *words = shlex.split(line)
    done = subprocess.run([*PROGRAMS[program], *words], env={**os.environ, **PLACES}, cwd=os.environ["ROOT"], text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=seconds)
    note(f"$ {line}\n{done.stdout}")
    must(not good or not done.returncode, f"{line}: {done.returncode}: {done.stdout.strip()[-600:]}")
    return done.stdout


def note(text):
    with open(f"{NODE}/transcript.log", "a", encoding="utf-8") as file:
        file.write(text)


def installed():
    typed(f"kubectl -n {SPACE} rollout status daemonset/coracle-install --timeout=5m")


def status(action):
    """What Coracle on the node says of itself, asked in a pod of the chart."""
    return typed(f"kubectl -n {SPACE} exec daemonset/coracle-{action} -- coracle node --root=/host status")


def move(label, scheme):
    """Moves the node by its label, as the chart's notes say."""
    typed(f"kubectl drain {NAME} --ignore-daemonsets --delete-emptydir-data")
    typed(f"kubectl label node {NAME} coracle.dev/node={label} --overwrite")
    typed(f"kubectl -n {SPACE} wait daemonset/coracle-{label} --for=jsonpath='{{.status.numberReady}}'=1 --timeout=8m")
    must(f"{scheme}://" in typed(f"kubectl get node {NAME} -o wide"), f"the node does not use {scheme}")
    typed(f"kubectl uncordon {NAME}")
    load.rolled_out()
    RECORD["moves"] += 1


def switched():
    move("switch", "coracle")
    said = status("switch")
    must(f"kubelet.service uses Coracle, before that {OLD}" in said, f"its status is {said}")
    must(GUEST.pods(OLD) == 0, "pods of containerd are left")


def a_node_of_containerds_joins():
    eventually(240, "the node registers", is_ready)
    eventually(60, "the default service account is there", lambda: get("serviceaccount", "default"))
    must("containerd://" in typed(f"kubectl get node {NAME} -o wide"), "it does not use containerd")
    load.deploy()


def helm_installs_coracle_and_the_kubelet_stays_with_containerd():
    before = load.restarts()
    typed(f"helm -n {SPACE} install coracle charts/coracle")
    installed()
    must("Succeeded" in typed(f"helm -n {SPACE} test coracle"), "the release's test fails")
    said = status("install")
    must("kubelet    not switched" in said, f"its status is {said}")
    must("containerd://" in typed(f"kubectl get node {NAME} -o wide"), "the node does not use containerd")
    must(GUEST.shell("systemctl is-active coracle; systemctl is-enabled coracle").split() == ["active", "enabled"], "no daemon runs")
    must(GUEST.pods(NEW) == 0, "Coracle has pods")
    must(load.restarts() == before, "pods were touched")
    load.goes_on()


def a_label_moves_the_node_to_coracle():
    typed(f"{UPGRADE}switch.enabled=true")
    must(runtime().startswith("containerd://"), "a node without the label was moved")
    switched()
    typed(f"kubectl run hello --image={BUSYBOX} --restart=Never -- sh -c 'echo hello from $HOSTNAME; sleep 3600'")
    typed("kubectl wait pod/hello --for=condition=Ready --timeout=2m")
    must(typed("kubectl logs hello") == "hello from hello\n", "its log is not what it said")
    must(typed("kubectl exec hello -- cat /etc/hostname") == "hello\n", "a command in it says something else")
    container = get("pod", "hello")["status"]["containerStatuses"][0]["containerID"]
    must(container.startswith("coracle://"), f"its container is {container}")


def upgraded(tag):
    """Has the node run another build while pods write and commands are run in them, and counts what that costs them."""
    load.goes_on()
    before, daemon, said = load.restarts(), GUEST.daemon(), status("install")
    with load.Execs() as execs:
        typed(f"{UPGRADE}image.tag={tag}")
        installed()
        changed = GUEST.daemon()
    load.goes_on()
    after, (written, missing) = load.restarts(), load.lost()
    restarted = sum(one not in before[1] for one in after[1])
    cost = {"upgrades": 1, "restarts": restarted, "lines": written, "lost": missing, "execs": execs.done, "execs_failed": execs.failed,
            "losses": restarted + missing}
    RECORD.update({name: RECORD.get(name, 0) + count for name, count in cost.items()})
    RECORD["exec_seconds"] = max(RECORD.get("exec_seconds", 0), round(execs.silence, 1))
    must(changed != daemon and changed == GUEST.daemon(), "the daemon is the one that it was")
    must(status("install") != said, "the version is the one that it was")
    typed("kubectl get pods -o wide")
    must(after == before, f"containers were {before}, are {after}")
    must(missing == 0, f"{missing} of {written} lines are lost")
    must(execs.done > 2, f"only {execs.done} commands ran: {execs.errors[:3]}")
    if execs.errors:
        note(f"# of {execs.done + execs.failed} commands {execs.failed} failed: {sorted(set(execs.errors))}\n")


def an_upgrade_under_load_restarts_no_container_and_loses_no_line():
    upgraded("newer")


def a_label_moves_it_back():
    typed("kubectl delete pod hello --wait")
    move("restore", "containerd")
    said = status("restore")
    must("kubelet    not switched" in said and "undone" not in said, f"its status is {said}")
    must(GUEST.pods(NEW) == 0, "pods of Coracle are left")


def the_pod_says(reason):
    """Waits until the pod that asks for the switch has ended with a reason, and has its log shown."""
    eventually(400, f"the pod says: {reason}", lambda: reason in kubectl("-n", SPACE, "logs", "daemonset/coracle-switch", check=False))
    typed(f"kubectl -n {SPACE} logs daemonset/coracle-switch")


def a_switch_that_cannot_work_changes_nothing_and_its_pod_says_why():
    before = load.restarts()
    typed(f"{UPGRADE}switch.healthz=127.0.0.1:10249")
    typed(f"kubectl label node {NAME} coracle.dev/node=switch --overwrite")
    the_pod_says("the kubelet does not answer at 127.0.0.1:10249: Connection refused")
    must("kubelet    not switched" in status("install"), "it is on its way")
    must(load.restarts() == before, "pods were touched")


def a_switch_that_fails_is_undone_by_itself():
    GUEST.shell(f"cp {os.path.dirname(LATE)}/10-kubeadm.conf {LATE}")
    # The label is there still.
    typed(f"{UPGRADE}switch.healthz=127.0.0.1:10248,switch.timeoutSeconds=40")
    the_pod_says(f"the switch was undone: the node was not ready after 40 seconds: the kubelet uses {OLD} instead of {NEW}")
    typed(f"kubectl -n {SPACE} get pods -l app.kubernetes.io/component=switch")
    must("undone " in status("install"), "the status does not tell it")
    ready_with("containerd")
    typed(f"kubectl get node {NAME} -o wide")
    load.rolled_out()
    must(GUEST.pods(NEW) == 0, "pods of Coracle are left")


def it_is_forgotten_and_the_node_moved_and_upgraded_again():
    GUEST.shell(f"rm {LATE}; systemctl daemon-reload")
    typed(f"kubectl label node {NAME} coracle.dev/node=restore --overwrite")
    typed(f"kubectl -n {SPACE} wait daemonset/coracle-restore --for=jsonpath='{{.status.numberReady}}'=1 --timeout=3m")
    eventually(60, "it is forgotten", lambda: "undone" not in status("install"))
    typed(f"{UPGRADE}switch.timeoutSeconds=180")
    installed()
    switched()
    # The chart's own build, which was there before.
    upgraded("")


def a_label_takes_coracle_off_the_restored_node():
    move("restore", "containerd")
    typed(f"{UPGRADE}uninstall.enabled=true")
    typed(f"kubectl label node {NAME} coracle.dev/node=uninstall --overwrite")
    # Directories that are mounts of the pod stay, empty.
    left = "ls -d /opt/coracle/* /var/lib/coracle-node/* /usr/local/bin/coracle /etc/systemd/system/{,*/}*coracle* 2>/dev/null"
    eventually(180, "nothing of it is on the node", lambda: not GUEST.shell(left, check=False))
    eventually(60, "the pod says so", lambda: "is taken back" in kubectl("-n", SPACE, "logs", "daemonset/coracle-uninstall"))
    typed(f"kubectl -n {SPACE} logs daemonset/coracle-uninstall")
    said = typed(f"kubectl -n {SPACE} get pods -l app.kubernetes.io/component=uninstall")
    must("1/1" in said and "Error" not in said, "its pod does not stay")
    must(GUEST.shell("systemctl is-active coracle", check=False) == "inactive\n", "the daemon runs")
    typed(f"helm -n {SPACE} uninstall coracle --wait")
    typed(f"kubectl label node {NAME} coracle.dev/node-")
    must(not GUEST.shell(left, check=False), "helm uninstall left something")
    load.goes_on()
    load.remove()


STEPS = [
    a_node_of_containerds_joins, helm_installs_coracle_and_the_kubelet_stays_with_containerd, a_label_moves_the_node_to_coracle,
    an_upgrade_under_load_restarts_no_container_and_loses_no_line, a_label_moves_it_back,
    a_switch_that_cannot_work_changes_nothing_and_its_pod_says_why, a_switch_that_fails_is_undone_by_itself,
    it_is_forgotten_and_the_node_moved_and_upgraded_again, a_label_takes_coracle_off_the_restored_node,
]


def went(step):
    """Whether a step went as it must; its name and time are noted."""
    name, started = step.__name__.replace("_", " "), time.monotonic()
    note(f"\n# {name}\n")
    try:
        step()
        tell("pass", f"guest-chart: {name}")
    except (Failed, OSError, subprocess.TimeoutExpired) as error:
        tell("fail", f"guest-chart: {name}")
        print(error, file=sys.stderr, flush=True)
        return False
    finally:
        RECORD.setdefault("seconds", {})[name] = round(time.monotonic() - started)
        note(f"# {RECORD['seconds'][name]} s\n")
    return True


def main():
    global GUEST
    plane = Plane(bind="0.0.0.0")
    GUEST = Guest()
    GUEST.start()
    plane.start()
    good = all(went(step) for step in STEPS)
    try:
        if not good:
            note("\n# what there is at the end\n")
            typed("kubectl get pods -A -o wide", good=False)
            typed(f"kubectl -n {SPACE} logs -l {OURS} --prefix", good=False)
            typed("kubectl get events -A --sort-by=.lastTimestamp", good=False)
        GUEST.end()
    except (Failed, OSError, subprocess.TimeoutExpired) as error:
        tell("fail", "guest-chart: the machine ends")
        print(error, file=sys.stderr, flush=True)
        good = False
    RECORD["losses"] += not good
    note(f"\n# {json.dumps(RECORD)}\n")
    with open(f"{NODE}/record.json", "w", encoding="utf-8") as file:
        json.dump(RECORD, file)
    sys.exit(not good)


main()
