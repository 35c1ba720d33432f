#!/usr/bin/env python3
"""terminal.py ROWS COLUMNS INPUT COMMAND...: runs a command on a terminal of that size, types INPUT (with Python's escapes)
once the command has printed something, prints what it shows, and ends with its exit code."""
import fcntl
import os
import pty
import select
import struct
import sys
import termios
import time

rows, columns, typed, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:]
typed = typed.encode().decode("unicode_escape").encode("latin-1")
LIMIT = 30

child, terminal = pty.fork()
if child == 0:
    # The size is there before the command looks.
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    os.execvp(command[0], command)

end = time.monotonic() + LIMIT
shown = b""
while True:
    ready, _, _ = select.select([terminal], [], [], max(0, end - time.monotonic()))
    if not ready:
        sys.stdout.buffer.write(shown)
        sys.exit("terminal.py: the command did not end in time")
    try:
        piece = os.read(terminal, 65536)
    except OSError:
        break  # EIO: the command has ended
    if not piece:
        break
    shown += piece
    if typed:
        os.write(terminal, typed)
        typed = b""
sys.stdout.buffer.write(shown)
sys.stdout.flush()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF)
