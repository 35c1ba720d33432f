#!/usr/bin/env python3
"""sbom.py BOM LOCK PATH...: holds a CycloneDX bill of materials to Cargo.lock.

Each component is locked, and what each that is named depends on is there; libseccomp, which is no crate, is too. No PATH, of the
machine that it was made on, is in it.
"""

import json
import pathlib
import sys
import tomllib

bom_file, lock_file, *paths = sys.argv[1:]
text = pathlib.Path(bom_file).read_text(encoding="utf-8")
bom = json.loads(text)
wrong = [f"{path} is in it" for path in paths if path + "/" in text]
if (bom["bomFormat"], bom["specVersion"]) != ("CycloneDX", "1.5"):
    wrong.append("it is not CycloneDX 1.5")
if "serialNumber" in bom:
    wrong.append("it is not the same each time")
if bom["metadata"]["component"]["name"] != "coracle":
    wrong.append("it is not Coracle's")

locked = {
    (package["name"], package["version"]): package
    for package in tomllib.loads(pathlib.Path(lock_file).read_text(encoding="utf-8"))["package"]
}
listed = {(it["name"], it["version"]): it for it in bom["components"]}
others = {name for name, version in listed if (name, version) not in locked}
if others != {"libseccomp"}:
    wrong.append(f"not of {lock_file}: {sorted(others)}")
for key, it in listed.items():
    if not it.get("licenses"):
        wrong.append(f"{key} has no licence")
    checksum = locked.get(key, {}).get("checksum")
    if checksum and {"alg": "SHA-256", "content": checksum} not in it.get("hashes", []):
        wrong.append(f"{key} has not the sum of {lock_file}")
for name in ("libcontainer", "libseccomp-sys", "tokio", "redb", "ring", "zstd-sys"):
    if name not in {name for name, _ in listed}:
        wrong.append(f"{name} is missing")
refs = {it["bom-ref"] for it in bom["components"]} | {bom["metadata"]["component"]["bom-ref"]}
for it in bom["dependencies"]:
    if missing := {it["ref"], *it.get("dependsOn", [])} - refs:
        wrong.append(f"named and not there: {sorted(missing)}")
if wrong:
    sys.exit("\n".join([f"{bom_file}:", *wrong]))
print(f"{len(listed)} components")
