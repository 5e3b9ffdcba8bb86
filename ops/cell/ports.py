"""Free loopback ports, for processes that must be told their address before they start."""

from __future__ import annotations

import random
import socket

FIRST, LAST = 20_000, 32_000
"""Below the range that Linux hands to outgoing connections, so none of those takes the port."""

_ATTEMPTS = 500


def free_port() -> int:
    """A port of 127.0.0.1 free for TCP and UDP; random, so that cells side by side rarely meet.

    Raises:
        OSError: no free port was met in 500 tries.
    """
    chooser = random.SystemRandom()
    for _ in range(_ATTEMPTS):
        port = chooser.randrange(FIRST, LAST)
        if _is_free(port, socket.SOCK_STREAM) and _is_free(port, socket.SOCK_DGRAM):
            return port
    raise OSError(f"no free port between {FIRST} and {LAST}: close programs that hold them")


def free_ports(count: int) -> list[int]:
    """``count`` different free ports."""
    found: set[int] = set()
    while len(found) < count:
        found.add(free_port())
    return list(found)


def _is_free(port: int, kind: socket.SocketKind) -> bool:
    with socket.socket(socket.AF_INET, kind) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
