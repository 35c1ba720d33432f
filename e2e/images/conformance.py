"""The images that Kubernetes' suites for nodes and for clusters (e2e_node.test and e2e.test 1.36) pull, made of this machine's own
programs and of agnhost and CoreDNS, which are built from their Go modules."""

import json
import os

import catalogue
from layer import Layer

# What its pods execute in agnhost's image beside what busybox has, some by these paths.
TOOLS = ("/bin/bash", "/usr/bin/curl", "/usr/sbin/ip", "/usr/bin/nc")
AGNHOST = {"Entrypoint": ["/agnhost"], "Cmd": ["pause"]}


def agnhost(programs):
    """agnhost, by two names, its certificate, and a user who is in a group by the image alone."""
    layer = Layer()
    for name in ("agnhost", "agnhost-2"):
        layer.copy(os.path.join(programs, "agnhost"), "/" + name, 0o755)
    for name in ("localhost.crt", "localhost.key"):
        layer.copy(os.path.join(programs, name), "/" + name, 0o644)
    layer.directory("/uploads")
    clock(layer)
    for name in TOOLS:
        layer.program(catalogue.found(os.path.basename(name)), name)
    layer.file("/etc/passwd", catalogue.USERS + "user-defined-in-image:x:1000:1000::/home/user-defined-in-image:/bin/sh\n")
    layer.file("/etc/group", catalogue.GROUPS + "user-defined-in-image:x:1000:\n"
               "group-defined-in-image:x:50000:user-defined-in-image\n")
    return layer.done()


def clock(layer):
    """nmeter, which Debian's busybox lacks, as far as the suite uses it: the time of day with milliseconds."""
    layer.program(catalogue.found("date"), "/usr/libexec/date")
    layer.file("/bin/nmeter", "#!/bin/sh\nexec /usr/libexec/date +%T.%3N\n", 0o755)


def shell():
    """A shell, first on PATH, that hands on variables whose names it cannot have itself, as that of the real image does, and
    Debian's busybox does not. /bin/sh stays busybox's, whose words for errors the suite knows."""
    layer = Layer()
    layer.program(catalogue.found("bash"), "/usr/bin/sh")
    clock(layer)
    return layer.done()


def push_all(registry, work, nginx_files, programs):
    """Pushes them, by the names that the suite has for them."""
    run = catalogue.SHELL
    base = catalogue.busybox()
    registry.push(["e2e-test-images/busybox:1.37.0-1"], [base, shell()], run)
    # A host's name with its domain is looked up in the way of glibc, which Debian's busybox has.
    registry.push(["e2e-test-images/ipc-utils:1.4", "e2e-test-images/glibc-dns-testing:2.0.0"], [base], run)
    registry.push(["e2e-test-images/nonroot:1.5"], [base], {**run, "User": "1234"})
    registry.push(["e2e-test-images/nonewprivs:1.4"], [base, catalogue.no_new_privileges()], {"Cmd": ["/nnp"]})
    registry.push(["e2e-test-images/nginx:1.15-4"], [base, catalogue.nginx(nginx_files, 80)], catalogue.NGINX_CONFIG)
    tool = agnhost(programs)
    for tag in ("2.55", "2.63.0"):
        registry.push([f"e2e-test-images/agnhost:{tag}"], [base, tool], AGNHOST, author=f"agnhost {tag}")
    registry.push(["pause:3.10.2"], [catalogue.pause(work)], catalogue.PAUSE_CONFIG)


def push_more(registry, programs, name_server):
    """Pushes, after those, what the suite for clusters pulls beside them."""
    base, tool, names = catalogue.busybox(), agnhost(programs), Layer()
    for name in ("dig", "getent"):
        names.program(catalogue.found(name), "/usr/bin/" + name)
    names = names.done()
    for tag in ("2.55", "2.63.0"):
        registry.push([f"e2e-test-images/agnhost:{tag}"], [base, tool, names], AGNHOST, author=f"agnhost {tag}")
    registry.push(["e2e-test-images/glibc-dns-testing:2.0.0"], [base, names], catalogue.SHELL)
    for name in ("nautilus", "kitten"):
        shown = Layer()
        shown.file("/data.json", json.dumps({"image": f"{name}.jpg"}))
        # A spec knows by this that it reads the image's files and not the node's.
        shown.file("/etc/os-release", 'NAME="Alpine Linux"\n')
        registry.push([f"e2e-test-images/{name}:1.8"], [base, tool, shown.done()], {**AGNHOST, "Cmd": ["test-webserver"]})
    server = Layer()
    server.copy(os.path.join(name_server, "coredns"), "/coredns", 0o755)
    registry.push(["coredns/coredns:e2e"], [server.done()], {"Entrypoint": ["/coredns"], "ExposedPorts": {"53/udp": {}, "53/tcp": {}}})
