"""The images that Kubernetes' suite for nodes (e2e_node.test 1.36) pulls, made of this machine's own programs and of agnhost,
which is built from its Go module."""

import os

import catalogue
from layer import Layer

# What its pods execute in agnhost's image beside what busybox has, some by these paths.
TOOLS = ("/bin/bash", "/usr/bin/curl", "/usr/sbin/ip", "/usr/bin/nc")


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
    entry = {"Entrypoint": ["/agnhost"], "Cmd": ["pause"]}
    for tag in ("2.55", "2.63.0"):
        registry.push([f"e2e-test-images/agnhost:{tag}"], [base, tool], entry, author=f"agnhost {tag}")
    registry.push(["pause:3.10.2"], [catalogue.pause(work)], catalogue.PAUSE_CONFIG)
