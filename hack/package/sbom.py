#!/usr/bin/env python3
"""sbom.py BOM ROOT VERSION: completes a CycloneDX bill of materials of cargo-cyclonedx's, and prints it.

BOM names packages of the sources by ROOT, where they happen to be. VERSION is that of Debian's libseccomp-dev, whose archive
is linked into the program and which cargo knows nothing of.
"""

import json
import pathlib
import sys

bom_file, root, version = sys.argv[1:]
bom = json.loads(pathlib.Path(bom_file).read_text(encoding="utf-8").replace(f"file://{root}", "file:///usr/src/coracle"))
reference = f"pkg:deb/debian/libseccomp@{version}"
bom["components"].append({
    "type": "library",
    "bom-ref": reference,
    "name": "libseccomp",
    "version": version,
    "description": "linked statically",
    "scope": "required",
    "licenses": [{"license": {"id": "LGPL-2.1-only"}}],
    "purl": reference,
})
bom["components"].sort(key=lambda it: it["bom-ref"])
links = {it["ref"]: it for it in bom["dependencies"]}
users = [ref for ref in links if "libseccomp-sys" in ref]
if len(users) != 1:
    sys.exit(f"{bom_file}: {len(users)} packages are named libseccomp-sys, not one")
links[users[0]].setdefault("dependsOn", []).append(reference)
links[reference] = {"ref": reference}
bom["dependencies"] = sorted(links.values(), key=lambda it: it["ref"])
json.dump(bom, sys.stdout, indent=1, sort_keys=True)
print()
