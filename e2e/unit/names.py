#!/usr/bin/env python3
"""names.py FILE...: each test that a document names is there.

A name is `module::test` in backquotes. Its last word must be a function or a module of src or e2e in whose path the other
words are. Ends with 1 and a line for each that is not."""

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

    missing = 0
    for document in documents:
        for name in re.findall(r"`([a-z_0-9]+(?:::[a-z_0-9]+)+)`", pathlib.Path(document).read_text(encoding="utf-8")):
            if not there(name):
                missing += 1
                print(f"{document}: no test {name}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
