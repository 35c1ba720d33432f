"""What a kubelet removes when room is short: images by its thresholds and under pressure, dead containers. And what it does not."""

import json
import os
import time

from node import CONFIG, CORACLE, NODE, PLACES, REGISTRY, crictl, get, kubelet_said, manifests, put, run, take
from trials import eventually, must
from view import pods

OLD, YOUNG = f"{REGISTRY}/httpd:2.4.39-4", f"{REGISTRY}/nonewprivs:1.3"
USED, PINNED = {PLACES["BUSYBOX"], PLACES["NGINX"]}, PLACES["GROUPS"]
FILLER = f"{NODE}/disk/filler"
# The kubelet looks for images to remove when it starts, and each so many seconds later.
PERIOD = 300
# As config.yaml has them.
HIGH, PRESSURE = 80, 90


def images():
    """The names of the images that the runtime has."""
    return {tag for one in json.loads(crictl("images", "-o", "json"))["images"] for tag in one["repoTags"]}


def fill(used, beyond):
    """Takes room until so many hundredths of the disk, and some bytes, are used, as the kubelet reckons."""
    disk = os.statvfs(f"{NODE}/disk")
    whole, free = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
    already = os.path.getsize(FILLER) if os.path.exists(FILLER) else 0
    run("fallocate", "-l", str(already + free - whole * (100 - used) // 100 + beyond), FILLER)


def the_figures_of_the_disk_are_those_of_the_disk():
    """What evictions are decided by: capacity and room of the disk, of images and of containers."""
    disk = os.statvfs(f"{NODE}/disk")
    node = json.loads(get("/stats/summary"))["node"]
    for what, told in (("nodefs", node["fs"]), ("imagefs", node["runtime"]["imageFs"]), ("containerfs", node["runtime"]["containerFs"])):
        must(told["capacityBytes"] == disk.f_blocks * disk.f_frsize, f"{what} has {told}")
        must(abs(told["availableBytes"] - disk.f_bavail * disk.f_frsize) < 64 << 20, f"{what} has {told}, the disk {disk}")
    taken = node["runtime"]["imageFs"]["usedBytes"]
    must(1 << 20 < taken < 1 << 30, f"images take {taken} bytes")
    must(node["runtime"]["imageFs"]["inodesUsed"] > 20, f"images take {node['runtime']['imageFs']}")


def an_unused_image_goes_at_the_threshold_and_no_other(began):
    """One that a container beside the kubelet's uses is pinned, one that has just come is too young."""
    run(CORACLE, "create", "--config", CONFIG, "--name", "beside", PINNED, "sleep", "3600")
    for name in images() - USED - {PINNED, OLD}:
        crictl("rmi", name)
    must(images() == USED | {PINNED, OLD}, f"there are {images()}")
    crictl("pull", YOUNG)
    # A little above what the lower threshold allows, so that one image is enough.
    fill(HIGH - 1, 1 << 20)
    rounds = (time.monotonic() - began) // PERIOD + 1
    wait = began + rounds * PERIOD - time.monotonic()
    eventually(wait + 30, "the kubelet is above the threshold", lambda: kubelet_said("over the high threshold"))
    eventually(20, "the unused image goes", lambda: OLD not in images())
    time.sleep(2)
    must(images() == USED | {PINNED, YOUNG}, f"left are {images()}")


def under_pressure_unused_images_and_dead_containers_go():
    """All of them but what is used and what is pinned; and no container that runs."""
    before = running()
    put("done", manifests("life")["never"].replace("metadata: {name: never", "metadata: {name: done"))
    eventually(60, "a pod is done", lambda: "done" in pods() and pods()["done"].phase == "Failed")
    of_it = lambda: crictl("ps", "-a", "-q", "--label", "io.kubernetes.pod.name=done-node1").split()
    must(len(of_it()) == 2, f"of its containers there are {of_it()}")
    fill(PRESSURE + 2, 0)
    try:
        eventually(60, "the kubelet is under pressure", lambda: kubelet_said("attempting to reclaim", "ephemeral-storage"))
        eventually(60, "the containers of the pod that is done go", lambda: not of_it())
        eventually(60, "the unused image goes", lambda: images() == USED | {PINNED})
    finally:
        os.unlink(FILLER)
    take("done")
    eventually(60, "the pod goes", lambda: "done" not in pods())
    must(running() == before, "other containers run")
    run(CORACLE, "rm", "--config", CONFIG, "-f", "beside")


def running():
    """The containers that run, by their pods."""
    return {name: {one.id for one in pod.containers.values() if one.runs} for name, pod in pods().items()}
