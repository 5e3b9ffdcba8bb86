"""How good the forecast was, by what the store kept of it: plain sums, for people."""

from __future__ import annotations

from dataclasses import dataclass

from control.services.ports import Cell

BIN_S = 300.0
"""As the forecast's; this module is read where that one cannot be."""
AHEAD_BINS = 3
"""A quarter of an hour."""
MOST_DAYS = 34
EPOCH_S = 3 * 86_400
"""Bins count from the Monday before the Unix epoch."""


@dataclass(frozen=True)
class Quality:
    """Mean absolute errors a quarter of an hour ahead, in sessions, over so many bins."""

    bins: int
    sessions: float
    """What they are errors of, on average."""
    forecast: float
    persistence: float
    """Of taking the last whole bin for the one to come."""

    @property
    def ratio(self) -> float | None:
        """Under 1 is better than persistence; None where that made no error."""
        return self.forecast / self.persistence if self.persistence else None


def quality(cell: Cell, days: int) -> Quality | None:
    """Of the last ``days``; None where nothing was foreseen yet. Raises StoreAway."""
    now_s = cell.store.observe().now_ms / 1000
    last = int((now_s + EPOCH_S) // BIN_S) - 1
    first = last - round(days * 86_400 / BIN_S)
    known = cell.store.demand(first - AHEAD_BINS - 1, last)
    foreseen = cell.store.foreseen(first, last)
    judged = [n for n in foreseen if n in known and n - AHEAD_BINS - 1 in known]
    if not judged:
        return None
    count = len(judged)
    return Quality(
        count,
        sum(known[n].live for n in judged) / count,
        sum(abs(foreseen[n] - known[n].live) for n in judged) / count,
        sum(abs(known[n - AHEAD_BINS - 1].live - known[n].live) for n in judged) / count,
    )
