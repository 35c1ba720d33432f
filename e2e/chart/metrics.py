"""metrics.py SOURCES FILE...: fails when a dashboard (JSON) or rules (YAML) ask for a metric whose name is not in the sources."""

import json
import pathlib
import re
import sys


def asked(path):
    """The metrics that a file asks for."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        text = json.dumps([panel["targets"] for panel in json.loads(text)["panels"]])
    return set(re.findall(r"\b(coracle_[a-z_]+)", text))


source = "\n".join(path.read_text(encoding="utf-8") for path in pathlib.Path(sys.argv[1]).rglob("*.rs"))
known = set(re.findall(r'"(coracle_[a-z_]+)"', source))
for name in sys.argv[2:]:
    names = asked(pathlib.Path(name))
    unknown = {name for name in names if not {name, re.sub(r"_(total|bucket|count|sum)$", "", name)} & known}
    if unknown or not names:
        sys.exit(f"{name}: no such metrics: {sorted(unknown)}")
