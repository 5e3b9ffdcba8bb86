"""From a region's state and outlook to what is done now. Pure; the solver is mix.py.

On-demand nodes carry the lessons that are expected, spot carries what comes on top: an idle spot
node that is taken away cuts nobody. So spot workers are ordered behind all others, and the mix pays
for lessons that would have to live on spot.

Never cut a live session: a node is released only while closed and without a lease, and whoever
releases it looks again (services/fleet.py). Closing is undone at no cost, so it comes early; nodes
that empty count against the region's most until they are gone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from control.domain.fleet import mix
from control.domain.fleet.state import Bounds, Fleet, Node, Offer, Outlook, Plan, Pool

_STEP = 4.0
"""Sessions that expected demand is rounded to, for the same reason as in _solved."""


@dataclass(frozen=True)
class Policy:
    """The settings; docs/scaling.md says how to choose them and what each costs."""

    quantile: float = 0.985
    """Of demand, that capacity is planned for."""
    keep_share: float = 0.75
    """Of the sessions expected, those that have a slot when any one pool vanishes."""
    spot_share: float = 0.8
    """Most of the slots that may be spot."""
    interruption_usd: float = 2.4
    """What a lesson that spot interrupts is worth avoiding."""
    spot_hazard_h: float = 0.04
    """Interruptions an hour of a spot node."""
    launch_h: float = 0.05
    """A launch costs that many hours of its node beside its boot: against flapping."""
    drain_h: float = 0.4
    """So much longer a node on demand is paid for while the lessons that it carries end."""
    hold_s: float = 300.0
    """Nothing is closed that is needed again within that time."""
    expect_s: float = 1800.0
    """On-demand is sized for the mean demand of that time."""
    tick_s: float = 60.0
    review_s: float = 300.0
    """How often a mix that is enough is looked over."""
    solver_s: float = 0.8


CHEAPEST = Policy(spot_share=1.0, interruption_usd=1.65)
"""Spot without a limit: an eighth off the bill, and twice the interruptions."""


def plan(fleet: Fleet, outlook: Outlook, policy: Policy) -> Plan:
    """What is to be done now; ``why`` says from what, in plain values.

    Where the solver has no answer in its time the mix is kept: nothing is launched, closed or
    released.
    """
    sound = [one for one in fleet.nodes if one.healthy]
    serving = [one for one in sound if one.state in ("booting", "ready")] + _replacements(fleet)
    closed = [one for one in sound if one.state == "closed"]
    lead_s = 2 * policy.tick_s + max((one.boot_s for one in fleet.offers), default=0.0)
    need = _need(fleet, outlook, lead_s)
    have = sum(one.slots for one in serving)
    hold = max(need, min(_need(fleet, outlook, policy.hold_s), have))
    keep = policy.keep_share * _expected(fleet, outlook, lead_s)
    why: dict[str, Any] = {"need_slots": round(need, 1), "have_slots": have}
    target: dict[str, int] | None = {}
    if _enough(serving, need, keep, fleet.bounds) and not _review(fleet, policy):
        why["said"] = ["What is there is enough until the next review."]
    else:
        ask = _ask(fleet, outlook, policy, hold, keep, serving, closed)
        found = _solved(ask)
        why["expected_live"] = round(ask.expected, 1)
        if found is None:
            target = None
            why["said"] = [f"No mix within {policy.solver_s:g} s: what is there stays."]
        else:
            target = dict(found.nodes)
            why |= {"usd_h": round(found.usd_h, 3), "short_slots": round(found.short_slots, 1),
                    "unsafe_slots": round(found.unsafe_slots, 1),
                    "proven": found.proven}  # fmt: skip
            why["said"] = _told(found, need, hold)
    return _decide(fleet, target, serving, closed, need, hold < have, why)


def _replacements(fleet: Fleet) -> list[Node]:
    """What groups launch by themselves for sick nodes that are ended: as good as booting."""
    offers = {one.pool: one for one in fleet.offers if not _banned(fleet, one.pool)}
    return [
        replace(one, state="booting", healthy=True, slots=offers[one.pool].slots)
        for one in fleet.nodes
        if _ends_sick(one) and one.state != "leaving" and one.pool in offers
    ]


def _ends_sick(node: Node) -> bool:
    return not node.healthy and node.used == 0


def _banned(fleet: Fleet, pool: Pool) -> bool:
    return fleet.banned.get(pool.name, 0.0) > fleet.now_s


def _need(fleet: Fleet, outlook: Outlook, within_s: float) -> float:
    """Slots that must be there at any moment until then."""
    ahead = max(outlook.high[: _steps(fleet, outlook, within_s)], default=0.0)
    own = max(ahead, float(fleet.live + fleet.queued))
    return max(own + fleet.spilled, float(fleet.asked))


def _steps(fleet: Fleet, outlook: Outlook, within_s: float) -> int:
    """How many steps are touched until then; the first began before now."""
    return 1 + int((fleet.now_s % outlook.step_s + within_s) // outlook.step_s)


def _expected(fleet: Fleet, outlook: Outlook, within_s: float) -> float:
    """Sessions that are expected at the most until then."""
    ahead = outlook.mean[: _steps(fleet, outlook, within_s)]
    return max([*ahead, float(fleet.live + fleet.queued)]) + fleet.spilled


def _enough(serving: Sequence[Node], need: float, keep: float, bounds: Bounds) -> bool:
    by_pool: dict[str, int] = {}
    for one in serving:
        by_pool[one.pool.name] = by_pool.get(one.pool.name, 0) + one.slots
    have = sum(by_pool.values())
    kept = have - max(by_pool.values(), default=0)
    return have >= need and kept >= keep and len(serving) >= bounds.least


def _review(fleet: Fleet, policy: Policy) -> bool:
    return fleet.now_s % max(policy.review_s, policy.tick_s, 1.0) < policy.tick_s


def _ask(
    fleet: Fleet,
    outlook: Outlook,
    policy: Policy,
    need: float,
    keep: float,
    serving: Sequence[Node],
    closed: Sequence[Node],
) -> mix.MixAsk:
    mean = outlook.mean[: _steps(fleet, outlook, policy.expect_s)]
    usable = [*serving, *closed]
    least_slots = min((one.slots for one in fleet.offers), default=1)
    room = max(0, min(fleet.bounds.most - len(fleet.nodes), math.ceil(need / least_slots) + 2))
    offers = {one.pool: one for one in fleet.offers}
    pools = {one.pool: None for one in usable} | dict.fromkeys(offers)
    asks = tuple(
        _pool_ask(fleet, policy, offers.get(pool), _of(pool, usable), room, need)
        for pool in sorted(pools, key=lambda one: one.name)
    )
    weak = _weaker(asks, usable)
    return mix.MixAsk(
        asks,
        need + weak,
        _STEP * round(sum(mean) / max(1, len(mean)) / _STEP),
        fleet.bounds.least,
        room,
        keep + weak,
        policy.spot_share,
        policy.interruption_usd * policy.spot_hazard_h,
        policy.solver_s,
    )


def _solved(ask: mix.MixAsk) -> mix.Mix | None:
    """Nodes bring multiples of a step, so that rounding up to one changes no mix, and what comes
    again need not be solved again; what is missing is told of what was asked."""
    step = math.gcd(*(one.slots for one in ask.pools)) or 1
    need, keep = (step * math.ceil(slots / step) for slots in (ask.need, ask.keep))
    found = mix.solve(replace(ask, need=need, keep=keep))
    if found is None:
        return None
    return replace(
        found,
        short_slots=max(0.0, found.short_slots - (need - ask.need)),
        unsafe_slots=max(0.0, found.unsafe_slots - (keep - ask.keep)),
    )


def _weaker(asks: Sequence[mix.PoolAsk], usable: Sequence[Node]) -> int:
    """Slots that nodes lack of what the mix counts them as: the same in all nodes of a pool."""
    there = {one.name: one.slots * one.open for one in asks}
    for node in usable:
        there[node.pool.name] -= node.slots
    return sum(max(0, lacking) for lacking in there.values())


def _of(pool: Pool, nodes: Sequence[Node]) -> list[Node]:
    return [one for one in nodes if one.pool == pool]


def _pool_ask(
    fleet: Fleet,
    policy: Policy,
    offer: Offer | None,
    there: Sequence[Node],
    room: int,
    need: float,
) -> mix.PoolAsk:
    pool = there[0].pool if offer is None else offer.pool
    if offer is None:
        slots, price, boot_s, most = there[0].slots, there[0].price_usd_h, 0.0, 0
    else:
        slots, price, boot_s, most = offer.slots, offer.price_usd_h, offer.boot_s, offer.most_nodes
    all_there = sum(one.pool == pool for one in fleet.nodes)
    sensible = math.ceil(need / slots) + 1
    launchable = 0 if _banned(fleet, pool) else max(0, min(room, most - all_there, sensible))
    launch_h = boot_s / 3600 + policy.launch_h + (0.0 if pool.spot else policy.drain_h)
    busy = sum(one.state == "booting" or one.used > 0 for one in there)
    cents = round(price, 2)
    return mix.PoolAsk(pool.name, pool.spot, slots, cents, launch_h, len(there), busy, launchable)


def _told(found: mix.Mix, need: float, hold: float) -> list[str]:
    nodes = ", ".join(f"{n} {pool}" for pool, n in found.nodes.items() if n) or "no node"
    said = [f"{nodes}: the least {found.usd_h:.2f} $ an hour that serve {hold:.0f} sessions."]
    if hold > need:
        said.append(f"{need:.0f} are needed at once; nothing closes that is needed again soon.")
    if found.short_slots:
        said.append(f"{math.ceil(found.short_slots)} slots cannot be had: bounds, quotas or bans.")
    if found.unsafe_slots:
        missing = math.ceil(found.unsafe_slots)
        said.append(f"With the largest pool gone {missing} slots would be missing.")
    if not found.proven:
        said.append("The solver's time ran out: a cheaper mix may exist.")
    return said


def _decide(
    fleet: Fleet,
    target: dict[str, int] | None,
    serving: Sequence[Node],
    closed: Sequence[Node],
    need: float,
    shrinking: bool,
    why: dict[str, Any],
) -> Plan:
    launch: dict[str, int] = {}
    reopen: list[Node] = []
    spared: list[Node] = []
    for name, wanted in (target or {}).items():
        open_here = [one for one in serving if one.pool.name == name]
        back = sorted((one for one in closed if one.pool.name == name), key=_fullest)
        missing = wanted - len(open_here)
        reopen += back[: max(0, missing)]
        if missing > len(back):
            launch[name] = missing - len(back)
        idle = [one for one in open_here if one.state == "ready" and one.used == 0]
        idle.sort(key=lambda one: one.slots)
        spared += idle[: max(0, -missing)]
    ready = [one for one in serving if one.state == "ready"] + reopen
    close = _closable(spared, sum(one.slots for one in ready) - need)
    open_now = [one for one in serving if one not in close and one.state == "ready"] + reopen
    gone = [one for one in (*closed, *close) if one not in reopen and one.used == 0]
    sound = sum(one.healthy and one.state != "leaving" for one in fleet.nodes)
    spare = max(0, sound - fleet.bounds.least) if target is not None else 0
    return Plan(
        launch,
        _names(close),
        _names(reopen),
        _names(gone[:spare]),
        _names(one for one in fleet.nodes if _ends_sick(one)),
        {one.node_id: _order(one, shrinking) for one in open_now},
        why,
    )


def _closable(spared: Iterable[Node], over: float) -> list[Node]:
    """What is launched instead must be ready first: those that leave enough slots open now."""
    closed = []
    for one in spared:
        if one.slots <= over:
            closed.append(one)
            over -= one.slots
    return closed


def _fullest(node: Node) -> tuple[float, str]:
    return -node.used / max(1, node.slots), node.node_id


def _names(nodes: Iterable[Node]) -> tuple[str, ...]:
    return tuple(one.node_id for one in nodes)


def _order(node: Node, packing: bool) -> float:
    """Spot behind all others; while a region shrinks, the load term turned round."""
    packed = 0.8 * node.used / max(1, node.slots) if packing else 0.0
    return round(packed - (2.0 if node.pool.spot else 0.0), 2)


def record(fleet: Fleet, outlook: Outlook, policy: Policy, decided: Plan) -> dict[str, Any]:
    """All that ``replay`` needs, and the plan, as JSON has it."""
    return {
        "fleet": asdict(fleet),
        "outlook": asdict(outlook),
        "policy": asdict(policy),
        "plan": asdict(decided),
    }


def replay(kept: dict[str, Any]) -> Plan:
    """The plan that the same state gives again. Raises KeyError or TypeError of what is none."""
    given = kept["fleet"]
    nodes = tuple(Node(**(one | {"pool": Pool(**one["pool"])})) for one in given["nodes"])
    offers = tuple(Offer(**(one | {"pool": Pool(**one["pool"])})) for one in given["offers"])
    bounds = Bounds(**given["bounds"])
    fleet = Fleet(**(given | {"nodes": nodes, "offers": offers, "bounds": bounds}))
    seen = kept["outlook"]
    outlook = Outlook(seen["step_s"], tuple(seen["mean"]), tuple(seen["high"]))
    return plan(fleet, outlook, Policy(**kept["policy"]))
