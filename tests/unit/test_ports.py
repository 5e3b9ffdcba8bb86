"""Free ports: given once, also before anybody listens, and back when who had them is gone."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from ops.cell import ports
from ops.cell.files import ROOT

ANOTHER = """
import sys
from ops.cell import ports
ports.FIRST, ports.LAST = int(sys.argv[1]), int(sys.argv[1]) + 1
print(ports.free_port(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def one(monkeypatch: pytest.MonkeyPatch) -> int:
    """The only port that there is; nobody else looks below the usual ones."""
    port = next(
        port
        for port in range(ports.FIRST - 1, 10_000, -1)
        if port not in ports._given
        and ports._is_free(port, socket.SOCK_STREAM)
        and ports._is_free(port, socket.SOCK_DGRAM)
    )
    monkeypatch.setattr(ports, "FIRST", port)
    monkeypatch.setattr(ports, "LAST", port + 1)
    return port


def test_a_port_is_given_once(one: int) -> None:
    assert ports.free_port() == one

    with pytest.raises(OSError, match="no free port"):
        ports.free_port()


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_port_that_somebody_uses_is_not_given(one: int, kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_INET, kind) as user:
        user.bind(("127.0.0.1", one))

        with pytest.raises(OSError, match="no free port"):
            ports.free_port()


def test_a_port_of_another_process_is_its_own_until_it_is_killed(one: int) -> None:
    argv = [sys.executable, "-c", ANOTHER, str(one)]
    with subprocess.Popen(
        argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert int(other.stdout.readline()) == one

        with pytest.raises(OSError, match="no free port"):
            ports.free_port()
        other.kill()

    assert ports.free_port() == one
