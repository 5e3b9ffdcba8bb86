"""A plan as a person reads it, and decided again from what was kept of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Literal

from rich.table import Table

from ops.client import CellClient

PATH = "/api/v1/fleet/plans"
_PATIENT_S = 60.0
"""A solver that came to an end comes to the same one, however slow the machine."""

Verdict = Literal["agrees", "differs", "timed", "unreadable"]
"""timed: the solver's time ran out in the cell, and another machine gets another way in it.
unreadable: it was kept by another version."""


def fetched(client: CellClient, last: int) -> list[dict[str, Any]]:
    """So many plans that are kept, newest first, page after page. Raises CallError."""
    plans: list[dict[str, Any]] = []
    query = {"limit": str(last)}
    while True:
        page = client.call("GET", PATH, query=query)
        plans += page["plans"]
        if len(plans) >= last or not page["more"]:
            return plans
        query = {"limit": str(last - len(plans)), "before": repr(plans[-1]["at_s"])}


def replayed(kept: Mapping[str, Any]) -> Verdict:
    """Whether the planner of here decides the same of it: every number."""
    from control.domain.fleet.planning import replay

    why = kept["plan"]["why"]
    timed = "expected_live" in why and not why.get("proven", False)
    policy = kept["policy"] if timed else {**kept["policy"], "solver_s": _PATIENT_S}
    try:
        again = replay({**kept, "policy": policy})
    except (KeyError, TypeError):
        return "unreadable"
    if json.loads(json.dumps(asdict(again))) == kept["plan"]:
        return "agrees"
    return "timed" if timed else "differs"


def replay_line(verdicts: Sequence[Verdict]) -> str:
    """One sentence."""
    found = Counter(verdicts)
    words = {
        "differs": "differ",
        "timed": "had no time to come to an end in the cell and differ",
        "unreadable": "were kept by another version and cannot be read",
    }
    others = [f"{found[name]} {text}" for name, text in words.items() if found[name]]
    agree = f"{found['agrees']} of {len(verdicts)} plans agree, decided again from what was kept"
    return "; ".join([agree, *others]) + "."


def plans_table(plans: Iterable[Mapping[str, Any]]) -> Table:
    """A line a plan."""
    table = Table("UTC", "by", "needs", "has", "launches", "closes", "reopens", "releases", "$/h")
    for one in plans:
        decided, order = one["plan"], one["order"]
        table.add_row(
            _clock(one["at_s"]),
            one["reason"],
            f"{decided['why'].get('need_slots', 0):g}",
            f"{decided['why'].get('have_slots', 0):g}",
            _counts(decided["launch"]),
            str(len(decided["close"])),
            str(len(decided["reopen"])),
            str(len(order["release"]) + len(order["replace"])),
            f"{_usd_h(one):.2f}",
        )
    return table


def told(kept: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What and how, a line each."""
    fleet, decided, why = kept["fleet"], kept["plan"], kept["plan"]["why"]
    states = Counter(one["state"] for one in fleet["nodes"])
    yield "plan", f"of {_clock(kept['at_s'])} UTC in {fleet['region']}, by {kept['reason']}"
    demand = f"{fleet['live']} live, {fleet['queued']} waiting"
    demand += f", {fleet['asked']} asked for" if fleet["asked"] else ""
    demand += f", {fleet['spilled']} of peers" if fleet.get("spilled") else ""
    yield "needs", f"{why.get('need_slots', 0):g} slots: {demand}, and what is expected"
    nodes = ", ".join(f"{n} {state}" for state, n in sorted(states.items())) or "no node"
    bounds = fleet["bounds"]
    yield "has", f"{why.get('have_slots', 0):g} slots; {nodes}, of {_range(bounds)} in all"
    yield "pays", f"{_usd_h(kept):.2f} $ an hour"
    for line in why.get("said", ()):
        yield "why", line
    yield from _changes(kept)
    for pool, until_s in sorted(fleet["banned"].items()):
        yield "banned", f"{pool} until {_clock(until_s)} UTC"
    for note in kept["notes"]:
        yield "note", note
    if not (decided["launch"] or decided["close"] or decided["reopen"] or _goes(kept)):
        yield "does", "nothing"


def _changes(kept: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    decided, order = kept["plan"], kept["order"]
    nodes = {one["node_id"]: one for one in kept["fleet"]["nodes"]}
    for pool, count in sorted(decided["launch"].items()):
        desired = order["launch"].get(pool)
        then = "not now: no room, or it is banned" if desired is None else f"{desired} then"
        yield "launches", f"{count} {pool}, {then}"
    for word, names in (
        ("closes", decided["close"]), ("reopens", decided["reopen"]),
        ("releases", order["release"]), ("replaces", order["replace"]),
    ):  # fmt: skip
        for name in names:
            yield word, f"{name}{_node(nodes.get(name))}"


def _goes(kept: Mapping[str, Any]) -> bool:
    return bool(kept["order"]["release"] or kept["order"]["replace"])


def _node(node: Mapping[str, Any] | None) -> str:
    if node is None:
        return ""
    pool = f"{node['pool']['type']}-{node['pool']['market']}"
    return f", {pool}, {node['used']} of {node['slots']} slots used"


def prices_table(kept: Mapping[str, Any]) -> Table:
    """What it went by, a line a pool."""
    table = Table("pool", "slots", "$/h", "cents a slot and hour", "boots", "most nodes")
    for one in kept["fleet"]["offers"]:
        price, slots = one["price_usd_h"], one["slots"]
        table.add_row(
            f"{one['pool']['type']}-{one['pool']['market']}",
            str(slots),
            f"{price:.4f}",
            f"{100 * price / slots:.2f}",
            f"{one['boot_s']:g} s",
            str(one["most_nodes"]),
        )
    return table


def _usd_h(kept: Mapping[str, Any]) -> float:
    """Of what is there, but for nodes that are wanted and not launched yet."""
    at_s = kept["at_s"]
    return sum(one["price_usd_h"] for one in kept["fleet"]["nodes"] if one["since_s"] < at_s)


def _counts(launch: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {pool}" for pool, count in sorted(launch.items()))


def _range(bounds: Mapping[str, int]) -> str:
    return f"{bounds['least']} to {bounds['most']} nodes"


def _clock(at_s: float) -> str:
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%d %H:%M:%S}"
