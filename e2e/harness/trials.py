"""What suites that judge for themselves share: waiting for what must come true, telling how a check went, and programs that
run until they are told to end."""

import os
import signal
import subprocess
import sys
import time


# How many times longer than usual all may take (CORACLE_E2E_PATIENCE), on a machine that is emulated.
PATIENCE = float(os.environ.get("CORACLE_E2E_PATIENCE", "1"))


class Failed(Exception):
    """A trial that did not go as it must."""


def eventually(seconds, what, look):
    """Returns what `look` returns as soon as that is true; errors on the way are not the last word."""
    seconds *= PATIENCE
    until, last = time.monotonic() + seconds, None
    while time.monotonic() < until:
        try:
            found = look()
            if found:
                return found
        except Failed as error:
            last = error
        time.sleep(0.3)
    raise Failed(f"{what}: not within {seconds} s" + (f": {last}" if last else ""))


def must(condition, what):
    """Fails the trial unless the condition holds."""
    if not condition:
        raise Failed(what)


def tell(word, name):
    """Records that a check passed or failed ("pass", "fail"), as report.sh does."""
    with open(os.environ.get("CORACLE_RESULTS", "/dev/null"), "a", encoding="utf-8") as file:
        file.write(f"{word} 1 {name}\n")
    print(f"{'ok   ' if word == 'pass' else 'FAIL '} {name}", file=sys.stderr, flush=True)


class Program:
    """A program that runs until it is told to end, its output in NAME.log, inside the namespaces of a process where one is named."""

    def __init__(self, name, command, inside=None):
        self.name, self.command, self.process = name, command, None
        self.log = f"{os.environ['CORACLE_NODE']}/{name}.log"
        if inside:
            self.command = ["nsenter", "--target", str(inside), "--mount", "--net", "--", *command]

    def start(self):
        """Starts it."""
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def end(self, how=signal.SIGTERM, seconds=60):
        """Sends it a signal and waits for its end."""
        self.process.send_signal(how)
        self.process.wait(seconds * PATIENCE)
