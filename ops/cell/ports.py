"""Free loopback ports, for processes that must be told their address before they start.

Who is given a port has it until its process ends, whether anybody listens there yet or not: cells
and tests that start side by side never get the same one.
"""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
import threading
from functools import cache
from pathlib import Path

FIRST, LAST = 20_000, 32_000
"""Below the range that Linux hands to outgoing connections, so none of those takes the port."""

_ATTEMPTS = 500
_given: set[int] = set()
_asking = threading.Lock()


def free_port() -> int:
    """A port of 127.0.0.1 that is free for TCP and UDP, and the caller's alone; a random one.

    Raises:
        OSError: no free port was met in 500 tries.
    """
    chooser = random.SystemRandom()
    for _ in range(_ATTEMPTS):
        port = chooser.randrange(FIRST, LAST)
        if _is_free(port, socket.SOCK_STREAM) and _is_free(port, socket.SOCK_DGRAM) and _take(port):
            return port
    raise OSError(f"no free port between {FIRST} and {LAST}: close programs that hold them")


def free_ports(count: int) -> list[int]:
    """``count`` different free ports."""
    return [free_port() for _ in range(count)]


def _is_free(port: int, kind: socket.SocketKind) -> bool:
    with socket.socket(socket.AF_INET, kind) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _take(port: int) -> bool:
    """False where it was given before, here or to another process of this user.

    A port is a byte of a file that is locked: the system gives it back, however a process ends.
    """
    with _asking:
        if port in _given:
            return False
        try:
            fcntl.lockf(_locks(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
        except OSError:
            return False
        _given.add(port)
        return True


@cache
def _locks() -> int:
    """The file, which is never closed: that would give every port back."""
    path = Path(tempfile.gettempdir()) / f"rapido-ports-{os.geteuid()}"
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
