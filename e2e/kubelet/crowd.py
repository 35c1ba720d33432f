"""A hundred and ten pods at once, as many as a node takes by default."""

import time

from node import audit, manifests, nothing_is_left, put, take
from trials import eventually, must
from view import pods

COUNT = 110


def a_hundred_and_ten_pods_start_at_once():
    """All of them run, each with an address of its own."""
    member = manifests("crowd")["member"]
    started = time.monotonic()
    for number in range(COUNT):
        put(f"member-{number}", member.replace("name: member", f"name: member-{number}"))
    running = lambda: [pod for pod in pods().values() if pod.name.startswith("member-") and pod["only"].runs]
    eventually(180, f"{COUNT} pods run", lambda: len(running()) == COUNT)
    print(f"{COUNT} pods ran after {time.monotonic() - started:.0f} s", flush=True)
    there = running()
    must(len({pod.ip for pod in there}) == COUNT, "two pods have one address")
    must(all(pod["only"].restarts == 0 for pod in there), "a container was restarted")
    # One that runs has said nothing yet for a moment.
    eventually(60, "all have spoken", lambda: all(pod.said("only") for pod in there))
    must(all(pod.said("only") == [pod.name] for pod in there), "a pod's log is another's")
    audit()


def they_go_and_nothing_is_left(uids):
    """What was there before them, by the uids of its pods, is gone as well."""
    uids = uids + [pod.uid for pod in pods().values()]
    take()
    started = time.monotonic()
    eventually(120, "the pods are gone", lambda: not pods())
    print(f"they were gone after {time.monotonic() - started:.0f} s", flush=True)
    nothing_is_left(uids, 120)
    audit()
