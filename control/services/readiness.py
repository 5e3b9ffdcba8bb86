"""Whether new sessions can be had here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from control.domain.errors import RapidoError
from control.services.ports import Cell, StoreAway

READY_WITHIN_S = 1.2


def ready(cell: Cell) -> dict[str, str]:
    """Each dependency by name: ok, or what is wrong.

    Route 53 takes no answer for a fault after two seconds: one that hangs is told, not waited for.
    """
    checks: dict[str, Callable[[], None]] = {
        "store": cell.store.ping,
        "workflows": cell.workflows.ping,
        "records": cell.records.ping,
    }
    state = dict.fromkeys(checks, f"away: no answer within {READY_WITHIN_S} s")

    def look(name: str) -> None:
        try:
            checks[name]()
            state[name] = "ok"
        except (StoreAway, RapidoError, OSError) as error:
            state[name] = f"away: {error}"

    looks = [threading.Thread(target=look, args=(name,), daemon=True) for name in checks]
    ends_s = time.monotonic() + READY_WITHIN_S
    for one in looks:
        one.start()
    for one in looks:
        one.join(max(0.0, ends_s - time.monotonic()))
    return dict(state)
