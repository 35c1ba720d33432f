"""What pods may ask for, one pod each, all side by side: the tables of what must come to be of them. A row is a pod's name, the
check's, and a test of what the kubelet says of the pod."""

import glob
import os
import time

from node import HOST, crictl, kubelet_said, limits
from trials import PATIENCE, Failed, tell
from view import pods, records, rotated

TOPICS = ("life", "probes", "hooks", "volumes", "spaces", "limits")
LINES, LONG_LINES = 200_000, 200
ENDED_BY_SIGNAL = ((137, "Error"), (143, "Error"))


def host(path):
    """The lines of a file that a pod wrote on the host."""
    try:
        with open(f"{HOST}/{path}", encoding="utf-8") as file:
            return file.read().splitlines()
    except FileNotFoundError:
        return []


def spaces(who="self"):
    """The namespaces of a process, as the pods list theirs."""
    return [os.readlink(f"/proc/{who}/ns/{kind}") for kind in ("net", "pid", "ipc", "uts", "mnt")]


def own(field):
    """A field of /proc/self/status."""
    with open("/proc/self/status", encoding="utf-8") as file:
        return next(line.split()[1] for line in file if line.startswith(field + ":"))


def numbered(lines, count, form):
    """Whether the lines are those with the numbers from 1 to count, each once and in order."""
    return len(lines) == count and all(line == form(number) for number, line in enumerate(lines, 1))


def many_lines(pod):
    paths = rotated(pod, "many")
    return pod["many"].ended and len(paths) > 3 and any(path.endswith(".gz") for path in paths) and numbered(
        records(paths, b"stdout"), LINES, lambda n: b"%d lines have been written by a program that has much to say" % n)


def long_lines(pod):
    paths = rotated(pod, "long")
    line = ",".join(str(number) for number in range(1, 9001)).encode()
    return pod["long"].ended and len(paths) > 3 and numbered(records(paths, b"stdout"), LONG_LINES, lambda n: b"%d:%s" % (n, line)) \
        and numbered(records(paths, b"stderr"), LONG_LINES, lambda n: b"%d" % n)


def id_map(pod, name):
    """Where the root of a pod in a user namespace is outside, if its mapping is as a kubelet gives it."""
    inside, outside, count = pod.said(name)[0].split()
    return int(outside) if (inside, count) == ("0", "65536") and int(outside) >= 65536 else None


def of_its_own(pod):
    one, two, node = pod.said("one"), pod.said("two"), spaces()
    shared = [one[0] == two[0], one[1] != two[1], one[2] == two[2], one[3] == two[3], one[4] != two[4]]
    return all(shared) and not set(one[:5] + two) & set(node)


def all_run(pod):
    return all(one.runs and one.ready for one in pod.containers.values())


# What must come to be.
FIRST = [
    ("init", "init containers run one after another, before the others", lambda p: all_run_but_init(p) and p.said("app") == ["first", "second"]),
    ("init-fails", "a pod whose init container fails has failed, and its other container never was",
     lambda p: p.phase == "Failed" and p["wrong"].ended == (4, "Error") and p["app"].waits == "PodInitializing" and not p["app"].id),
    ("init-retries", "an init container is tried again where the policy says so",
     lambda p: p.phase == "Succeeded" and p["second-try"].restarts == 1 and p.said("app") == ["said"]),
    ("sidecar", "a sidecar serves the init containers after it, and runs on",
     lambda p: p["server"].runs and p["server"].started and any("nginx" in line for line in p.said("client")) and p["app"].ready),
    ("sidecar", "a sidecar that ends is started again, and it alone", lambda p: p["shaky"].restarts >= 1 and p["server"].restarts + p["app"].restarts == 0),
    ("sidecars-of-a-job", "sidecars end after the pod's work, the last one first",
     lambda p: p.phase == "Succeeded" and host("job/order") == ["app", "two", "one"] and p["one"].ended == p["two"].ended == (0, "Completed")),
    ("never", "restartPolicy Never", lambda p: p.phase == "Failed" and p["good"].ended == (0, "Completed") and p["bad"].ended == (3, "Error")),
    ("on-failure", "restartPolicy OnFailure", lambda p: p.phase == "Succeeded" and (p["good"].restarts, p["second-try"].restarts) == (0, 1)),
    ("always", "restartPolicy Always", lambda p: p["good"].restarts >= 1 and p["good"].died == (0, "Completed")),
    ("ruled", "a container's own rule restarts it", lambda p: p.phase == "Failed" and p["ruled"].restarts == 1 and p["ruled"].ended == (7, "Error")),
    ("failing", "the exit code and the last words of a container that fails are told", lambda p: p["failing"].died == (3, "Error")
     and p["failing"].last["message"] == "reason\n"),
    ("failing", "the kubelet backs off, longer each time", lambda p: 3 <= p["failing"].restarts <= 6
     and kubelet_said("back-off 40s restarting failed container=failing")),
    ("failing", "of the dead attempts the latest alone is kept", lambda p: p["failing"].restarts >= 3 and kept("failing") <= 2),
    ("broken", "a command that is not there", lambda p: (p["no-command"].ended or p["no-command"].died)[0] == 128
     and "/no/such/command" in p["no-command"].message),
    ("broken", "an image that is not there", lambda p: p["no-image"].waits in ("ErrImagePull", "ImagePullBackOff")),
    ("broken", "an image that may not be pulled", lambda p: p["never-pulled"].waits == "ErrImageNeverPull"),
    ("broken", "an image's name that is none", lambda p: p["wrong-name"].waits == "InvalidImageName"),
    ("words", "last words in the usual place, and elsewhere", lambda p: (p["file"].message, p["elsewhere"].message) == ("last words", "other words")),
    ("words", "last words from the log, where a container failed", lambda p: (p["log"].message, p["silent"].message) == ("spoken\n", "")
     and p["silent"].ended is not None),
    # A pod has twelve KiB for those of all its containers.
    ("words", "last words are cut", lambda p: len(p["long"].message) == 12288 // 5),
    ("hungry", "a container that takes too much memory is OOMKilled, and it alone", lambda p: p["eater"].ended == (137, "OOMKilled")
     and p["neighbour"].ended == (6, "Error")),
    ("graceful", "pods that are to be ended run", lambda p: p["app"].runs and os.path.exists(f"{HOST}/graceful/ready")),
    ("stubborn", "one that does not end by itself runs", lambda p: p["app"].runs and os.path.exists(f"{HOST}/stubborn/ready")),
    ("probed", "a container that is probed in two ways is ready", all_run),
    ("live", "with liveness probes of each kind", all_run),
    ("ready", "readiness probes of each kind let traffic in", lambda p: all_run(p) and p.conditions["Ready"] == "True"),
    ("startup", "a startup probe gives time", lambda p: p["patient"].started and p["patient"].ready and p["patient"].restarts == 0),
    ("startup", "a startup probe that fails restarts", lambda p: p["hasty"].restarts >= 1 and not p["hasty"].started),
    ("timing", "a liveness probe that takes too long has failed", lambda p: p["slow"].restarts >= 1 and p["slow"].died in ENDED_BY_SIGNAL),
    ("timing", "a probe may say much", lambda p: p["talkative"].ready),
    ("hooked", "a postStart command runs in its container, before that is told to run", lambda p: p["exec"].runs and p.said("exec") == ["from the hook"]),
    ("hooked", "a postStart request is made", lambda p: p["http"].runs and any("?post-start" in line for line in p.said("server"))),
    ("hooked", "a container with a stop signal of its own runs", lambda p: p["signal"].runs and os.path.exists(f"{HOST}/hooked/waiting")),
    ("hook-fails", "a postStart command that fails ends its container", lambda p: p["app"].restarts >= 1 and p["app"].died in ENDED_BY_SIGNAL),
    ("volumes", "emptyDir, with the pod's group", lambda p: p.said("writer")[0] == "disk 2000 2777 2000" and p.said("reader")[0] == "disk written beneath"),
    ("volumes", "emptyDir in memory, with its limit", lambda p: p.said("writer")[1:3] == ["memory tmpfs 8192", "No space left on device"]),
    ("volumes", "a volume that tells of its pod, with its modes", lambda p: p.said("writer")[3:5] == ['labels 2 colour="green" 440', "note written 444 64"]),
    ("volumes", "an image as a volume, and a part of it, read-only", lambda p: p.said("writer")[5:7]
     == ["picture user www-data; Welcome", "Read-only file system"]),
    ("volumes", "subPath of a file and by an expression", lambda p: p.said("writer")[7] == "single before" and host("volumes/single") == ["changed"]
     and host("volumes/of-volumes-node1/file") == ["mine"]),
    ("volumes", "read-only mounts and roots", lambda p: {"kept /disk", "wrote /sub", "kept /"} <= set(p.said("reader"))),
    ("volumes", "a read-only mount with another below", lambda p: {"kept /flat", "wrote /flat/below"} <= set(p.said("reader"))),
    ("propagates", "a mount goes from a container to the host, and to another container", lambda p: p.said("watcher") == ["within"]
     and host("propagates/made/file") == ["within"]),
    ("propagates", "and to no container that does not ask for it", lambda p: told(f"{HOST}/propagates/propagated", p.said("watcher")) and p.said("apart") == ["looked"]),
    ("of-the-host", "hostNetwork, hostPID and hostIPC", lambda p: p.said("one")[:4] == spaces()[:4] and p.said("one")[4] != spaces()[4]),
    ("of-its-own", "namespaces of the pod's own, and of its containers'", of_its_own),
    ("of-its-own", "its name, its hosts and its resolv.conf", lambda p: "called.so.default.svc.cluster.local" in p.said("one")
     and any(line.split() == ["192.0.2.7", "elsewhere"] for line in p.said("one")) and {"nameserver 192.0.2.53", "search first.example second.example",
                                                                                     "options ndots:3"} <= set(p.said("one"))),
    ("shared-processes", "shareProcessNamespace", lambda p: p.said("looker")[0].startswith("first ") and "nginx" not in p.said("looker")[0]
     and "looker" not in p.said("looker")[0] and p.said("looker")[1] != "own 1"),
    ("apart", "a pod in a user namespace writes to its volumes", lambda p: p["own"].ready and id_map(p, "own") and p.said("own")[1].split()[2] == "0"),
    ("apart", "its files on the host are root's there", lambda p: p["own"].ready and os.stat(f"{HOST}/apart/file").st_uid == 0),
    ("apart", "its emptyDir is the pod's own", lambda p: p["own"].ready
     and os.stat(glob.glob(f"/var/lib/kubelet/pods/{p.uid}/volumes/*/scratch/file")[0]).st_uid == 0),
    ("apart", "procMount Unmasked", lambda p: p.said("unmasked")[0] == "0"),
    ("second-apart", "no two pods have the same users", lambda p: id_map(p, "own") != id_map(pods()["apart"], "own") is not None),
    ("confined", "seccompDefault, capabilities and masks by default", lambda p: "Seccomp:\t2" in p.said("default") and int(p.said("default")[3]) > 4
     and "CapEff:\t00000000a80425fb" in p.said("default")),
    ("confined", "sysctls", lambda p: p.said("default")[-2:] == ["1", "77"]),
    ("confined", "seccomp Unconfined", lambda p: p.said("unconfined") == ["Seccomp:\t0"]),
    ("confined", "a seccomp profile of the node's", lambda p: p.said("profiled") == ["mkdir: can't create directory '/made': Operation not permitted", "touched"]),
    ("confined", "another user without any privilege", lambda p: p.said("narrow") == ["1000", "1001", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1"]),
    ("confined", "a privileged container", lambda p: p.said("wide") == ["CapEff:\t" + own("CapEff"), "1"]),
    ("confined", "an added capability", lambda p: p.said("added") == ["CapEff:\t0000000002000000"]),
    ("groups", "groups of the pod, and of the image", lambda p: set(p.said("merged")[0].split()) == {"1000", "2000", "3000", "50000"}),
    ("strict-groups", "groups of the pod alone", lambda p: set(p.said("strict")[0].split()) == {"1000", "2000", "3000"}),
    ("not-root", "a container that may not be root's, and is, does not start", lambda p: p["refused"].waits == "CreateContainerConfigError"),
    ("limited", "limits are those of the cgroup", lambda p: limits(p.uid, p["burstable"].id) == (64 << 20, 0.25)),
    ("limited", "variables tell of the pod", lambda p: p.said("burstable")[0] == f"{64 << 20} {p.ip}" and p.ip.startswith("10.88.")),
    ("limited", "who is killed first when memory is short", lambda p: 3 <= int(p.said("burstable")[1]) < 1000 == int(pods()["unlimited"].said("best-effort")[0])),
    ("resized", "a pod that is to be resized runs", lambda p: all_run(p) and limits(p.uid, p["steady"].id) == (64 << 20, 0.64)),
    ("fills-its-root", "what a container writes is counted", lambda p: kubelet_said("cannot evict a critical pod", "fills-its-root-node1")),
    ("fills-its-volume", "what a pod writes to its volumes is counted", lambda p: kubelet_said("cannot evict a critical pod", "fills-its-volume-node1")),
    ("writes", "no line is lost or split while logs are rotated", many_lines),
    ("writes", "nor a line of several records, nor one between two streams", long_lines),
]

# Once HOST/switch/good is gone, and the manifest of `resized` is another.
SECOND = [
    *(("live", f"a liveness probe by {kind} that fails restarts", lambda p, kind=kind: p[kind].restarts >= 1) for kind in ("exec", "http", "tcp", "grpc")),
    ("ready", "readiness probes of each kind let no more traffic in, and restart nothing", lambda p: all(one.runs and not one.ready
     and one.restarts == 0 for one in p.containers.values()) and p.conditions["Ready"] == "False"),
    ("resized", "a running container has its limits changed", lambda p: limits(p.uid, p["steady"].id) == (96 << 20, 0.96) and p["steady"].restarts == 0
     and p["steady"].resources.get("limits") == {"cpu": "960m", "memory": "96Mi"}),
    ("resized", "one that wants it so is restarted for it", lambda p: limits(p.uid, p["restarted"].id) == (96 << 20, 0.96) and p["restarted"].restarts == 1),
]

# What must be so in the end: nothing of it may have come to be meanwhile.
LASTING = [
    ("probed", "the probed container was never restarted", lambda p: all_run(p) and p["web"].restarts == 0),
    ("fills-little", "who writes less than he may is left alone", lambda p: p["app"].runs and not kubelet_said("cannot evict", "fills-little")),
    ("never", "what is never restarted was not", lambda p: p["bad"].restarts == 0),
    ("init", "a pod that is done with its start is left alone", lambda p: p["app"].restarts == 0 and p["first"].restarts == 0),
]


def kept(name):
    """How many containers of a name the runtime has, ended ones too."""
    return len(crictl("ps", "-a", "-q", "--name", f"^{name}$").split())


def all_run_but_init(pod):
    return pod["first"].ended == pod["second"].ended == (0, "Completed") and pod["app"].ready


def told(path, lines):
    """Once there are lines, makes a file for a pod to see."""
    if lines:
        with open(path, "w", encoding="utf-8"):
            pass
    return bool(lines)


def watch(rows, seconds):
    """Waits until each row's test has held once, and tells which did; whether all of them did."""
    until, waiting, why, good = time.monotonic() + seconds * PATIENCE, list(rows), {}, True
    while waiting:
        late, there = time.monotonic() > until, pods()
        for row in list(waiting):
            pod, name, test = row
            try:
                held = test(pod and there[pod])
            except (KeyError, IndexError, ValueError, OSError, TypeError, Failed) as error:
                held, why[name] = False, f"{type(error).__name__}: {error}"
            if held or late:
                waiting.remove(row)
                tell("pass" if held else "fail", name)
                good = good and held
            if late and not held:
                print(f"not within {seconds} s; {why.get(name, '')} {there[pod].summary() if pod in there else 'no such pod'}", flush=True)
        if waiting:
            time.sleep(0.5)
    return good


def spoil():
    """Has the probes of `live` and `ready` fail from now on."""
    os.unlink(f"{HOST}/switch/good")


def outlived():
    """How long a container went on after it was told to end, once it does no more."""
    last = os.stat(f"{HOST}/stubborn/alive").st_mtime
    return last - os.stat(f"{HOST}/stubborn/said").st_mtime if time.time() - last > 2 else 0


# Once their manifests are gone: seen on the host alone.
END = [
    (None, "a pod ends in its own time", lambda _: host("graceful/said") == ["told", "done"]),
    (None, "one that does not is ended when its time is up", lambda _: host("stubborn/said") == ["told"] and 3.5 <= outlived() < 15),
    (None, "a preStop command runs before its container is told to end", lambda _: host("hooked/exec") == ["hook", "told"]),
    (None, "a stop signal of the container's own", lambda _: host("hooked/signal") == ["usr1"]),
    (None, "what was mounted for the host is unmounted before its pod ends", lambda _: not os.path.ismount(f"{HOST}/propagates/made")),
]


def prepare():
    """What pods expect of the host."""
    for name in ("switch", "volumes", "propagates", "apart"):
        os.makedirs(f"{HOST}/{name}")
    os.chmod(f"{HOST}/apart", 0o777)
    for name, text in (("switch/good", "good\n"), ("switch/index.html", "here\n"), ("volumes/single", "before\n")):
        with open(f"{HOST}/{name}", "w", encoding="utf-8") as file:
            file.write(text)
    os.makedirs("/var/lib/kubelet/seccomp/profiles")
    with open("/var/lib/kubelet/seccomp/profiles/no-mkdir.json", "w", encoding="utf-8") as file:
        file.write('{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}')
