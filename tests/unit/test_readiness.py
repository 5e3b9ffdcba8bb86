"""What Route 53 is told, and when."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any, cast

from control.domain.errors import unavailable
from control.services.ports import Cell, StoreAway
from control.services.readiness import READY_WITHIN_S, ready


def cell(**pings: Any) -> Cell:
    """Three dependencies that answer, but for those given."""
    names = ("store", "workflows", "records")
    parts = {name: SimpleNamespace(ping=pings.get(name, lambda: None)) for name in names}
    return cast(Cell, SimpleNamespace(**parts))


def failing(error: Exception) -> Any:
    def ping() -> None:
        raise error

    return ping


def test_each_dependency_is_told_with_its_fault() -> None:
    state = ready(cell(store=failing(StoreAway("TimeoutError")), records=failing(OSError("gone"))))

    assert state == {"store": "away: TimeoutError", "workflows": "ok", "records": "away: gone"}
    assert ready(cell(workflows=failing(unavailable("workflows"))))["workflows"].startswith("away")


def test_one_that_hangs_is_told_and_not_waited_for() -> None:
    over = threading.Event()
    began = time.monotonic()

    state = ready(cell(records=lambda: over.wait(30)))

    took_s = time.monotonic() - began
    over.set()
    assert state["store"] == state["workflows"] == "ok"
    assert state["records"].startswith("away: no answer within")
    assert READY_WITHIN_S <= took_s < 10
