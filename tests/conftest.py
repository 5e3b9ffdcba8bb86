"""Servers that tests share: each started once a process, and gone with it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from control.adapters import records
from ops.cell.postgres import remove_outside_data, start_postgres
from ops.cell.supervisor import Supervisor
from ops.cell.valkey import start_valkey


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Valkey of this process's own, or the server that RAPIDO_TEST_STORE_URL names."""
    if given := os.environ.get("RAPIDO_TEST_STORE_URL"):
        yield given
        return
    folder = tmp_path_factory.mktemp("valkey")
    supervisor = Supervisor(folder / "logs", lambda death: pytest.exit(death.describe()))
    try:
        yield start_valkey(supervisor, folder)
    finally:
        supervisor.stop_all()


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real PostgreSQL with the cell's tables, made twice over: again is the same."""
    folder = tmp_path_factory.mktemp("postgres")
    supervisor = Supervisor(folder / "logs", lambda death: pytest.exit(death.describe()))
    try:
        url = start_postgres(supervisor, folder)
        for _ in range(2):
            records.migrate(url)
        yield url
    finally:
        supervisor.stop_all()
        remove_outside_data(folder)
