"""Plans that are kept, for people to read."""

from __future__ import annotations

import json
from typing import Any

from control.services.ports import Cell

MOST_BYTES = 4_000_000
"""Of a page: a function's answer ends at six million."""
_AT_ONCE = 10


def page(cell: Cell, limit: int, before_s: float | None) -> tuple[list[dict[str, Any]], bool]:
    """Newest first, those of before that time; and whether older ones are kept, of which the next
    page is. One plan at least, however large. Raises StoreAway.
    """
    found: list[dict[str, Any]] = []
    size = skip = 0
    while some := cell.store.plans(_AT_ONCE, skip):
        skip += len(some)
        for one in some:
            if before_s is not None and one["at_s"] >= before_s:
                continue
            if found and one == found[-1]:
                continue  # one was planned meanwhile, and moved all others
            size += len(json.dumps(one))
            if found and (len(found) == limit or size > MOST_BYTES):
                return found, True
            found.append(one)
    return found, False
