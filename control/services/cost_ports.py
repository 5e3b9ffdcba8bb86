"""What accounting needs: a cell's running sums in its store, all cells' days in the records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal, Protocol

from control.domain.fleet.costs import Cost
from control.domain.fleet.published import Shadow

SHADOW = "published"
"""Stands where a pool's name does: what the published policy would have paid."""
By = Literal["pool", "region", "tenant", "lesson"]
DayPool = tuple[str, str]
"""Day, UTC (``2027-01-31``), and pool."""


@dataclass(frozen=True)
class Accounted:
    """Up to when the fleet is paid, by the store's clock, and the shadow then."""

    at_s: float
    shadow: Shadow


class CostStore(Protocol):
    """docs/store.md, Costs. Raises StoreAway."""

    def accounted(self) -> Accounted | None:
        """None: nothing was yet."""

    def account(
        self, before: Accounted | None, now: Accounted, costs: Mapping[DayPool, Cost]
    ) -> bool:
        """Adds to the sums of its day; False, and nothing is, where another was quicker than
        ``before``: no time is paid twice."""

    def costs(self) -> dict[DayPool, Cost]:
        """Sums of the days that are kept."""

    def forget_costs(self, days: Sequence[str]) -> None: ...


@dataclass(frozen=True)
class CostRow:
    """A pool, region, tenant or ``tenant/lesson``."""

    name: str
    usd: float
    stream_minutes: float


@dataclass(frozen=True)
class CostSums:
    """Of all cells."""

    usd: float
    slot_minutes: float
    stream_minutes: float
    published_usd: float


class Costs(Protocol):
    """In PostgreSQL. Raises unavailable."""

    def report(self, by: By, first: date, last: date, most: int) -> tuple[CostSums, list[CostRow]]:
        """Of these days, both included; rows dearest first."""
