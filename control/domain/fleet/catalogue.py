"""What instance types bring and cost, until something better is known.

The published figures are the default; what the region's price list and spot market say goes over
the prices, what workers of a type measured goes over its slots.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

from control.domain.fleet.state import Market, Pool

STALE_AFTER_S = 6 * 3600.0
"""A price that was not seen anew for that long is not gone by."""
ABSURD_FACTOR = 10.0
"""A price over that many times the published one is a fault of its source."""
MOST_SLOTS = 1000
"""A worker that measures more is not believed."""


@dataclass(frozen=True)
class InstanceType:
    """One size of machine."""

    name: str
    slots: int
    """Published where there is such a figure, else by the host: three streams a vCPU."""
    boot_s: float
    on_demand_usd_h: float
    """us-east-1."""


PUBLISHED: Mapping[str, InstanceType] = {
    one.name: one
    for one in (
        InstanceType("g5.xlarge", 12, 90.0, 1.006),
        InstanceType("g5.2xlarge", 24, 90.0, 1.212),
        InstanceType("g4dn.2xlarge", 8, 120.0, 0.752),
        InstanceType("g6.xlarge", 12, 90.0, 0.8048),
        InstanceType("g6e.xlarge", 12, 90.0, 1.861),
    )
}


def price_fault(price_usd_h: float, published_usd_h: float, age_s: float = 0.0) -> str | None:
    """What is wrong with a price, in words, or None where it may be gone by."""
    if not isfinite(price_usd_h) or price_usd_h <= 0:
        return f"{price_usd_h} $ an hour is no price"
    if price_usd_h > published_usd_h * ABSURD_FACTOR:
        return f"{price_usd_h} $ an hour is over {ABSURD_FACTOR:g} times the published price"
    if price_usd_h < published_usd_h / ABSURD_FACTOR / 2:
        return f"{price_usd_h} $ an hour is under a {2 * ABSURD_FACTOR:g}th of the published price"
    if age_s > STALE_AFTER_S:
        return f"it was seen {age_s / 3600:.0f} hours ago"
    return None


def believed_slots(measured: int | None, published: int) -> int:
    """Slots that a type is planned with; a figure no machine can have is not believed."""
    if measured is None or not 0 < measured <= MOST_SLOTS:
        return published
    return measured


def pool(name: str) -> Pool:
    """From ``g5.2xlarge-spot``. Raises ValueError for a name of no pool."""
    type_name, _, market = name.partition("-")
    markets: dict[str, Market] = {"spot": "spot", "on-demand": "on-demand"}
    if not type_name or market not in markets:
        raise ValueError(f"{name!r} is no pool; it is TYPE-on-demand or TYPE-spot")
    return Pool(type_name, markets[market])
