"""Servers that tests share: each started once, and gone with the run."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from ops.cell.supervisor import Supervisor
from ops.cell.valkey import start_valkey


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Valkey of this run's own, or the server that RAPIDO_TEST_STORE_URL names."""
    if given := os.environ.get("RAPIDO_TEST_STORE_URL"):
        yield given
        return
    folder = tmp_path_factory.mktemp("valkey")
    supervisor = Supervisor(folder / "logs", lambda death: pytest.exit(death.describe()))
    try:
        yield start_valkey(supervisor, folder)
    finally:
        supervisor.stop_all()
