"""The images that the tests pull, made of this machine's own programs.

Upstream's references, by path alone: one registry stands in for all that the suite names, since no two of their paths
collide. What the suite needs of each image (and would silently miss) is said where the image is made."""

import os
import shutil
import subprocess

from layer import Layer

SHELL = {"Cmd": ["sh"]}
CRI_TOOLS = "k8s-staging-cri-tools/"
USERS = """root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
bin:x:2:2:bin:/bin:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
nobody:x:65534:65534:nobody:/home:/bin/false
"""
GROUPS = """root:x:0:
daemon:x:1:
bin:x:2:
tty:x:5:
www-data:x:33:
nogroup:x:65534:
"""
NGINX = """user www-data;
worker_processes 1;
pid /var/run/nginx.pid;
error_log stderr notice;
events { worker_connections 64; }
http {
  access_log /dev/stdout;
  types { text/html html; }
  server { listen PORT; location / { root /usr/share/nginx/html; index index.html; } }
}
"""
NGINX_CONFIG = {"Cmd": ["nginx", "-g", "daemon off;"], "StopSignal": "SIGQUIT", "ExposedPorts": {"80/tcp": {}}}
PAUSE_CONFIG = {"Entrypoint": ["/pause"], "User": "65535:65535", "WorkingDir": "/"}
# PID 1 of a pod for runtimes that want one: ends at once when told to, reaps what it is left with.
PAUSE = """
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
static void end(int s) { (void)s; _exit(0); }
static void reap(int s) { (void)s; while (waitpid(-1, 0, WNOHANG) > 0); }
int main(void) { signal(SIGINT, end); signal(SIGTERM, end); signal(SIGCHLD, reap); for (;;) pause(); }
"""


def found(name):
    """The real path of a program of this machine."""
    path = shutil.which(name)
    if not path:
        raise RuntimeError(f"the program {name} is missing")
    return os.path.realpath(path)


def busybox(marker=None):
    """The base of all: Debian's dynamic busybox.

    Applets are hard links: a test that masks /bin/ls would mask all of busybox behind a symlink. The static build
    will not do: its shell runs applets without executing them. It has neither pgrep nor ipcs, which the suite calls."""
    program = found("busybox")
    layer = Layer()
    for name in ("dev", "etc", "home", "proc", "run", "sys", "usr/sbin", "var/log"):
        layer.directory(name)
    layer.directory("root", 0o700)
    layer.directory("tmp", 0o1777)
    layer.directory("var/tmp", 0o1777)
    layer.symlink("var/run", "/run")
    layer.program(program, "/bin/busybox")
    for applet in subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split():
        layer.hard_link("/bin/" + applet, "/bin/busybox")
    layer.program(found("pgrep"), "/usr/bin/pgrep")
    layer.program(found("ipcs"), "/usr/bin/ipcs")
    layer.file("/etc/passwd", USERS)
    layer.file("/etc/group", GROUPS)
    if marker:
        layer.file("/" + marker)
    return layer.done()


def marked(name):
    """A layer that holds nothing but an empty file of that name, so that two images differ."""
    layer = Layer()
    layer.file("/" + name)
    return layer.done()


def predefined_group():
    """A user who is in a group by the image's /etc/group alone."""
    layer = Layer()
    layer.file("/etc/passwd", USERS + "default-user:x:1000:1000::/home/default-user:/bin/sh\n")
    layer.file("/etc/group", GROUPS + "default-user:x:1000:\ngroup-defined-in-image:x:50000:default-user\n")
    return layer.done()


def nginx(unpacked, port):
    """Debian's nginx with a configuration of ours: its own also listens on IPv6, which a pod may lack."""
    layer = Layer()
    layer.program(os.path.join(unpacked, "usr/sbin/nginx"), "/usr/sbin/nginx")
    for name in ("body", "proxy", "fastcgi", "uwsgi", "scgi"):
        layer.directory("/var/lib/nginx/" + name)
    layer.directory("/var/log/nginx")
    layer.file("/usr/share/nginx/html/index.html", "<html><body><h1>Welcome to nginx!</h1></body></html>\n")
    layer.file("/etc/nginx/nginx.conf", NGINX.replace("PORT", str(port)))
    return layer.done()


def httpd():
    """A web server whose log says "httpd"."""
    layer = Layer()
    layer.file("/www/index.html", "<html><body><h1>It works!</h1></body></html>\n")
    layer.file("/bin/httpd-foreground", "#!/bin/sh\necho 'httpd: serving'\nexec httpd -f -p 80 -h /www\n", 0o755)
    return layer.done()


def no_new_privileges():
    """A set-user-id program that says who it runs as: coreutils' id, for busybox drops such a right by itself."""
    layer = Layer()
    layer.program(found("id"), "/suid-id", 0o4755)
    layer.file("/nnp", '#!/bin/sh\necho "Effective uid: $(/suid-id -u)"\n', 0o755)
    return layer.done()


def pause(work):
    """A static program that waits."""
    source, program = os.path.join(work, "pause.c"), os.path.join(work, "pause")
    with open(source, "w", encoding="utf-8") as file:
        file.write(PAUSE)
    subprocess.run(["gcc", "-Os", "-static", "-s", "-o", program, source], check=True)
    layer = Layer()
    layer.copy(program, "/pause", 0o755)
    return layer.done()


def push_all(registry, work, nginx_files):
    """Pushes every image that critest 1.36 and the other tests name."""
    base = busybox()
    registry.push(["e2e-test-images/busybox:1.29-2"], [base], SHELL)
    for name in ("test-image-1", "test-image-2", "test-image-3", "test-image-latest", "test-image-digest"):
        registry.push([f"{CRI_TOOLS}{name}:latest"], [base, marked(name)], SHELL)
    registry.push([f"{CRI_TOOLS}test-image-tags:{tag}" for tag in (1, 2, 3)], [base, marked("same-image")], SHELL)
    for tag in ("test", "all"):
        registry.push([f"{CRI_TOOLS}test-image-tag:{tag}"], [base, marked(tag)], SHELL)
    users = {"uid": "1002", "username": "www-data", "uid-group": "1003:1004", "username-group": "www-data:1004"}
    for name, user in users.items():
        registry.push([f"{CRI_TOOLS}test-image-user-{name}:latest"], [base], {**SHELL, "User": user})
    registry.push([f"{CRI_TOOLS}test-image-predefined-group:latest"], [base, predefined_group()],
                  {**SHELL, "User": "1000"})

    registry.push(["e2e-test-images/nginx:1.14-2"], [base, nginx(nginx_files, 80)], NGINX_CONFIG)
    registry.push([f"{CRI_TOOLS}hostnet-nginx-amd64:latest"], [base, nginx(nginx_files, 12003)],
                  {**NGINX_CONFIG, "ExposedPorts": {"12003/tcp": {}}})
    registry.push(["e2e-test-images/httpd:2.4.39-4"], [base, httpd()],
                  {"Cmd": ["httpd-foreground"], "ExposedPorts": {"80/tcp": {}}})
    registry.push(["e2e-test-images/nonewprivs:1.3"], [base, no_new_privileges()], {"Entrypoint": ["/nnp"]})

    waiting = pause(work)
    registry.push(["pause:3.9"], [waiting], PAUSE_CONFIG)
    # What a runtime with pause containers uses must be another image than the one whose tags the suite counts.
    registry.push(["pause:3.10"], [waiting], PAUSE_CONFIG, author="the peer's pod image")
    # The suite's benchmarks: they share no layer, so that a pull always moves all of the bytes.
    for tag in ("1.35.0-glibc", "1-uclibc", "1", "1-glibc", "1-musl"):
        registry.push([f"docker/library/busybox:{tag}"], [busybox("benchmark-" + tag)], SHELL)
