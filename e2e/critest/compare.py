#!/usr/bin/env python3
"""Judges a critest run by its JSON report.

PASSING lists the specs that must pass, one a line; it may only grow. NOT_YET lists those that need not, each with its
reason. A spec of neither list, a listed one that did not run, and any skip outside NOT_YET fail: critest skips in
silence what a runtime does not advertise. Standard output gets a line "pass 1 NAME" or "fail 1 NAME" for each spec that
counts; standard error says it to people."""

import argparse
import json
import re
import sys


def lines(path):
    """The lines of a list file without comments."""
    with open(path, encoding="utf-8") as file:
        stripped = (line.rstrip("\n") for line in file)
        return [line for line in stripped if line and not line.startswith("#")]


def specs(path):
    """The report's specs: name to (state, message). critest's own benchmarks are never part of a validation run."""
    found = {}
    with open(path, encoding="utf-8") as file:
        suites = json.load(file)
    for suite in suites:
        for spec in suite["SpecReports"] or []:
            name = " ".join([*(spec["ContainerHierarchyTexts"] or []), spec["LeafNodeText"]]).removeprefix("[k8s.io] ")
            if spec["LeafNodeType"] != "It" or "benchmark" in name:
                continue
            found[name] = (spec["State"], spec.get("Failure", {}).get("Message", "").strip())
    return found


def main():
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("report")
    parser.add_argument("passing")
    parser.add_argument("not_yet")
    parser.add_argument("--only", default=[], action="append", help="pattern of the specs that were meant to run; all given must match")
    parser.add_argument("--but", default="$^", help="pattern of the specs that were left out on purpose")
    parser.add_argument("--how", default="", help="how they ran, said with each name")
    args = parser.parse_args()

    def meant(name):
        return all(re.search(pattern, name) for pattern in args.only) and not re.search(args.but, name)

    ran = {name: end for name, end in specs(args.report).items() if meant(name)}
    passing = [name for name in lines(args.passing) if meant(name)]
    not_yet = dict(line.split("\t", 1) for line in lines(args.not_yet))
    failed = 0
    for name in [*passing, *(name for name in ran if name not in passing and name not in not_yet)]:
        state, message = ran.get(name, ("not run", ""))
        if state == "passed" and name in passing:
            print("pass 1", name, args.how)
            continue
        failed += 1
        print("fail 1", name, args.how)
        known = "" if name in passing else " (in neither list)"
        print(f"FAIL  {name}: {state}{known}", *message.splitlines()[:8], sep="\n      ", file=sys.stderr)
    counts = {}
    for state, _ in ran.values():
        counts[state] = counts.get(state, 0) + 1
    for name in not_yet:
        if ran.get(name, ("",))[0] == "passed":
            print(f"newly passing, add it to passing.txt: {name}", file=sys.stderr)
    print(f"{len(passing)} specs must pass, {failed} did not; of all {len(ran)}: {counts}", file=sys.stderr)
    return 1 if failed or not ran else 0


if __name__ == "__main__":
    sys.exit(main())
