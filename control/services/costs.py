"""Accounting: each plan pays for the time since the last one, and tells the records now and then.

Only what a plan saw is paid: of a gap in the plans its last minutes, and nothing of a node's last
minute that ended between two of them.
"""

from __future__ import annotations

import json

from control.domain.fleet import published
from control.domain.fleet.costs import HOUR_S, MINUTE_S, Cost, by_day, day_of, spent
from control.services import offers
from control.services.cost_ports import SHADOW, Accounted, DayPool
from control.services.fleet import Look
from control.services.ports import Cell
from control.services.upkeep import BATCH, COST

MOST_S = 300.0
"""Of a longer gap nobody knows what was there."""
TOLD_EVERY_MS = 290_000


def account(cell: Cell, seen: Look) -> bool:
    """Pays from the last plan to this one; False where another planner did. Raises StoreAway."""
    fleet = seen.fleet
    sessions = fleet.live + fleet.queued
    before = cell.store.accounted()
    if before is None:
        shadow = published.begin(fleet.now_s, sessions, fleet.bounds)
        return cell.store.account(None, Accounted(fleet.now_s, shadow), {})
    if fleet.now_s <= before.at_s:
        return False
    held = {one.worker_id: one.held for one in seen.observed.workers}
    price = offers.pricing(cell, (published.POOL.type,), fleet.now_s).of(published.POOL)
    sums: dict[DayPool, Cost] = {}
    for day, begin_s, end_s in by_day(max(before.at_s, fleet.now_s - MOST_S), fleet.now_s):
        pools = spent(fleet.nodes, held, begin_s, end_s)
        sums |= {(day, pool): cost for pool, cost in pools.items()}
        streams = sum(cost.stream_minutes for cost in pools.values())
        sums[day, SHADOW] = _shadow(before.shadow.nodes, price, end_s - begin_s, streams)
    shadow = published.step(before.shadow, fleet.now_s, sessions, fleet.bounds)
    return cell.store.account(before, Accounted(fleet.now_s, shadow), sums)


def _shadow(nodes: int, price_usd_h: float, seconds: float, stream_minutes: float) -> Cost:
    slot_minutes = nodes * published.SLOTS * seconds / MINUTE_S
    return Cost(nodes * price_usd_h * seconds / HOUR_S, slot_minutes, stream_minutes)


def archive(cell: Cell) -> int:
    """Hands the running sums to the records' queue, every five minutes; how many.

    Again is the same: they only grow. A day is forgotten here once it is over, as accounting knows
    it, and the queue has it. Raises unavailable, StoreAway.
    """
    accounted, known = cell.store.accounted(), cell.store.costs()
    if accounted is None or not known or not cell.store.due("costs", TOLD_EVERY_MS):
        return 0
    told = [_row(cell, day, pool, cost) for (day, pool), cost in sorted(known.items())]
    for first in range(0, len(told), BATCH):
        cell.queue.send(told[first : first + BATCH])
    over = sorted({day for day, _ in known if day < day_of(accounted.at_s)})
    if over:
        cell.store.forget_costs(over)
    return len(told)


def _row(cell: Cell, day: str, pool: str, cost: Cost) -> str:
    row = {"kind": COST, "cell": cell.name, "region": cell.region, "day": day, "pool": pool}
    sums = {"usd": cost.usd, "slot_minutes": cost.slot_minutes}
    return json.dumps(row | sums | {"stream_minutes": cost.stream_minutes})
