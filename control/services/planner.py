"""Each minute: look, plan, tell the store; what takes nodes is handed to regional_scale_out.

Imports the forecast and the planner, which need packages that only PlanFunction carries.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any

from control.domain.fleet.planning import Policy, plan, record
from control.domain.fleet.state import Fleet, Outlook, Plan
from control.services import costs, demand, offers, sessions
from control.services.fleet import Look, look
from control.services.ports import Cell
from control.services.scaling import FLIGHT_S, AskRefused, asked
from control.services.scaling_ports import Order

PLANNING_MS = 50_000
"""A planner that takes longer died: PlanFunction's own Timeout."""

Decide = Callable[[Fleet, Outlook, Policy], Plan]
_SHARES = frozenset({"quantile", "keep_share", "spot_share"})


@dataclass(frozen=True)
class Planned:
    """What was decided: the order, empty where no node comes or goes."""

    look: Look
    decided: Plan
    order: Order


class PlanningNow(Exception):
    """Another planner plans this cell at this moment; ask again in some seconds."""


class PolicyRefused(Exception):
    """A setting of the planner's that it does not have, or that cannot be."""


def policy_of(settings: Mapping[str, float]) -> Policy:
    """The planner's settings, those given in place of its own. Raises PolicyRefused."""
    known = {one.name for one in fields(Policy)}
    for name, value in settings.items():
        if name not in known:
            raise PolicyRefused(f"FleetPolicy has no {name}; it has {', '.join(sorted(known))}")
        most = 1.0 if name in _SHARES else math.inf
        if not 0 <= value <= most or not math.isfinite(value):
            raise PolicyRefused(f"FleetPolicy's {name} is {value}; give 0 to {most:g}")
    if settings.get("quantile", 0.5) in (0.0, 1.0):
        raise PolicyRefused("FleetPolicy's quantile is 0 or 1; give one between, as in 0.97")
    return replace(Policy(), **settings)


@contextmanager
def _planning(cell: Cell) -> Iterator[None]:
    """One planner at a time, until its order is in an execution's hands. Raises PlanningNow."""
    if not cell.store.due("plan", PLANNING_MS):
        raise PlanningNow(f"another planner plans {cell.name} now")
    try:
        yield
    finally:
        cell.store.release("plan")


def planned(cell: Cell, reason: str, decide: Decide) -> Planned:
    """One plan. What it says of workers is in the store when this returns."""
    assert cell.scaling is not None
    policy = policy_of(cell.scaling.policy)
    notes = offers.refresh(cell, cell.store.observe().now_ms / 1000)
    seen = look(cell)
    seen = replace(seen, notes=(*notes, *seen.notes))
    costs.account(cell, seen)
    outlook = demand.outlook_for(cell, seen.fleet, seen.observed, policy.quantile)
    decided = decide(seen.fleet, outlook, policy)
    _tell_workers(cell, seen.fleet, decided)
    # a region's own shortage alone: what peers spill here must not go round
    short = float(decided.why.get("short_slots", 0.0))
    cell.store.put_short(max(0, math.ceil(short) - seen.fleet.spilled))
    done = Planned(seen, decided, order_of(seen, decided))
    kept = {"at_s": seen.fleet.now_s, "reason": reason, "notes": list(seen.notes)}
    kept |= {"order": done.order.text(), **record(seen.fleet, outlook, policy, decided)}
    cell.store.keep_plan(kept)
    return done


def _tell_workers(cell: Cell, fleet: Fleet, decided: Plan) -> None:
    """Closing and reopening touch no session that is there; only who gets the next one."""
    states = {one.node_id: one.state for one in fleet.nodes}
    values: dict[str, float | None] = {
        node: value
        for node, value in decided.order.items()
        if states.get(node) == "ready" or node in decided.reopen
    }
    for node in decided.reopen:
        if states.get(node) == "closed":
            values.setdefault(node, 0.0)
    for node in decided.close:
        if states.get(node) in ("ready", "closed"):
            values[node] = None
    ordered = cell.store.order(values)
    sessions.drive_handed(cell, ordered.handed)


def order_of(seen: Look, decided: Plan) -> Order:
    """The plan as an execution can do it twice without doing more.

    What the plan may not do is left out here, whatever it says: no node beyond the bounds (those
    that leave count), nothing from a banned pool, no end of a node that is open or has a lease.
    """
    fleet = seen.fleet
    nodes = {one.node_id: one for one in fleet.nodes}
    groups = {one.pool.name: one for one in seen.groups}
    room = max(0, fleet.bounds.most - len(fleet.nodes))
    launch = {}
    for pool, wished in decided.launch.items():
        if pool not in groups or pool in fleet.banned:
            continue
        group = groups[pool]
        there = max(group.desired, group.there)
        more = min(wished, room, group.most - there)
        if more > 0:
            launch[pool] = there + more
            room -= more
    idle = {name for name, one in nodes.items() if one.used == 0}
    closed = {name for name in idle if nodes[name].state == "closed"}
    sick = {name for name in idle if not nodes[name].healthy and nodes[name].state != "leaving"}
    return Order(
        launch=launch,
        release=(*(one for one in decided.release if one in closed), *_drained(seen, idle)),
        replace=tuple(one for one in decided.replace if one in sick),
        at_s=fleet.now_s,
    )


def _drained(seen: Look, idle: set[str]) -> Iterator[str]:
    """Nodes that an operator, a notice or a recommendation fenced, whose last lesson is over, and
    that their group still keeps."""
    kept = {one.node_id for g in seen.groups for one in g.instances if not one.leaving}
    for one in seen.fleet.nodes:
        if one.state == "leaving" and one.node_id in idle & kept:
            yield one.node_id


def tick(cell: Cell, decide: Decide = plan) -> dict[str, Any]:
    """Every minute. A tick that finds another at work leaves it to that one; one that comes after
    an hour without any sees what is there, like every other.

    Raises GroupsAway, StoreAway: then nothing is in flight that was not before.
    """
    if cell.scaling is None:
        return {"planned": False, "because": "this cell has no pools"}
    try:
        with _planning(cell):
            done = planned(cell, "tick", decide)
            told = {"planned": True, "order": done.order.text(), "notes": list(done.look.notes)}
            if done.order.empty:
                return told
            return told | {"execution": _start(cell, done.order)}
    except PlanningNow as error:
        return {"planned": False, "because": str(error)}


def _start(cell: Cell, order: Order) -> str:
    execution = f"plan-{int(order.at_s)}"
    holder = _fly(cell, execution, order)
    if holder == execution:
        given = {"region": cell.region, "reason": "tick", "order": order.text()}
        cell.workflows.start_scale_out(execution, given)
    return holder


def _fly(cell: Cell, execution: str, order: Order) -> str:
    """The execution that does the order: this one, or the one in flight, which takes it over the
    next time it counts. The place of one that ended without a word, or never began, is free."""
    holder = cell.store.begin_flight(execution, FLIGHT_S)
    if holder != execution and cell.workflows.scale_out_ended(holder):
        cell.store.end_flight(holder)
        holder = cell.store.begin_flight(execution, FLIGHT_S)
    if holder != execution:
        cell.store.hand_over(order)
    return holder


def start(
    cell: Cell,
    execution: str,
    given: Mapping[str, Any],
    decide: Decide = plan,
) -> dict[str, Any]:
    """The beginning of an execution that brought no order: by hand, by the calendar, by a nudge.

    What was asked for counts for half an hour, in this plan and the ticks' that follow. Raises
    AskRefused, PlanningNow, GroupsAway, StoreAway.
    """
    if cell.scaling is None:
        raise AskRefused("this cell has no pools; deploy it with a WorkerImage")
    ask, reason = asked(given, cell.region, cell.store.observe().now_ms / 1000)
    with _planning(cell):
        if ask is not None:
            cell.store.ask(ask)
        order = planned(cell, reason, decide).order
        verdict = "over"
        if not order.empty:
            verdict = "go" if _fly(cell, execution, order) == execution else "handed over"
    return {
        "region": cell.region,
        "reason": reason,
        "order": order.text(),
        "verdict": verdict,
    }


def again(cell: Cell, state: Mapping[str, Any], decide: Decide = plan) -> dict[str, Any]:
    """In the middle of an execution: some pool had no capacity and is banned, so others are asked.

    Raises PlanningNow, GroupsAway, StoreAway.
    """
    with _planning(cell):
        order = planned(cell, f"{state['reason']}, again", decide).order
    return {
        "region": state["region"],
        "reason": state["reason"],
        "order": order.text(),
        "verdict": "go",
    }
