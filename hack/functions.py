#!/usr/bin/env python3
"""functions.py trace OUT PROGRAM ARGUMENT...: becomes PROGRAM, and writes to OUT which of its functions ran, when it ends.
functions.py order OUT...: prints the functions that ran, a name a line: those of the zygote and its forks first.

A breakpoint is set at each function of each process that is the program, and taken out when it is met: the kernel stops each
process once for each function. What another program becomes is let go.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
CONT, GETREGS, SETREGS, DETACH, SEIZE, LISTEN = 7, 12, 13, 17, 0x4206, 0x4208
# Forks, vforks, threads, executed programs and ends.
OPTIONS = 0b1011110
EXEC, EXIT, STOP = 4, 6, 128
# Where struct user_regs_struct has rip.
REGISTERS, RIP = 27, 16
BREAKPOINT = 0xCC
WALL = 0x40000000


class Tracer:
    """What is known of the processes that are traced."""

    def __init__(self, program, out):
        self.out = out
        self.program = os.stat(program)
        self.text = start, text = text_of(program)
        self.functions = {at: name for at, name in functions(program) if start <= at < start + len(text)}
        # Where processes have the program, and whether they come of the zygote there.
        self.of_zygote = {}
        self.ran = {False: {}, True: {}}

    def trace(self, pid):
        """Goes on until no process is left. What is told is told before the first one may end: who waits for that may end us."""
        while True:
            try:
                thread, status = os.waitpid(-1, WALL)
            except ChildProcessError:
                return
            if (thread, status >> 16) == (pid, EXIT):
                with open(self.out, "w", encoding="utf-8") as file:
                    json.dump([list(self.ran[True]), list(self.ran[False])], file)
            if os.WIFSTOPPED(status):
                self.stopped(thread, os.WSTOPSIG(status), status >> 16)

    def stopped(self, thread, number, event):
        """Has a thread go on, without what stopped it, if that was us."""
        if event == EXEC:
            if not self.executed(thread):
                ptrace(DETACH, thread)
                return
            number = 0
        elif event == STOP and number in (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU):
            ptrace(LISTEN, thread)
            return
        elif event or (number == signal.SIGTRAP and self.met(thread)):
            number = 0
        ptrace(CONT, thread, number)

    def executed(self, pid):
        """Sets breakpoints if it is the program now."""
        now = os.stat(f"/proc/{pid}/exe")
        if (now.st_dev, now.st_ino) != (self.program.st_dev, self.program.st_ino):
            return False
        with open(f"/proc/{pid}/maps", encoding="utf-8") as maps:
            base = int(next(maps).split("-")[0], 16)
        with open(f"/proc/{pid}/cmdline", "rb") as command:
            self.of_zygote[base] = command.read().split(b"\0")[1] == b"zygote"
        start, text = self.text
        text = bytearray(text)
        for at in self.functions:
            text[at - start] = BREAKPOINT
        with open(f"/proc/{pid}/mem", "r+b", 0) as memory:
            memory.seek(base + start)
            memory.write(text)
        return True

    def met(self, thread):
        """Takes out the breakpoint that a thread has met, if it has."""
        registers = (ctypes.c_ulong * REGISTERS)()
        ptrace(GETREGS, thread, registers)
        at = registers[RIP] - 1
        for base, of_zygote in self.of_zygote.items():
            name = self.functions.get(at - base)
            if name:
                break
        else:
            return False
        self.ran[of_zygote].setdefault(name)
        start, text = self.text
        with open(f"/proc/{thread}/mem", "r+b", 0) as memory:
            memory.seek(at)
            memory.write(text[at - base - start :][:1])
        registers[RIP] = at
        ptrace(SETREGS, thread, registers)
        return True


def functions(program):
    """Pairs of an address and the name of what is there."""
    listed = subprocess.run(["nm", "--defined-only", program], check=True, capture_output=True, text=True).stdout
    for line in listed.splitlines():
        address, kind, name = line.split(" ", 2)
        if kind in "tTwW":
            yield int(address, 16), name


def text_of(program):
    """The address and the bytes of the section .text."""
    listed = subprocess.run(["readelf", "-SW", program], check=True, capture_output=True, text=True).stdout
    words = next(line for line in listed.splitlines() if " .text " in line).split("]")[1].split()
    address, offset, size = (int(word, 16) for word in words[2:5])
    with open(program, "rb") as file:
        file.seek(offset)
        return address, file.read(size)


def ptrace(request, thread, data=None):
    """Asks the kernel; a thread may be gone."""
    address = ctypes.cast(data, ctypes.c_void_p) if isinstance(data, ctypes.Array) else data
    LIBC.ptrace(request, thread, None, address)


def trace(out, program, *arguments):
    """The tracer is a process of its own, and this one the program."""
    own, told = os.getpid(), os.pipe()
    if os.fork() == 0:
        os.setsid()
        tracer = Tracer(program, out)
        ptrace(SEIZE, own, OPTIONS)
        os.close(told[1])
        os.close(told[0])
        tracer.trace(own)
        os._exit(0)
    os.close(told[1])
    os.read(told[0], 1)
    os.execv(program, [program, *arguments])


def order(*paths):
    """Merges what traces say."""
    zygote, daemon = {}, {}
    for path in paths:
        with open(path, encoding="utf-8") as file:
            for into, names in zip((zygote, daemon), json.load(file)):
                into.update(dict.fromkeys(names))
    if not zygote or not daemon:
        raise SystemExit("no zygote was traced, or no daemon")
    print(*(zygote | daemon), sep="\n")


if __name__ == "__main__":
    {"trace": trace, "order": order}[sys.argv[1]](*sys.argv[2:])
