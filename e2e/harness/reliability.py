#!/usr/bin/env python3
"""reliability.py RESULTS: prints docs/reliability.md, made from the result lines of the suites and of nothing else.

A line is a JSON object with "suite", "commit", "date", "seed", "losses" and the suite's own figures. Runs of one test are
added up; the commits, the days and the seeds are those of the runs that were added. A run of an older commit counts for
that commit, and is shown with it."""

import json
import pathlib
import sys

# What is to be shown: the title, the lines it is made of, the figures as (field, unit), and the aim.
SUITES = [
    ("Kill anywhere: every step point, by SIGKILL", {"suite": "faults", "test": "walk"},
     [("points", "points"), ("kills", "kills")], "every point, each process"),
    ("Kill at random under load", {"suite": "faults", "test": "random"}, [("kills", "kills")], "500 kills"),
    ("Power cuts, ext4", {"suite": "power", "filesystem": "ext4"}, [("cuts", "cuts"), ("calls", "calls meanwhile")],
     "500 cuts"),
    ("Power cuts, xfs", {"suite": "power", "filesystem": "xfs"}, [("cuts", "cuts"), ("calls", "calls meanwhile")],
     "500 cuts"),
    ("Power cuts of a virtual machine", {"suite": "powercut"}, [("cuts", "cuts"), ("calls", "calls meanwhile")], "10 cuts"),
    ("Conformance suite under kills", {"suite": "critest-kills"},
     [("kills", "kills"), ("specs", "specs"), ("repeated", "calls made again")], "a kill every 5 s, every spec"),
    ("Kubernetes' suite for clusters", {"suite": "cluster-conformance"}, [("specs", "specs")], "every spec"),
    ("Networks of which three calls in ten fail", {"suite": "cni-churn"},
     [("pods", "pods"), ("calls", "plugin calls"), ("failed", "failed attempts")], "1,000 pods, every address back"),
    ("Bad input: every field of every call", {"suite": "attacks"}, [("rows", "requests"), ("methods", "calls")], "every call"),
    ("Hostile images, unpacked", {"suite": "hostile-images", "part": "unit tests"}, [("tests", "tests")], "each kind"),
    ("Hostile images, pulled and run", {"suite": "hostile-images", "part": "gRPC tests"}, [("tests", "tests")], "each kind"),
    ("A node moved and upgraded by the Helm chart", {"suite": "guest-chart"},
     [("moves", "moves"), ("upgrades", "upgrades under load"), ("lines", "log lines"), ("execs", "commands")],
     "no restart, no line"),
    ("Soak", {"suite": "soak"}, [("minutes", "minutes"), ("pods", "pods"), ("restarts", "restarts")],
     "60 minutes in one run"),
    ("Planted faults", {"suite": "planted"}, [("faults", "faults")], "20 faults"),
]
FUZZ_MINUTES = 30
# Of these the largest run counts, not the sum: the same points are walked again, the same faults planted again.
LARGEST = {"points", "faults", "specs", "rows", "methods", "tests"}


def lines(directory):
    for path in sorted(pathlib.Path(directory).glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                yield json.loads(line)
            except ValueError:
                print(f"{path.name} has a broken line, left out", file=sys.stderr)


def lost(run):
    losses = run.get("losses", 0)
    return losses if isinstance(losses, int) else len(losses)


def some(values, most=3):
    """The first few of what may be many."""
    values = list(dict.fromkeys(str(value) for value in values))
    return ", ".join(values[:most]) + (f" and {len(values) - most} more" if len(values) > most else "")


def row(title, runs, figures, aim):
    if not runs:
        return f"| {title} | not run | {aim} | | | | |"
    parts = []
    for field, unit in figures:
        numbers = [run.get(field, 0) for run in runs]
        parts.append(f"{max(numbers) if field in LARGEST else sum(numbers):,} {unit}")
    return (f"| {title} | {', '.join(parts)}, in {len(runs)} run{'s' * (len(runs) > 1)} | {aim} | {sum(map(lost, runs))} | "
            f"{some(run['commit'] for run in runs)} | {some((run['date'][:10] for run in runs))} | "
            f"{some(run.get('seed', '') for run in runs)} |")


def main():
    runs = list(lines(sys.argv[1]))
    print("""# Reliability, in figures

Written by `hack/reliability.sh` from the result lines of the suites; not to be edited. A row sums up every run that was
recorded, also those of older commits, and names the commits. Losses are what was found wrong at the time of the run: a loss
that was repaired since stays in the sum until the results are begun anew. *Not run* means that there is no result, whatever
the suite could show.

| what | done | aim | losses | commit | day | seed |
| --- | --- | --- | --- | --- | --- | --- |""")
    for title, wanted, figures, aim in SUITES:
        print(row(title, [r for r in runs if all(r.get(k) == v for k, v in wanted.items())], figures, aim))
    known = {"faults", "attacks", "hostile-images", "power", "powercut", "critest-kills", "cni-churn", "soak", "planted", "fuzz",
             "guest-chart", "cluster-conformance"}
    for suite in sorted({run.get("suite", "") for run in runs} - known):
        own = [run for run in runs if run.get("suite") == suite]
        fields = sorted({k for run in own for k, v in run.items() if isinstance(v, int) and not isinstance(v, bool)}
                        - {"seed", "losses"})
        print(row(suite, own, [(field, field) for field in fields], ""))
    print("""
What the daemon and its processes held during the last soak, minute by minute:

![counts over the minutes of a soak](soak.svg)

## Fuzzing

The aim is 30 minutes a target. Executions are those of all runs; a loss is a run that ended with an input that fails.

| target | executions | minutes | losses | commit | day |
| --- | --- | --- | --- | --- | --- |""")
    fuzz = [run for run in runs if run.get("suite") == "fuzz"]
    for target in sorted({run["target"] for run in fuzz}):
        own = [run for run in fuzz if run["target"] == target]
        minutes = sum(run["seconds"] for run in own) / 60
        print(f"| {target} | {sum(run['executions'] for run in own):,} | {minutes:.1f}"
              f"{'' if minutes >= FUZZ_MINUTES else ' (short of the aim)'} | {sum(map(lost, own))} | "
              f"{some(run['commit'] for run in own)} | {some(run['date'][:10] for run in own)} |")
    if not fuzz:
        print("| not run | | | | | |")


main()
