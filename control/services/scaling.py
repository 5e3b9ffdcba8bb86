"""What the states of regional_scale_out do: launch, release, count, report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from control.services.fleet import SHORTAGE_BAN_S, Look, look
from control.services.ports import Cell
from control.services.scaling_ports import Asked, Group, Order

FLIGHT_S = 1800.0
"""An execution holds its place anew each time it counts; one that died frees it by then."""
MOST_SLOTS_ASKED = 100_000
ASKED_FOR_S = 1800.0
"""What was asked for by hand counts for that long; then demand alone does again."""
REPLACEMENTS, REPLACED_WITHIN_S = 2, 600.0
"""A pool that needs more is broken, and launching from it again mends nothing."""

Verdict = Literal["wait", "next", "short", "over"]


class AskRefused(Exception):
    """What regional_scale_out was started with cannot be done; the message names the field, what is
    wrong with it, and what to send instead."""


def asked(given: Mapping[str, Any], region: str, now_s: float) -> tuple[Asked | None, str]:
    """From {region, slots, reason}, each of them optional, or an event of EventBridge: the slots
    that somebody asks for, and the reason in words. Raises AskRefused.
    """
    if "detail-type" in given:
        return None, str(given["detail-type"])
    strange = sorted(set(given) - {"region", "slots", "reason"})
    if strange:
        raise AskRefused(f"{strange[0]} is no field of it; send region, slots, reason")
    if given.get("region", region) != region:
        raise AskRefused(
            f"region is {given['region']!r} and this cell's is {region!r}; start "
            "regional_scale_out there"
        )
    reason = given.get("reason", "by hand")
    if not isinstance(reason, str) or len(reason) > 200:
        raise AskRefused("reason is no text of at most 200 characters; say in a few words why")
    if "slots" not in given:
        return None, reason
    slots = given["slots"]
    if isinstance(slots, bool) or not isinstance(slots, int) or not 0 <= slots <= MOST_SLOTS_ASKED:
        raise AskRefused(
            f"slots is {slots!r}, not a whole number from 0 to {MOST_SLOTS_ASKED}; send how many "
            "slots the region is to have at least"
        )
    return Asked(slots, now_s + ASKED_FOR_S, reason), reason


def launch(cell: Cell, order: Order) -> dict[str, int]:
    """Desired capacities in force by pool; again is the same."""
    assert cell.scaling is not None
    return {pool: cell.scaling.pools.grow(pool, desired) for pool, desired in order.launch.items()}


@dataclass
class Released:
    """Nodes by what became of them; ``broken`` are pools whose budget of replacements is spent."""

    released: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


def release(cell: Cell, order: Order) -> Released:
    """Ends nodes, each only if the store says right now that nobody is on it and nobody comes.

    Their terminating hook asks once more (worker_drain). Raises GroupsAway, StoreAway.
    """
    done = Released()
    if not (order.release or order.replace):
        return done
    assert cell.scaling is not None
    groups = {one.node_id: group for group in cell.scaling.pools.pools() for one in group.instances}
    sizes = {group.name: _Size(group) for group in groups.values()}
    seen = cell.store.observe()
    drained = {one.worker_id for one in seen.workers if one.drained}
    for node in dict.fromkeys((*order.release, *order.replace)):
        group = groups.get(node)
        if group is None or _going(group, node):
            continue  # asked twice
        size = sizes[group.name]
        wanted_back = node in order.replace
        # one that is fenced already serves nobody: it goes even if another comes for it
        if size.at_least and not wanted_back and node not in drained:
            done.kept.append(node)
            continue
        if not cell.store.retire(node):
            done.kept.append(node)
            continue
        if wanted_back and _spent(cell, group.pool.name, node, seen.now_ms / 1000, done):
            wanted_back = False
        shrink = not wanted_back and size.shrinks()
        cell.scaling.pools.terminate(node, shrink=shrink)
        (done.replaced if wanted_back else done.released).append(node)
    return done


class _Size:
    """A group while its nodes are ended one after the other."""

    def __init__(self, group: Group) -> None:
        self._desired = group.desired
        self._least = group.least
        self._surplus = max(0, group.there - group.desired)

    @property
    def at_least(self) -> bool:
        """Auto Scaling refuses to lower its desired capacity."""
        return self._surplus == 0 and self._desired <= self._least

    def shrinks(self) -> bool:
        """Whether ending one more is to lower the desired capacity. Where that was lowered by hand,
        under what is there, one node less is what the group wants already."""
        if self._surplus:
            self._surplus -= 1
            return False
        if self._desired <= self._least:
            return False
        self._desired -= 1
        return True


def _going(group: Group, node_id: str) -> bool:
    return any(one.node_id == node_id and one.leaving for one in group.instances)


def _spent(cell: Cell, pool: str, node_id: str, now_s: float, done: Released) -> bool:
    """Whether the pool had its replacements: then it is banned, and shrinks by its sick nodes."""
    if cell.store.replacement(pool, node_id, now_s, REPLACED_WITHIN_S) <= REPLACEMENTS:
        return False
    why = f"over {REPLACEMENTS} nodes never came up or fell sick in {REPLACED_WITHIN_S:g} s"
    cell.store.ban(pool, now_s + SHORTAGE_BAN_S, why)
    done.broken.append(pool)
    return True


@dataclass(frozen=True)
class Count:
    """How an execution goes on: ``wait`` and count again, ``next`` to do what was handed over,
    ``short`` to plan again without the pools that had no capacity, ``over``."""

    verdict: Verdict
    missing: int = 0
    order: Order | None = None
    """What is to be done next, with the verdict ``next``."""
    notes: tuple[str, ...] = ()


def count(cell: Cell, execution: str, order: Order) -> Count:
    """Looks whether the nodes have registered. Raises GroupsAway, StoreAway."""
    if cell.store.begin_flight(execution, FLIGHT_S) != execution:
        return Count("over", notes=("another execution took its place",))
    seen = look(cell)
    following = cell.store.take_over()
    if following is not None and following.at_s > order.at_s:
        return Count("next", order=following, notes=seen.notes)
    if _short(seen, order):
        return Count("short", notes=seen.notes)
    awaited = bool(order.launch or order.replace)
    missing = sum(one.state == "booting" and one.healthy for one in seen.fleet.nodes) * awaited
    assert cell.scaling is not None
    if missing and seen.fleet.now_s - order.at_s <= cell.scaling.boot_limit_s:
        return Count("wait", missing, notes=seen.notes)
    return Count("over", missing, notes=seen.notes)


def _short(seen: Look, order: Order) -> bool:
    """A pool that was launched from was banned since and wants fewer nodes than were ordered."""
    return any(
        group.pool.name in seen.fleet.banned
        and group.desired < order.launch.get(group.pool.name, 0)
        for group in seen.groups
    )


def report(cell: Cell, execution: str, facts: Mapping[str, Any]) -> None:
    """Keeps what an execution did, and frees its place."""
    cell.store.keep_report({"execution": execution, **facts})
    cell.store.end_flight(execution)
