"""What a fleet costs, and what it gives for that: dollars, slots and streams over time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from control.domain.fleet.state import Node

HOUR_S, MINUTE_S = 3600.0, 60.0


@dataclass(frozen=True)
class Cost:
    """``slot_minutes`` are of nodes that serve or end what they served, ``stream_minutes`` of
    sessions on them."""

    usd: float = 0.0
    slot_minutes: float = 0.0
    stream_minutes: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.usd + other.usd,
            self.slot_minutes + other.slot_minutes,
            self.stream_minutes + other.stream_minutes,
        )


def spent(
    nodes: Sequence[Node], held: Mapping[str, int], begin_s: float, end_s: float
) -> dict[str, Cost]:
    """By pool, in that time, as the nodes are at its end: those that boot or leave cost too, one
    that came in between from its launch on. ``held``: of a node's leases those without a session.
    """
    sums: dict[str, Cost] = {}
    for one in nodes:
        there_s = max(0.0, end_s - max(begin_s, one.since_s))
        minutes = 0.0 if one.state == "booting" else there_s / MINUTE_S
        streams = max(0, one.used - held.get(one.node_id, 0))
        cost = Cost(one.price_usd_h * there_s / HOUR_S, one.slots * minutes, streams * minutes)
        sums[one.pool.name] = sums.get(one.pool.name, Cost()) + cost
    return sums


def by_day(begin_s: float, end_s: float) -> Iterator[tuple[str, float, float]]:
    """Day (UTC, ``2027-01-31``), begin and end of each part of that time."""
    while begin_s < end_s:
        day = datetime.fromtimestamp(begin_s, UTC).replace(hour=0, minute=0, second=0)
        midnight_s = (day.replace(microsecond=0) + timedelta(days=1)).timestamp()
        yield day.date().isoformat(), begin_s, min(end_s, midnight_s)
        begin_s = midnight_s


def day_of(at_s: float) -> str:
    """UTC, as by_day's."""
    return datetime.fromtimestamp(at_s, UTC).date().isoformat()
