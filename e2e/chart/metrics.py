"""metrics.py DASHBOARD SOURCES: fails when the dashboard asks for a metric whose name is not in the sources."""

import json
import pathlib
import re
import sys

text = "\n".join(path.read_text() for path in pathlib.Path(sys.argv[2]).rglob("*.rs"))
known = set(re.findall(r'"(coracle_[a-z_]+)"', text))
dashboard = json.loads(pathlib.Path(sys.argv[1]).read_text())
asked = set(re.findall(r"\b(coracle_[a-z_]+)", json.dumps([p["targets"] for p in dashboard["panels"]])))
unknown = {name for name in asked if not {name, re.sub(r"_(total|bucket|count|sum)$", "", name)} & known}
sys.exit(f"no such metrics: {sorted(unknown)}" if unknown or not asked else 0)
