"""Compares what the suite said of a peer with what is known to differ.

compare.py LOG DIFFERENCES [FILTER...]: writes lines "pass|fail|skip N NAME", tells a person what is wrong, and
fails if anything is. With filters the suite ran in part, and tests that it did not run are no matter.
"""

import collections
import re
import sys

RESULT = re.compile(r"^test (\S+) +\.\.\. (ok|FAILED|ignored)(?: \((.*)\))?$")


def main():
    log, differences, *filters = sys.argv[1:]
    with open(differences, encoding="utf-8") as lines:
        known = dict(line.rstrip("\n").split("\t") for line in lines if line.strip() and not line.startswith("#"))
    at_times = {name.removeprefix("?") for name in known if name.startswith("?")}
    known = {name.removeprefix("?"): cause for name, cause in known.items()}
    with open(log, encoding="utf-8", errors="replace") as lines:
        results = {found[1]: found for line in lines if (found := RESULT.match(line.rstrip()))}
    wrong, skipped, same, differing = [], collections.Counter(), 0, collections.Counter()
    for name, result in results.items():
        if result[2] == "ignored":
            skipped[result[3]] += 1
        elif (result[2] == "FAILED") != (name in known) and name not in at_times:
            wrong.append(f"{name} differs" if result[2] == "FAILED" else f"{name} is said to differ, and passes")
        elif result[2] == "FAILED":
            differing[known[name]] += 1
        else:
            same += 1
    if not results:
        wrong.append("the suite came to nothing")
    wrong += [f"{name} is said to differ, and is not run" for name in known if not filters and name not in results]
    wrong += [f"{name} is said to differ, and is skipped" for name in known if name in results and results[name][2] == "ignored"]
    print(f"pass {same} gRPC tests with the same result")
    print(f"pass {differing.total()} gRPC tests that differ as they are known to")
    for reason, count in skipped.most_common():
        print(f"skip {count} gRPC tests: the test {reason}")
    for cause, count in sorted(differing.items()):
        print(f"differs  {count:3}  {cause}", file=sys.stderr)
    for what in wrong:
        print(f"fail 1 {what}")
        print(f"FAIL  {what}", file=sys.stderr)
    total = f"{same} the same, {differing.total()} different as known, {skipped.total()} skipped, {len(wrong)} wrong"
    print(total, file=sys.stderr)
    return bool(wrong)


sys.exit(main())
