"""What the same week would cost one who knew it: a bound from below, region by region.

For each five minutes the cheapest mix that holds the greatest demand in them and in one boot after
them (who serves then must have been launched), with the planner's own bounds: any one pool may
vanish, spot's share, the region's least and most nodes, pools that have capacity. It drains nothing
and launches for nothing, so no policy reaches it.
"""

from __future__ import annotations

from collections.abc import Sequence

from control.domain.fleet import mix
from control.domain.fleet.catalogue import PUBLISHED
from control.domain.fleet.planning import Policy
from ops.simulate.fleet.concurrency import SAMPLE_S, at_once
from ops.simulate.fleet.region import Region
from ops.simulate.fleet.weeks import HOUR_S, Lesson

_STEP_S = 300.0


def usd(
    region: Region, lessons: Sequence[Lesson], policy: Policy, begin_s: float, end_s: float
) -> float:
    """Dollars of one region from ``begin_s`` to ``end_s``, for its own lessons."""
    mine = [one for one in lessons if one.region == region.name]
    boot_s = max(PUBLISHED[pool.type].boot_s for pool in region.zones)
    needs = peaks(mine, begin_s, end_s, boot_s)
    total = 0.0
    for step, need in enumerate(needs):
        at_s = begin_s + step * _STEP_S
        found = mix.solve(_ask(region, policy, float(need), at_s))
        if found is None:
            raise RuntimeError(
                f"no mix for {need} slots in {region.name}: give the solver more time"
            )
        prices = {pool.name: _price(region, pool.name, at_s) for pool in region.zones}
        total += (
            sum(n * (prices[name] or 0.0) for name, n in found.nodes.items()) * _STEP_S / HOUR_S
        )
    return total


def peaks(lessons: Sequence[Lesson], begin_s: float, end_s: float, boot_s: float) -> list[int]:
    """The greatest number of lessons at once in each step and ``boot_s`` beyond it."""
    live = at_once(lessons, begin_s, end_s + boot_s + SAMPLE_S)
    each, beyond = int(_STEP_S / SAMPLE_S), int(boot_s / SAMPLE_S)
    steps = int((end_s - begin_s) / _STEP_S)
    return [int(live[i * each : (i + 1) * each + beyond].max()) for i in range(steps)]


def _ask(region: Region, policy: Policy, need: float, at_s: float) -> mix.MixAsk:
    pools = []
    for pool in region.zones:
        price = _price(region, pool.name, at_s)
        if price is not None:
            kind, most = PUBLISHED[pool.type], region.bounds.most
            pools.append(
                mix.PoolAsk(pool.name, pool.spot, kind.slots, round(price, 2), 0.0, 0, 0, most)
            )
    return mix.MixAsk(
        tuple(pools), need, 0.0, region.bounds.least, region.bounds.most, policy.keep_share * need,
        policy.spot_share, 0.0, 30.0,
    )  # fmt: skip


def _price(region: Region, name: str, at_s: float) -> float | None:
    """Of the cheapest zone that has capacity."""
    zones = next(zones for pool, zones in region.zones.items() if pool.name == name)
    there = [z.prices[i] for z in zones.values() if z.there[i := z.at(at_s)]]
    return min(there, default=None)
