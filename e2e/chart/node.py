"""Kills `coracle node` at each of its step points, repeats the command, and compares the node with one that was left in peace.

node.py CORACLE POINTS_RS DIR: CORACLE is a debug build; POINTS_RS has the table of points; DIR is empty. Prints a line a point."""

import os
import pathlib
import signal
import struct
import subprocess
import sys

CORACLE, TABLE, SCRATCH = sys.argv[1], pathlib.Path(sys.argv[2]).read_text(), pathlib.Path(sys.argv[3])
POINTS = [line.strip().strip('",') for line in TABLE.split("&[\n", 1)[1].split("];", 1)[0].splitlines()]
SWITCH = ["switch", "--from", "/run/old.sock"]
# A node's life: each command is also the one that is killed.
LIFE = [["install", "--drop-in", str(SCRATCH / "settings.toml")], SWITCH, ["restore"], ["uninstall"]]
# What a service manager would have to be there for.
NEEDS_SERVICES = {
    "node.install.started", "node.switch.stopped", "node.switch.vacated", "node.switch.started", "node.uninstall.stopped",
}


def node(name):
    """A node with a kubelet and a file that the installation replaces."""
    root = SCRATCH / name
    for path, text in {
        "usr/lib/systemd/system/kubelet.service": "[Service]\nExecStart=/usr/bin/kubelet $ARGS\n",
        "etc/coracle/config.toml.d/50-node.toml": "[log]\nlevel = \"debug\"\n",
        "usr/local/bin/other": "",
        "var/lib/other": "",
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


def tree(root):
    found = {}
    for path in root.rglob("*"):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_file():
            # The order of what is remembered may differ after a crash.
            # The program is large, and whole or not there.
            large = path.stat().st_size > 1 << 20
            text = path.stat().st_size if large else path.read_bytes()
            found[name] = sorted(text.splitlines()) if name.endswith("state.json") else text
        else:
            found[name] = None
    return found


def run(root, command, board=None):
    env = dict(os.environ, CORACLE_CONFIG=str(SCRATCH / "config.toml"), **({"CORACLE_STEPS": str(board)} if board else {}))
    line = [CORACLE, "node", "--root", str(root), "--service-manager", "none", *command]
    return subprocess.run(line, env=env, capture_output=True, text=True, timeout=120)


def arm(board, point, turn):
    """The page of sys/step/board.rs: the armed point, the passes left, hold, released, hit, and the passes of each."""
    page = struct.pack("<IIIIi", POINTS.index(point), turn, 0, 1, 0)
    board.write_bytes(page.ljust(8192, b"\0"))


(SCRATCH / "settings.toml").write_text("[containers]\npids_limit = 7\n")
(SCRATCH / "config.toml").write_text("")
before = tree(node("before"))
peace = node("peace")
states = []


def copy(root, name):
    """Another node like this one. Links do: nothing is written in place."""
    subprocess.run(["cp", "-al", str(root), str(SCRATCH / name)], check=True)
    return SCRATCH / name


for which, command in enumerate(LIFE):
    copy(peace, f"before-{which}")
    done = run(peace, command)
    assert done.returncode == 0, (command, done.stderr)
    states.append(tree(peace))
failed = 0
if states[-1] != before:
    print("FAIL  a node that was uninstalled is as it was:", sorted(set(states[-1]) ^ set(before)))
    failed += 1
else:
    print("ok    a node that was uninstalled is as it was")
board = SCRATCH / "board"
mine = [point for point in POINTS if point.startswith("node.") and point not in NEEDS_SERVICES]
for point in mine:
    hits, losses = 0, []
    for which, command in enumerate(LIFE):
        for turn in range(1, 20):
            root = copy(SCRATCH / f"before-{which}", f"{point}-{which}-{turn}")
            arm(board, point, turn)
            if run(root, command, board).returncode != -signal.SIGKILL:
                subprocess.run(["rm", "-rf", str(root)], check=True)
                break
            hits += 1
            again = run(root, command)
            if again.returncode != 0:
                losses.append(f"{command[0]}, turn {turn}: {again.stderr.strip()}")
            elif tree(root) != states[which]:
                got = tree(root)
                differ = [n for n in got.keys() | states[which].keys() if got.get(n, 0) != states[which].get(n, 0)]
                losses.append(f"{command[0]}, turn {turn}: {differ}")
            subprocess.run(["rm", "-rf", str(root)], check=True)
    if hits and not losses:
        print(f"ok    killed at {point} ({hits} times), the same command finishes the work", flush=True)
    else:
        print(f"FAIL  killed at {point} ({hits} times): {losses or 'no command passes it'}")
        failed += 1
sys.exit(failed > 0)
