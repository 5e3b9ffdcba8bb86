"""What the fleet cost, for people: asked of the home cell's records."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import get_args

from control.contracts.cost import CostRow, FleetCost
from control.domain.errors import Fault, home_away, invalid
from control.services.cost_ports import By
from control.services.ports import Cell

MOST_DAYS = 92
USUAL_DAYS = 7
MOST_ROWS = 1000
_DAY = re.compile(r"\d{4}-\d\d-\d\d")


@dataclass(frozen=True)
class Asked:
    """Days, both included."""

    by: By
    first: date
    last: date


def asked(query: Mapping[str, str], now: datetime) -> Asked:
    """From ``by``, ``from`` and ``to``: the last week's pools, until something else is said.

    Raises invalid-request.
    """
    by = query.get("by", "pool")
    known = {one: one for one in get_args(By)}
    if by not in known:
        raise invalid(Fault("by", f"{by[:50]!r} is not known", f"send one of {', '.join(known)}"))
    last = _day(query, "to")
    first = _day(query, "from")
    if last is None:
        today = now.astimezone(UTC).date()
        last = max(today, first) if first is not None else today
    if first is None:
        first = date.fromordinal(max(1, last.toordinal() - USUAL_DAYS + 1))
    if first > last:
        raise invalid(Fault("from", "is after to", "ask for a day before, or the same one"))
    if (last - first).days >= MOST_DAYS:
        days = (last - first).days + 1
        remedy = f"ask for at most {MOST_DAYS} days at once"
        raise invalid(Fault("from", f"is {days} days before the end of to", remedy))
    return Asked(known[by], first, last)


def _day(query: Mapping[str, str], name: str) -> date | None:
    """Raises invalid-request."""
    text = query.get(name)
    if text is None:
        return None
    try:
        if _DAY.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise invalid(Fault(name, f"{text[:50]!r} is no day", "send a day in UTC, as 2027-01-31"))


def report(cell: Cell, ask: Asked) -> FleetCost:
    """Up to some minutes ago. Raises unavailable, where another cell keeps the records too."""
    if cell.costs is None:
        raise home_away("fleet's cost", cell.home)
    sums, rows = cell.costs.report(ask.by, ask.first, ask.last, MOST_ROWS + 1)
    saving = None
    if sums.published_usd:
        saving = round(100 * (1 - sums.usd / sums.published_usd), 1)
    return FleetCost(
        by=ask.by,
        first=ask.first,
        last=ask.last,
        rows=tuple(
            CostRow(
                name=one.name,
                usd=round(one.usd, 4),
                stream_minutes=round(one.stream_minutes, 1),
                usd_stream_minute=_each(one.usd, one.stream_minutes),
            )
            for one in rows[:MOST_ROWS]
        ),
        more=len(rows) > MOST_ROWS,
        usd=round(sums.usd, 4),
        slot_minutes=round(sums.slot_minutes, 1),
        stream_minutes=round(sums.stream_minutes, 1),
        usd_stream_minute=_each(sums.usd, sums.stream_minutes),
        published_usd=round(sums.published_usd, 4),
        saving_percent=saving,
    )


def _each(usd: float, minutes: float) -> float | None:
    return round(usd / minutes, 6) if minutes else None
