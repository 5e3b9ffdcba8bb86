"""Where one stands in the queue: first come, first served within a tenant, weighted turns between.

Each tenant with a queue has a next turn in virtual time; serving it moves that turn by 1 ÷ weight,
so a tenant of weight 2 is served twice as often. The store keeps the turns (docs/store.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """One tenant's queue: its next turn in virtual time, its weight, how many wait."""

    tenant: str
    turn: float
    weight: float
    length: int


def position(tenant: str, rank: int, lines: Iterable[Line]) -> int:
    """1 for who is served next; ``rank`` counts those of the same tenant that came before.

    Raises KeyError where the tenant has no line.
    """
    known = {line.tenant: line for line in lines}
    own = known.pop(tenant)
    mine = own.turn + rank / own.weight
    return rank + 1 + sum(_served_before(line, mine, tenant) for line in known.values())


def _served_before(line: Line, turn: float, tenant: str) -> int:
    """How many of the line are served before that turn of the tenant's; equal turns go by name."""
    steps = (turn - line.turn) * line.weight
    if steps < 0:
        return 0
    whole = math.floor(steps)
    count = whole + 1
    if whole == steps and line.tenant > tenant:
        count = whole
    return min(line.length, count)


def estimated_wait_s(place: int, pace_ms: float | None) -> float | None:
    """From the observed interval between slots handed over; None before any was observed."""
    return None if pace_ms is None else place * pace_ms / 1000
