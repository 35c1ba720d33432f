#!/usr/bin/env python3
"""documents.py: what the operator's documents name is there. Run in the root of the checkout.

Settings: the middle column of the tables from other runtimes, and dotted keys anywhere, are those of docs/configuration.md,
which a unit test holds to the source, or values of the chart. Metrics and alerts: the handbook has each, and no other.
Messages: what docs/troubleshooting.md quotes in a table's first column is a text of the sources, `…` standing for anything.
Links: files and headings that documents lead to exist. Ends with 1 and a line for each that is not so."""

import json
import pathlib
import re
import sys

DOCS = pathlib.Path("docs")
HANDBOOK = DOCS / "handbook.md"


def read(path):
    return pathlib.Path(path).read_text(encoding="utf-8")


def rows(text):
    """The cells of each row of a document's tables, without heads."""
    for line in text.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if cells and not set(line) <= set("|- "):
            yield cells


def quoted(text):
    return re.findall(r"`([^`]+)`", text)


def keys():
    """The settings there are, dotted, and the tables."""
    table, found = "", set()
    for line in read(DOCS / "configuration.md").splitlines():
        if head := re.fullmatch(r"## `\[(.+)\]`", line):
            table = head[1]
            found.add(table)
        elif key := re.fullmatch(r"### `(.+)`", line):
            found.add(f"{table}.{key[1]}" if table else key[1])
    return found


def values(schema, above=""):
    """The chart's values, dotted."""
    for name, inner in schema.get("properties", {}).items():
        yield above + name
        yield from values(inner, f"{above}{name}.")


def settings():
    known = keys()
    tables = "|".join(sorted({re.escape(key.split(".")[0]) for key in known if "." in key}))
    others = set(values(json.loads(read("charts/coracle/values.schema.json"))))
    for name in ("migration-containerd.md", "migration-crio.md"):
        columns = [cells[1] for cells in rows(read(DOCS / name)) if len(cells) == 3]
        if len(columns) < 50:
            yield f"{name}: has no tables of settings"
        yield from (f"{name}: no setting {key}" for cell in columns for key in quoted(cell) if key not in known)
    for name in ("handbook.md", "scale.md", "troubleshooting.md", "migration.md", "install.md"):
        for word in quoted(read(DOCS / name)):
            if re.fullmatch(rf"(?:{tables})\.[a-zA-Z_.]+", word) and word not in known | others and "=" not in word:
                yield f"{name}: no setting {word}"


def metrics(source):
    known = set(re.findall(r'"(coracle_[a-z_]+)"', source)) - {"coracle_things"}
    named = {re.match(r"[a-z_]+", word)[0] for word in quoted(read(HANDBOOK)) if word.startswith("coracle_")}
    named = {re.sub(r"_total$", "", name) for name in named}
    yield from (f"{HANDBOOK}: no metric {name}" for name in sorted(named - known))
    yield from (f"{HANDBOOK}: nothing of metric {name}" for name in sorted(known - named))


def alerts():
    known = set(re.findall(r"- alert: (\w+)", read("charts/coracle/alerts/coracle.yaml")))
    named = {word for word in quoted(read(HANDBOOK)) if re.fullmatch(r"Coracle[A-Z]\w+", word)}
    yield from (f"{HANDBOOK}: no alert {name}" for name in sorted(named - known))
    yield from (f"{HANDBOOK}: nothing of alert {name}" for name in sorted(known - named))


def messages(source):
    source = re.sub(r"\\\n\s*", "", source)
    for cells in rows(read(DOCS / "troubleshooting.md")):
        for text in quoted(cells[0]):
            parts = [part.strip(' "') for part in text.split("…")]
            if not any(parts):
                yield f"troubleshooting.md: {text} says nothing"
            yield from (f"troubleshooting.md: nothing says {part!r}" for part in parts if part not in source)


def anchors(text):
    heads = re.findall(r"^#+ (.+)$", re.sub(r"(?s)```.*?```", "", text), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def links():
    for path in [pathlib.Path("README.md"), *sorted(DOCS.glob("*.md"))]:
        for target in re.findall(r"\]\(([^)\s]+)\)", read(path)):
            if "://" in target or target.startswith("mailto:"):
                continue
            name, _, anchor = target.partition("#")
            there = (path.parent / name) if name else path
            if not there.exists():
                yield f"{path}: no {target}"
            elif anchor and anchor not in anchors(read(there)):
                yield f"{path}: no heading {target}"


def main():
    source = "\n".join(read(path) for path in sorted(pathlib.Path("src").rglob("*.rs")))
    wrong = [*settings(), *metrics(source), *alerts(), *messages(source), *links()]
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
