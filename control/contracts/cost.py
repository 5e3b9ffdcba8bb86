"""What operators read about costs."""

from __future__ import annotations

from datetime import date
from typing import Literal

from control.contracts.base import Message


class CostRow(Message):
    """A pool, region, tenant or ``tenant/lesson``; null where it had no stream-minute."""

    name: str
    usd: float
    stream_minutes: float
    usd_stream_minute: float | None


class FleetCost(Message):
    """``GET /api/v1/fleet/cost``: of all cells, the days ``first`` to ``last``, UTC, both included.

    ``published_usd`` is what the published policy would have paid on the same demand, and
    ``saving_percent`` how much less of it was; null where it would have paid nothing.
    """

    by: Literal["pool", "region", "tenant", "lesson"]
    first: date
    last: date
    rows: tuple[CostRow, ...]
    """The dearest first."""
    more: bool
    """There are cheaper ones that are not told."""
    usd: float
    slot_minutes: float
    stream_minutes: float
    usd_stream_minute: float | None
    published_usd: float
    saving_percent: float | None
