#!/usr/bin/env python3
"""suite.py [WAVE...]: what a kubelet has Coracle do, on the node that run.sh made. Each check passes or fails under its name.

The waves, in order: `features`, all that pods may ask for, side by side; `crowd`, 110 pods at once; `kept`, pods whose daemon
is killed; `collection`, what is removed when room is short; `restart` of the kubelet, then with other features; `reboot`."""

import re
import sys
import time

import collection
import crowd
import features
import recovery
from node import HERE, NODE, Kubelet, Runtime, ask, crictl, manifests, put, take
from trials import Failed, must, tell
from view import pods

WAVES = ("features", "crowd", "kept", "collection", "restart", "reboot")
# The last kubelet has its figures from the runtime alone, and hears of containers by events.
OTHERWISE = "PodAndContainerStatsFromCRI: true, EventedPLEG: true, "


class Suite:
    """The node's programs, and how the trials went."""

    def __init__(self):
        self.kubelet, self.runtime, self.began, self.uids, self.failed = Kubelet(), Runtime(), 0.0, [], False

    def trial(self, name, function, *arguments):
        """Runs one, and tells how it went; whether it passed."""
        started = time.monotonic()
        try:
            function(*arguments)
        except Failed as error:
            self.failed = True
            tell("fail", name)
            print(error, file=sys.stderr, flush=True)
            return False
        tell("pass", name)
        print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)
        return True

    def features(self):
        """All pods of the tables, then what they do when they are taken away."""
        resized = ""
        for topic in features.TOPICS:
            for name, text in manifests(topic).items():
                if name == "resized":
                    resized, text = text.replace("SIZE", "96"), text.replace("SIZE", "64")
                put(name, text)
        self.failed |= not features.watch(features.FIRST, 180)
        print(f"what pods may ask for was there after {time.monotonic() - self.began:.0f} s", flush=True)
        features.spoil()
        put("resized", resized)
        self.failed |= not features.watch(features.SECOND, 60)
        self.failed |= not features.watch(features.LASTING, 0)
        self.trial("logs and commands go through the kubelet", through_the_kubelet)
        self.uids = [pod.uid for pod in pods().values()]
        take()
        self.failed |= not features.watch(features.END, 60)

    def crowd(self):
        """Many pods."""
        self.trial("110 pods start at once", crowd.a_hundred_and_ten_pods_start_at_once)
        self.trial("they go, and nothing is left of any pod", crowd.they_go_and_nothing_is_left, self.uids)

    def kept(self):
        """Pods whose daemon is killed."""
        self.trial("a killed daemon leaves pods alone, and finds them again", recovery.a_killed_daemon_leaves_pods_alone_and_finds_them_again,
                   self.runtime)

    def collection(self):
        """What is removed."""
        self.trial("the figures of the disk are those of the disk", collection.the_figures_of_the_disk_are_those_of_the_disk)
        self.trial("an unused image goes at the threshold, and no other", collection.an_unused_image_goes_at_the_threshold_and_no_other,
                   self.began)
        self.trial("under pressure unused images and dead containers go", collection.under_pressure_unused_images_and_dead_containers_go)

    def restart(self):
        """A kubelet that finds pods, and one with other features."""
        self.trial("a restarted kubelet adopts the pods", recovery.a_restarted_kubelet_adopts_the_pods, self.kubelet)
        self.trial("a kubelet's figures are complete and those of the cgroups, and it hears of events",
                   recovery.figures_and_events_are_complete, self.kubelet, OTHERWISE)

    def reboot(self):
        """A machine that is switched off."""
        self.trial("pods come back after a reboot", recovery.pods_come_back_after_a_reboot, self.kubelet, self.runtime)

    def run(self, waves):
        """Runs the waves."""
        features.prepare()
        for image in (*collection.USED, collection.PINNED, collection.OLD):
            crictl("pull", image)
        self.kubelet.begin()
        self.began = time.monotonic()
        keeping = False
        for wave in waves:
            if wave in WAVES[2:] and not keeping:
                keeping = self.trial("pods that are to be kept run", recovery.start_those_that_are_kept)
            getattr(self, wave)()
        self.trial("without their manifests the pods go, and nothing is left", crowd.they_go_and_nothing_is_left, self.uids)
        self.kubelet.end()
        self.trial("the kubelet's log has no error of ours", no_error_of_ours)
        return self.failed


def through_the_kubelet():
    """Its own server, which kubectl is led to."""
    must(ask("/containerLogs/default/live-node1/exec?previous=true") == "serving\n", "the previous log is another")
    lines = ask("/containerLogs/default/init-node1/app?tailLines=1&timestamps=true")
    must(re.match(r"\S+Z second\n$", lines), f"the last line is {lines!r}")
    must(ask("/run/default/probed-node1/web?cmd=cat%20/proc/1/comm", "POST") == "nginx\n", "a command says something else")


def no_error_of_ours():
    """Of the errors in the kubelet's log each has to match a line of the list."""
    with open(f"{HERE}/allowed-errors.txt", encoding="utf-8") as file:
        allowed = re.compile("|".join(line for line in file.read().splitlines() if not line.startswith("#")))
    with open(f"{NODE}/kubelet.log", encoding="utf-8", errors="replace") as file:
        errors = [line[:400] for line in file if re.match(r"E\d{4} ", line) and not allowed.search(line)]
    must(not errors, f"{len(errors)} errors:\n" + "".join(f"{line.rstrip()}\n" for line in errors[:20]))


def main():
    """Runs the command line."""
    unknown = [name for name in sys.argv[1:] if name not in WAVES]
    if unknown:
        raise SystemExit(f"no such wave: {unknown[0]} (there are: {', '.join(WAVES)})")
    sys.exit(Suite().run(sys.argv[1:] or WAVES))


if __name__ == "__main__":
    main()
