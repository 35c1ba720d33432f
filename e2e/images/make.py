#!/usr/bin/env python3
"""make.py REGISTRY WORK SET [NGINX [AGNHOST [COREDNS]]]: makes a set of test images and pushes them to the registry at HOST:PORT.

SET is `suite` (all that the tests name; NGINX is the unpacked package), `conformance` (what Kubernetes' suite for nodes
names; AGNHOST is the directory with that program), `cluster-conformance` (what that for clusters names; COREDNS is such a
directory too) or `large` (for measuring pulls). WORK is a scratch directory. Standard library only."""

import json
import sys

import catalogue
import conformance
import large
from registry import Registry


def main(address, work, kind, *more):
    """Runs the command line."""
    registry = Registry(address)
    if kind == "suite":
        catalogue.push_all(registry, work, *more)
    elif kind == "conformance":
        conformance.push_all(registry, work, *more)
    elif kind == "cluster-conformance":
        conformance.push_all(registry, work, *more[:2])
        conformance.push_more(registry, *more[1:])
    elif kind == "large":
        print(json.dumps(large.push(registry)))
    else:
        raise SystemExit(f"no such set of images: {kind}")


if __name__ == "__main__":
    if len(sys.argv) < 4:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
