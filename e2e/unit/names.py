#!/usr/bin/env python3
"""names.py FILE...: each test that a document names is there, and so is each fault of the table of planted ones.

A test's name is `module::test` in backquotes, in the table the last word of the third column. Its last word must be a
function or a module of src or e2e in whose path the other words are. Ends with 1 and a line for each that is not."""

import pathlib
import re
import sys


def main(documents):
    """Runs the command line; returns the exit status."""
    sources = {path: path.read_text(encoding="utf-8") for root in ("src", "e2e") for path in pathlib.Path(root).rglob("*.rs")}

    def there(name):
        *modules, last = name.split("::")
        for path, text in sources.items():
            words = [*path.with_suffix("").parts]
            if not set(modules) <= set(words) | set(re.findall(r"^ *mod (\w+)", text, re.M)):
                continue
            if last in words or re.search(rf"\b(fn|mod) {last}\b", text):
                return True
        return False

    def named(document):
        text = pathlib.Path(document).read_text(encoding="utf-8")
        if not document.endswith(".tsv"):
            yield from re.findall(r"`([a-z_0-9]+(?:::[a-z_0-9]+)+)`", text)
            return
        for fault, file, test, *_ in (line.split("\t") for line in text.splitlines() if line and not line.startswith("#")):
            if f'planted("{fault}")' not in sources.get(pathlib.Path(file), ""):
                yield f"{file} planted({fault})"
            if "::" in test:
                yield test.split(" ")[-1]

    missing = [f"{document}: no {name}" for document in documents for name in named(document) if not there(name)]
    print("\n".join(missing))
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
