#!/usr/bin/env python3
"""soak.py MINUTES SEED SVG: churns pods, execs, pulls, log rotation and daemon restarts, and shows that nothing grows.

Each minute, at a moment when only the two pods that live throughout are left, it counts what the daemon, the zygote and the
monitors hold, and what they have made on the node. After the warm-up, the first quarter, the trend of each count must be flat:
the median of the slopes between all pairs of samples, which a few odd samples do not move. What belongs to the daemon is
judged between restarts, since a restart hides growth."""

import json
import os
import random
import signal
import subprocess
import sys
import time

NODE = os.environ["CORACLE_NODE"]
CORACLE = os.environ["CORACLE_BINARY"]
CRICTL = [os.path.join(os.environ["CRI_TOOLS"], "crictl"), "--runtime-endpoint", "unix:///run/runtime/cri.sock", "--timeout",
          "60s"]
SUITE = "registry.k8s.io/e2e-test-images/"
IMAGES = [SUITE + name for name in ("busybox:1.29-2", "nginx:1.14-2", "httpd:2.4.39-4", "nonewprivs:1.3")]
PATIENCE = 60
RESTART_EVERY = 20
# By how much a count may rise over the judged time, as a number and as a share: less is noise, such as a pool's threads.
ALLOWED = {
    "daemon descriptors": (6, 0), "daemon threads": (8, 0), "daemon memory, MiB": (6, 0.15),
    "zygote descriptors": (0, 0), "zygote memory, MiB": (0.5, 0.05),
    "monitors": (0, 0), "monitors' descriptors": (0, 0), "monitors' memory, MiB": (0.5, 0.05),
    "mounts": (0, 0), "cgroups": (0, 0), "sockets": (4, 0), "interfaces": (0, 0), "files of the runtime": (0, 0),
}


def run(*command, check=True):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if check and done.returncode:
        sys.exit(f"{' '.join(command)}: {(done.stdout + done.stderr).strip()[-800:]}")
    return done.stdout.strip()


def crictl(*words, check=True):
    return run(*CRICTL, *words, check=check)


def processes():
    """The processes of this node, by number: what each is called."""
    own = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
                name = file.read().strip()
            if os.stat(f"/proc/{pid}/ns/net").st_ino == os.stat("/proc/self/ns/net").st_ino:
                own[int(pid)] = name
        except OSError:
            pass
    return own


def count(pid, what):
    try:
        return len(os.listdir(f"/proc/{pid}/{what}"))
    except OSError:
        return 0


def memory(pid):
    """What it has written of its own, in MiB. Clean pages are the binary's: whose they are changes with who else runs it."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as file:
            lines = file.read().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty")) / 1024


class Node:
    def __init__(self):
        self.daemon = None
        self.restarts = 0
        self.start()

    def start(self):
        log = open(os.path.join(NODE, "runtime.log"), "a", encoding="utf-8")  # pylint: disable=consider-using-with
        self.daemon = subprocess.Popen([CORACLE, "serve", "--config", os.path.join(NODE, "coracle.toml")],
                                       stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        log.close()
        until = time.monotonic() + PATIENCE
        while subprocess.run([*CRICTL, "imagefsinfo"], capture_output=True, check=False).returncode:
            if self.daemon.poll() is not None or time.monotonic() > until:
                sys.exit("the daemon does not come up")
            time.sleep(0.05)

    def restart(self, how):
        self.daemon.send_signal(how)
        self.daemon.wait(PATIENCE)
        self.restarts += 1
        self.start()

    def sample(self):
        own = processes()
        zygotes = [pid for pid, name in own.items() if name == "coracle-zygote"]
        monitors = [pid for pid, name in own.items() if name == "coracle-monitor"]
        if not zygotes or not monitors:
            sys.exit(f"of {len(own)} processes {len(zygotes)} are zygotes and {len(monitors)} monitors")
        with open(f"/proc/{self.daemon.pid}/mountinfo", encoding="utf-8") as file:
            mounts = len(file.readlines())
        with open("/proc/net/unix", encoding="utf-8") as file:
            sockets = len(file.readlines()) - 1
        groups = sum(len(dirs) for root in run("find", "/sys/fs/cgroup", "-maxdepth", "2", "-type", "d", "-name",
                                               os.path.basename(NODE)).split() for _, dirs, _ in os.walk(root))
        return {
            "daemon descriptors": count(self.daemon.pid, "fd"), "daemon threads": count(self.daemon.pid, "task"),
            "daemon memory, MiB": memory(self.daemon.pid),
            "zygote descriptors": sum(count(pid, "fd") for pid in zygotes),
            "zygote memory, MiB": sum(map(memory, zygotes)),
            "monitors": len(monitors), "monitors' descriptors": sum(count(pid, "fd") for pid in monitors),
            "monitors' memory, MiB": sum(map(memory, monitors)),
            "mounts": mounts, "cgroups": groups, "sockets": sockets,
            "interfaces": len(run("ip", "-o", "link").splitlines()),
            "files of the runtime": sum(len(files) for _, _, files in os.walk("/run/runtime/coracle")),
        }


class Churn:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.number = 0
        self.lasting = []

    def make(self, image, command):
        self.number += 1
        log = os.path.join(NODE, "disk/logs", str(self.number))
        os.makedirs(log)
        pod = {"metadata": {"name": f"pod{self.number}", "namespace": "soak", "uid": f"uid{self.number}", "attempt": 0},
               "log_directory": log, "linux": {}}
        container = {"metadata": {"name": "only", "attempt": 0}, "image": {"image": image}, "log_path": "only.log",
                     "command": ["sh", "-c", command], "linux": {}}
        names = []
        for name, value in (("pod", pod), ("container", container)):
            names.append(os.path.join(NODE, f"{name}.json"))
            with open(names[-1], "w", encoding="utf-8") as file:
                json.dump(value, file)
        crictl("pull", image)
        pod_id = crictl("runp", names[0])
        container_id = crictl("create", pod_id, names[1], names[0])
        crictl("start", container_id)
        return pod_id, container_id, os.path.join(log, "only.log")

    def unmake(self, pod):
        crictl("stopp", pod)
        crictl("rmp", pod)

    def round(self):
        made = [self.make(self.random.choice(IMAGES), "while true; do echo line; sleep 0.2; done")
                for _ in range(self.random.randint(1, 3))]
        for _, container, log in made + self.lasting:
            for _ in range(self.random.randint(0, 3)):
                crictl("exec", "--sync", container, "cat", "/proc/self/status")
            os.replace(log, log + ".1")
            crictl("logs", "--reopen", container)
            if not os.path.exists(log):
                sys.exit(f"the log of {container} was not opened again")
        for pod, _, _ in made:
            self.unmake(pod)
        crictl("rmi", *self.random.sample(IMAGES[1:], 2), check=False)


def slope(points):
    """The median slope between all pairs."""
    slopes = sorted((b[1] - a[1]) / (b[0] - a[0]) for i, a in enumerate(points) for b in points[i + 1:] if b[0] > a[0])
    return slopes[len(slopes) // 2] if slopes else 0


def growing(samples, warm):
    """The counts that rise, and by how much."""
    found = []
    for name, (number, share) in ALLOWED.items():
        segments = {}
        for at, restarts, counts in samples:
            if at >= warm:
                segments.setdefault(restarts if name.startswith(("daemon", "zygote")) else 0, []).append((at, counts[name]))
        for points in segments.values():
            if len(points) < 4:
                continue
            rise = slope(points) * (points[-1][0] - points[0][0])
            if rise > number + share * points[0][1] + 1e-9:
                found.append(f"{name} rises by {rise:.1f} from {points[0][1]:.1f}")
    return found


def draw(samples, path):
    """Small pictures, one a count, over the minutes."""
    width, height, names = 320, 110, list(ALLOWED)
    last = max(at for at, _, _ in samples) or 1
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width * 3}" height="{(height + 30) * ((len(names) + 2) // 3)}" '
           'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/>']
    for index, name in enumerate(names):
        x, y = index % 3 * width, index // 3 * (height + 30)
        top = max(counts[name] for _, _, counts in samples) or 1
        line = " ".join(f"{x + 10 + at / last * (width - 30):.1f},{y + 20 + height - counts[name] / top * (height - 10):.1f}"
                        for at, _, counts in samples)
        out.append(f'<text x="{x + 10}" y="{y + 15}">{name}: {samples[-1][2][name]:.4g}, at most {top:.4g}</text>'
                   f'<polyline points="{line}" fill="none" stroke="#1f5fa8" stroke-width="1.5"/>'
                   f'<line x1="{x + 10}" x2="{x + width - 20}" y1="{y + 20 + height}" y2="{y + 20 + height}" stroke="#999"/>')
    out.append(f'<text x="10" y="{(height + 30) * ((len(names) + 2) // 3) - 2}">{last:.0f} minutes</text></svg>')
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(out) + "\n")


def main():
    minutes, seed, picture = float(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    warm = minutes / 4
    node, churn, samples = Node(), Churn(seed), []
    churn.lasting = [churn.make(IMAGES[0], "while true; do echo line; sleep 0.5; done") for _ in range(2)]
    begun, next_sample, next_restart = time.monotonic(), 0.0, warm / 4
    while (now := (time.monotonic() - begun) / 60) < minutes:
        churn.round()
        if now >= next_restart:
            node.restart(signal.SIGKILL if node.restarts % 2 else signal.SIGTERM)
            next_restart = now + (warm / 4 if now < warm / 2 else RESTART_EVERY)
        if now >= next_sample:
            # Removal goes on in the background for a moment.
            time.sleep(2)
            samples.append((now, node.restarts, node.sample()))
            print(f"{now:.1f} " + json.dumps(samples[-1][2]), flush=True)
            next_sample = now + 1
    for pod, _, _ in churn.lasting:
        churn.unmake(pod)
    node.daemon.terminate()
    node.daemon.wait(PATIENCE)
    found = growing(samples, warm)
    for what in found:
        print(what)
    draw(samples, picture)
    print(json.dumps({"minutes": round((time.monotonic() - begun) / 60), "pods": churn.number, "restarts": node.restarts,
                      "samples": len(samples), "losses": len(found)}))
    sys.exit(bool(found))


main()
