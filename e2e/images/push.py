#!/usr/bin/env python3
"""push.py LAYOUT HOST:PORT REPOSITORY:TAG: pushes the only image of an OCI layout to a registry on this machine."""

import json
import os
import sys

from registry import MANIFEST, Registry


class Target(Registry):
    """A registry that takes what was made elsewhere."""

    def copy(self, layout, repository, tag):
        """Pushes the blobs of the layout's image, then its manifest."""
        place = lambda descriptor: os.path.join(layout, "blobs", *descriptor["digest"].split(":"))
        with open(os.path.join(layout, "index.json"), "rb") as file:
            [named] = json.load(file)["manifests"]
        with open(place(named), "rb") as file:
            body = file.read()
        manifest = json.loads(body)
        for blob in (manifest["config"], *manifest["layers"]):
            with open(place(blob), "rb") as file:
                self._push_blob(repository, blob["digest"], blob["size"], file)
        self._call((201,), "PUT", f"/v2/{repository}/manifests/{tag}", body, Content_Type=MANIFEST)


def main(layout, address, reference):
    """Runs the command line."""
    Target(address).copy(layout, *reference.rsplit(":", 1))


main(*sys.argv[1:])
