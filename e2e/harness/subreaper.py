#!/usr/bin/env python3
"""subreaper.py COMMAND [ARG...]: runs a command and ends, with its status, only when all it left behind is gone.

A runtime's monitors outlive the process that started them, and PID 1 of a container may neither reap nor end them.
So this process adopts every orphan below it, reaps it, and kills what still runs when the command has ended, or when
it is itself told to end or its parent dies."""

import ctypes
import os
import signal
import subprocess
import sys
import time

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
# How long killed processes may take to go: one in uninterruptible sleep must not hang the run.
PATIENCE = 30.0


class Told(Exception):
    """A signal asked for the end; its number is the argument."""


def told(number, _frame):
    """Signal handler."""
    raise Told(number)


def children():
    """The ids of this process's children."""
    with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


def wait_for(command_pid):
    """Reaps whatever ends until the command does; returns its status as a shell would."""
    while True:
        pid, status = os.wait()
        if pid == command_pid:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def thaw(pid):
    """Thaws a process of a cgroup v1 container that was cut off amid a kill: frozen, it would not die."""
    try:
        with open(f"/proc/{pid}/cgroup", encoding="ascii") as file:
            paths = [path for _, names, path in (line.rstrip().split(":", 2) for line in file) if names == "freezer"]
        for path in paths:
            with open(f"/sys/fs/cgroup/freezer{path}/freezer.state", "w", encoding="ascii") as file:
                file.write("THAWED")
    except OSError:
        pass  # It is dead, or in no cgroup that can be frozen.


def end_all():
    """Kills and reaps all descendants: a killed child's children become ours, until there are none."""
    limit = time.monotonic() + PATIENCE
    while pids := children():
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            thaw(pid)
        if time.monotonic() > limit:
            print(f"subreaper: these processes do not end: {pids}", file=sys.stderr)
            return
        while any(os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG) for pid in children()):
            pass
        time.sleep(0.02)


def main(command):
    """Runs the command line."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    ends = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    for number in ends:
        signal.signal(number, told)
    try:
        status = wait_for(subprocess.Popen(command).pid)
    except Told as signalled:
        status = 128 + signalled.args[0]
    for number in ends:
        signal.signal(number, signal.SIG_IGN)
    end_all()
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
