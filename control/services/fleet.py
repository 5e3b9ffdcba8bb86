"""The fleet as it is: groups, prices and the store's workers, joined into nodes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from control.domain.fleet.catalogue import MOST_SLOTS, PUBLISHED
from control.domain.fleet.state import Bounds, Fleet, Node, NodeState
from control.services.offers import Pricing, offers, pricing, slots_of
from control.services.planner_ports import Observed, ObservedWorker
from control.services.ports import Cell
from control.services.scaling_ports import Group, Instance

SHORTAGE_BAN_S = 600.0
"""A pool whose group launched in vain is left alone for that long."""
STANDING_S = 120.0
"""A peer that was not heard for that long hands nothing over."""
SILENT_S = 120.0
"""A worker that was there and is not heard for that long does not come back by itself."""


@dataclass(frozen=True)
class Look:
    """What was seen; ``notes`` are what a person should know of it."""

    fleet: Fleet
    groups: tuple[Group, ...]
    observed: Observed
    notes: tuple[str, ...] = ()


def look(cell: Cell) -> Look:
    """This moment's fleet. Raises GroupsAway, StoreAway.

    A launch that failed, whoever wanted it, bans its pool from here on.
    """
    assert cell.scaling is not None
    seen = cell.store.observe()
    now_s = seen.now_ms / 1000
    groups, notes = heed_failures(cell, now_s)
    for one in groups:
        if one.pool.type not in PUBLISHED:
            notes.append(f"{one.pool.name} is not planned with: the catalogue lacks its type")
    groups = tuple(one for one in groups if one.pool.type in PUBLISHED)
    measured = _measured(cell, groups, seen)
    prices = pricing(cell, sorted({one.pool.type for one in groups}), now_s)
    bounds = _bounds(cell.scaling.bounds, groups)
    if bounds.least < cell.scaling.bounds.least:
        notes.append(
            f"the groups' maxima allow {bounds.most} nodes; {cell.scaling.bounds.least} are asked"
        )
    asked = cell.store.asked()
    fleet = Fleet(
        region=cell.region,
        now_s=now_s,
        nodes=tuple(_nodes(cell, groups, seen, prices, measured)),
        offers=offers(groups, prices, measured),
        bounds=bounds,
        live=seen.live,
        queued=seen.queued,
        banned={
            pool: ban.until_s for pool, ban in cell.store.bans().items() if ban.until_s > now_s
        },
        asked=asked.slots if asked is not None and asked.until_s > now_s else 0,
        spilled=_spilled(cell, seen.now_ms),
    )
    return Look(fleet, groups, seen, (*notes, *prices.faults, *_changed_by_hand(groups)))


def _spilled(cell: Cell, now_ms: int) -> int:
    """This cell's part of what its peers are short of: each one's is shared by all others."""
    standings = cell.store.standings(now_ms)
    fresh = [one for one in standings.values() if one.age_s < STANDING_S]
    return sum(math.ceil(one.short_slots / max(1, len(cell.peers))) for one in fresh)


def heed_failures(cell: Cell, now_s: float) -> tuple[tuple[Group, ...], list[str]]:
    """Bans pools that wait for nodes in vain, and takes those off their desired capacity again:
    else they come when nobody counts on them any more. Each failure does so once.
    """
    assert cell.scaling is not None
    groups = cell.scaling.pools.pools()
    notes = []
    waiting = {one.pool.name for one in groups if one.missing}
    for one in cell.scaling.pools.failures(groups, now_s - SHORTAGE_BAN_S) if waiting else ():
        if one.pool not in waiting:
            continue  # another zone had what this one lacked
        where = f" in {one.zone}" if one.zone else ""
        if cell.store.ban(one.pool, one.at_s + SHORTAGE_BAN_S, f"{one.kind}{where}: {one.text}"):
            off = cell.scaling.pools.settle(one.pool)
            notes.append(f"{one.pool} banned, {one.kind}{where}; {off} nodes taken off: {one.text}")
    return (cell.scaling.pools.pools() if notes else groups), notes


def _measured(cell: Cell, groups: Sequence[Group], seen: Observed) -> dict[str, int]:
    """Slots by type: the median of its ready workers, else what was measured last."""
    types = {node.node_id: one.pool.type for one in groups for node in one.instances}
    told: dict[str, list[int]] = {}
    for worker in seen.workers:
        if worker.worker_id in types and serves(worker) and worker.slots <= MOST_SLOTS:
            told.setdefault(types[worker.worker_id], []).append(worker.slots)
    now = {name: int(median(slots)) for name, slots in told.items()}
    cell.store.put_measured(now)
    return cell.store.measured() | now


def _bounds(asked: Bounds, groups: Sequence[Group]) -> Bounds:
    """No more than the groups may have, and never a least over the most."""
    most = min(asked.most, sum(one.most for one in groups))
    return Bounds(min(asked.least, most), most)


def _nodes(
    cell: Cell,
    groups: Sequence[Group],
    seen: Observed,
    prices: Pricing,
    measured: Mapping[str, int],
) -> Iterator[Node]:
    """Each instance, and each node that is wanted and has none yet."""
    assert cell.scaling is not None
    boot_limit_s = cell.scaling.boot_limit_s
    now_s = seen.now_ms / 1000
    workers = {one.worker_id: one for one in seen.workers}
    quiet = [one.node_id for g in groups for one in g.instances if _quiet(one, workers)]
    silent = cell.store.silent(quiet, now_s)
    for group in groups:
        slots = slots_of(group.pool.type, measured)
        for one in group.instances:
            worker = workers.get(one.node_id)
            state = _state(one, worker)
            launched_s = one.launched_s if one.launched_s is not None else now_s
            late = False
            if state == "booting":
                limit_s = SILENT_S if worker and not worker.alive else boot_limit_s
                since_s = max(launched_s, silent[one.node_id]) if worker else launched_s
                late = now_s - since_s > limit_s
            announced = worker.slots if worker is not None and state != "booting" else slots
            yield Node(
                node_id=one.node_id,
                pool=group.pool,
                state=state,
                slots=announced if announced <= MOST_SLOTS else slots,
                used=worker.used if worker is not None else 0,
                since_s=launched_s,
                price_usd_h=prices.of(group.pool, one.zone),
                healthy=one.healthy and not late,
            )
        for number in range(group.missing):
            yield Node(
                node_id=f"{group.pool.name}+{number + 1}",
                pool=group.pool,
                state="booting",
                slots=slots,
                used=0,
                since_s=now_s,
                price_usd_h=prices.of(group.pool),
            )


def serves(worker: ObservedWorker) -> bool:
    """It announces slots, closed or not; a sick one announces none."""
    return worker.alive and worker.state == "ready" and worker.slots > 0


def _quiet(instance: Instance, workers: Mapping[str, ObservedWorker]) -> bool:
    return _state(instance, workers.get(instance.node_id)) == "booting"


def _state(instance: Instance, worker: ObservedWorker | None) -> NodeState:
    """A worker that was there and is not heard, or warms anew, is as one that boots."""
    if instance.leaving or (worker is not None and worker.drained):
        return "leaving"
    if worker is None or not serves(worker):
        return "booting"
    return "closed" if worker.order is None else "ready"


def _changed_by_hand(groups: Sequence[Group]) -> Iterator[str]:
    """A desired capacity under what is there: nobody but a person lowers it so."""
    for one in groups:
        if one.there > one.desired:
            yield (
                f"{one.pool.name} wants {one.desired} nodes and has {one.there}: its desired "
                "capacity was lowered by hand; its nodes are protected and stay until released"
            )
