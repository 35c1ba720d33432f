#!/usr/bin/env python3
"""power.py KIND CUTS SEED: a daemon works on a store in an image file; the file is cloned at CUTS instants, and each clone is
what a power cut would have left. Each is mounted, and a daemon started on it.

The image file lies on a file system that shares blocks between clones, so that a clone holds exactly what had reached the
block device at one instant. KIND, ext4 or xfs, is the file system in the image. Half of the cuts come at a random instant,
half right after an answer: what was answered must then be there.

What is asked of each: the store opens; every layer in it is, byte for byte, what it is in a store that was never cut; images
whose pull was answered are there; `coracle check` finds nothing; the calls repeated succeed; at the end nothing is left."""

import hashlib
import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time

NODE = os.environ["CORACLE_NODE"]
CORACLE = os.environ["CORACLE_BINARY"]
CRICTL = os.path.join(os.environ["CRI_TOOLS"], "crictl")
CONFIG = os.environ["POWER_CONFIG"]
SUITE = "registry.k8s.io/e2e-test-images/"
IMAGES = [SUITE + name for name in ("busybox:1.29-2", "nginx:1.14-2", "httpd:2.4.39-4", "nonewprivs:1.3")]
# What works in the end, and how long the daemon may take to answer, in seconds.
PATIENCE = 60


class Lost(Exception):
    """What a cut must not cost."""


def run(*command, check=True):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if check and done.returncode:
        raise Lost(f"{' '.join(command)}: {(done.stdout + done.stderr).strip()[-600:]}")
    return done


class Daemon:
    """A daemon on a state directory, alone with its runtime directory and its network plugins' state."""

    def __init__(self, name, state, network=None):
        self.dir = os.path.join(NODE, name)
        self.state = state
        self.socket = os.path.join(self.dir, "cri.sock")
        self.log = os.path.join(NODE, name + ".log")
        os.makedirs(os.path.join(self.dir, "cni"), exist_ok=True)
        group = f"/{os.path.basename(NODE)}/{name}"
        text = CONFIG.replace("@STATE@", state).replace("@RUN@", os.path.join(self.dir, "run"))
        text = text.replace("@SOCKET@", self.socket).replace("@GROUP@", group)
        self.config = os.path.join(self.dir, "coracle.toml")
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(text)
        # A cut's daemon is on another node than the one that works: it must not release the addresses of pods that run,
        # nor see their interfaces.
        enter = ["nsenter", f"--net=/proc/{network}/ns/net"] if network else []
        own = f"mount --bind {self.dir}/cni {NODE}/cni/state && exec {CORACLE} serve --config {self.config}"
        with open(self.log, "a", encoding="utf-8") as log:
            self.process = subprocess.Popen(enter + ["unshare", "--mount", "sh", "-c", own], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log)
        until = time.monotonic() + PATIENCE
        while self.crictl("imagefsinfo", check=False).returncode:
            if self.process.poll() is not None or time.monotonic() > until:
                with open(self.log, encoding="utf-8") as log:
                    raise Lost("the daemon does not come up: " + log.read()[-800:])
            time.sleep(0.05)

    def crictl(self, *words, check=True):
        return run(CRICTL, "--runtime-endpoint", "unix://" + self.socket, "--timeout", "60s", *words, check=check)

    def json(self, *words):
        return json.loads(self.crictl(words[0], "-o", "json", *words[1:]).stdout)

    def images(self):
        return {tag for image in self.json("images")["images"] or [] for tag in image["repoTags"]}

    def pod(self, number, image):
        """Writes the configurations of a pod and its container, and names them."""
        log = os.path.join(self.dir, "logs")
        pod = {"metadata": {"name": f"pod{number}", "namespace": "power", "uid": f"uid{number}", "attempt": 0},
               "log_directory": log, "linux": {}}
        container = {"metadata": {"name": "only", "attempt": 0}, "image": {"image": image}, "log_path": "only.log",
                     "command": ["sh", "-c", "echo written >/file && cat /file"], "linux": {}}
        os.makedirs(log, exist_ok=True)
        names = []
        for name, value in (("pod", pod), ("container", container)):
            names.append(os.path.join(self.dir, f"{name}{number}.json"))
            with open(names[-1], "w", encoding="utf-8") as file:
                json.dump(value, file)
        return names

    def life(self, number, image, step):
        """A pod's whole life; `step` is called after each answer."""
        pod_file, container_file = self.pod(number, image)
        pod = self.crictl("runp", pod_file).stdout.strip()
        step()
        container = self.crictl("create", pod, container_file, pod_file).stdout.strip()
        step()
        self.crictl("start", container)
        step()
        until = time.monotonic() + PATIENCE
        while True:
            status = self.json("inspect", container)["status"]
            if status["state"] == "CONTAINER_EXITED":
                break
            if time.monotonic() > until:
                raise Lost(f"container {container} does not end")
            time.sleep(0.02)
        if status["exitCode"]:
            raise Lost(f"a container of {image} ended with {status['exitCode']}: {status.get('message')}")
        self.crictl("rm", container)
        step()
        self.crictl("stopp", pod)
        self.crictl("rmp", pod)
        step()

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise Lost("the daemon does not end") from None


def tree(root):
    """A hash of all that a layer's directory holds."""
    whole = hashlib.sha256()
    for directory, names, files in os.walk(root):
        names.sort()
        for name in sorted(names + files):
            path = os.path.join(directory, name)
            about = os.lstat(path)
            content = b""
            if stat.S_ISREG(about.st_mode):
                with open(path, "rb") as file:
                    content = hashlib.sha256(file.read()).digest()
            elif stat.S_ISLNK(about.st_mode):
                content = os.readlink(path).encode()
            line = (os.path.relpath(path, root), about.st_mode, about.st_uid, about.st_gid, about.st_rdev,
                    about.st_size if content else 0, about.st_mtime_ns)
            whole.update(repr(line).encode() + content)
    return whole.hexdigest()


def layers(state):
    """The layers of a store by what they are, and the hash of each."""
    found = {}
    root = os.path.join(state, "images")
    for number in os.listdir(os.path.join(root, "l")):
        with open(os.path.join(root, "m", number, "layer.json"), encoding="utf-8") as file:
            about = json.load(file)
        found[json.dumps(about["key"])] = tree(os.path.join(root, "l", number))
    return found


class Load(threading.Thread):
    """Pulls, runs, removes, until told to end."""

    def __init__(self, daemon, seed):
        super().__init__(daemon=True)
        self.node = daemon
        self.random = random.Random(seed)
        self.lock = threading.Condition()
        self.answers = 0
        self.wanted = False
        self.held = False
        self.over = False
        # What was answered, and nothing has begun to take away since.
        self.pulled = set()
        self.failure = None

    def step(self):
        """Between two calls: waits while somebody wants the state of just this moment."""
        with self.lock:
            self.answers += 1
            if self.wanted:
                self.held = True
                self.lock.notify_all()
                while self.wanted and not self.over:
                    self.lock.wait()
                self.held = False

    def run(self):
        number = 0
        try:
            while not self.over:
                image = self.random.choice(IMAGES)
                self.node.crictl("pull", image)
                with self.lock:
                    self.pulled.add(image)
                self.step()
                if self.random.random() < 0.5:
                    number += 1
                    self.node.life(number, image, self.step)
                if self.random.random() < 0.4:
                    victims = self.random.sample(sorted(self.pulled), self.random.randint(1, len(self.pulled)))
                    with self.lock:
                        self.pulled -= set(victims)
                    self.node.crictl("rmi", *victims)
                    self.step()
        except Exception as error:  # pylint: disable=broad-except
            self.failure = error
            with self.lock:
                self.held = True
                self.lock.notify_all()

    def instant(self, after_answer, clone):
        """Calls `clone` at a random instant, or between two calls. Returns the images that must be there."""
        if not after_answer:
            time.sleep(self.random.uniform(0, 1.2))
            with self.lock:
                # Whatever is taken away from here on may be gone in the clone, or not.
                before = set(self.pulled)
            clone()
            with self.lock:
                return before & self.pulled
        with self.lock:
            self.wanted = True
            while not self.held:
                self.lock.wait()
            pulled = set(self.pulled)
            clone()
            self.wanted = False
            self.lock.notify_all()
            return pulled


class Cuts:
    def __init__(self, kind, seed):
        self.kind = kind
        self.reflink = os.path.join(NODE, "reflink")
        self.image = os.path.join(self.reflink, kind + ".img")
        self.store = os.path.join(NODE, "store-" + kind)
        self.random = random.Random(seed)
        run("truncate", "-s", "640M", self.image)
        run(*(["mkfs.xfs", "-q"] if kind == "xfs" else ["mke2fs", "-q", "-t", "ext4"]), self.image)
        self.mount(self.image, self.store)

    def mount(self, image, place):
        os.makedirs(place, exist_ok=True)
        run("mount", "-o", "loop,noatime" + (",nouuid" if self.kind == "xfs" else ""), image, place)

    def check(self, number, state, reference, pulled):
        """What a cut left. Raises Lost."""
        daemon = Daemon(f"cut-{self.kind}-{number}", state, os.environ["POWER_NETWORK"])
        try:
            for key, content in layers(state).items():
                if reference.get(key) != content:
                    raise Lost(f"layer {key} is not what it was")
            missing = pulled - daemon.images()
            if missing:
                raise Lost(f"pulled, and gone: {', '.join(sorted(missing))}")
            self.audit(daemon, "after the cut")
            # As a kubelet would: what is left of the pods goes, and the calls are made again.
            for pod in daemon.json("pods")["items"] or []:
                daemon.crictl("stopp", pod["id"])
                daemon.crictl("rmp", pod["id"])
            for image in IMAGES:
                daemon.crictl("pull", image)
            if layers(state) != reference:
                raise Lost("pulled again, the layers are not what they were")
            daemon.life(0, self.random.choice(IMAGES), lambda: None)
            daemon.crictl("rmi", *IMAGES)
            self.audit(daemon, "at the end")
            self.empty(state)
        finally:
            daemon.end()
        shutil.rmtree(daemon.dir)

    @staticmethod
    def audit(daemon, when):
        """What is put right in the background after a start may take a moment."""
        deep = ["--deep"] if "--deep" in run(CORACLE, "check", "--help").stdout else []
        until = time.monotonic() + PATIENCE
        while True:
            done = run(CORACLE, "check", *deep, "--config", daemon.config, check=False)
            if done.returncode == 0:
                return
            if time.monotonic() > until:
                raise Lost(f"coracle check {when}: {(done.stdout + done.stderr)[-800:]}")
            time.sleep(0.2)

    @staticmethod
    def empty(state):
        """Removal goes on in the background for a moment."""
        until = time.monotonic() + PATIENCE
        while True:
            left = [f"{part}/{name}" for part in ("l", "m", "c", "staging")
                    for name in os.listdir(os.path.join(state, "images", part))]
            if not left:
                return
            if time.monotonic() > until:
                raise Lost(f"left in the store: {' '.join(left)}")
            time.sleep(0.05)

    def reference(self):
        daemon = Daemon("reference-" + self.kind, os.path.join(self.store, "reference"))
        for image in IMAGES:
            daemon.crictl("pull", image)
        found = layers(daemon.state)
        daemon.end()
        shutil.rmtree(daemon.state)
        return found

    def all(self, cuts, seed):
        reference = self.reference()
        daemon = Daemon("load-" + self.kind, os.path.join(self.store, "state"))
        load = Load(daemon, seed)
        load.start()
        losses = done = 0
        # A long run that is told to end tells what it has done.
        told = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: told.set())
        for number in range(cuts):
            if told.is_set():
                break
            cut, place = os.path.join(self.reflink, "cut.img"), os.path.join(NODE, "cut-" + self.kind)
            clone = lambda: run("cp", "--reflink=always", self.image, cut)
            # The first is right after a pull, whose layers have had no time to reach the disk by themselves.
            pulled = load.instant(number % 2 == 0, clone)
            if load.failure:
                raise load.failure
            self.mount(cut, place)
            try:
                self.check(number, os.path.join(place, "state"), reference, pulled)
            except Lost as lost:
                losses += 1
                print(f"{self.kind} cut {number}: {lost}", flush=True)
            finally:
                run("umount", "--lazy", place)
                os.unlink(cut)
            done += 1
        with load.lock:
            load.over = True
            load.lock.notify_all()
        load.join(PATIENCE)
        daemon.end()
        return done, losses, load.answers


def main():
    kind, cuts, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    done, losses, answers = Cuts(kind, seed).all(cuts, seed)
    print(json.dumps({"filesystem": kind, "cuts": done, "calls": answers, "losses": losses}))
    sys.exit(losses > 0)


main()
