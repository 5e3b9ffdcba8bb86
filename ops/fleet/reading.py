"""``rapido fleet plan`` and ``rapido fleet cost``: what was decided, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.terminal import Json, Key, Url, console, print_result, tell

if TYPE_CHECKING:
    from ops.fleet.plan import Verdict

_SHOWN, _KEPT = 10, 200


def plan(
    last: Annotated[
        int | None, typer.Option("--last", min=1, max=_KEPT, help="So many; the newest first.")
    ] = None,
    why: Annotated[
        bool, typer.Option("--why", help="In words: from what, and why so; the newest alone.")
    ] = False,
    replay: Annotated[
        bool,
        typer.Option("--replay", help="Decide all that are kept again; exit 1 if one differs."),
    ] = False,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """What the cell's planner decided.

    Example: rapido fleet plan --last 3 --why
    """
    from ops.client import connect
    from ops.fleet.plan import fetched, replayed

    with connect(url, key, operator=True) as client:
        plans = fetched(client, last or (_KEPT if replay else 1 if why else _SHOWN))
    verdicts = [replayed(one) for one in plans] if replay else []
    if as_json:
        more = [{"replayed": one} for one in verdicts] or [{}] * len(plans)
        print_result({"plans": [one | also for one, also in zip(plans, more, strict=True)]}, True)
    elif not plans:
        tell("Nothing was planned yet: the planner runs each minute in a cell that has pools.")
    else:
        _show(plans, verdicts, why, len(plans) if last else 1)
    if {"differs", "unreadable"} & set(verdicts):
        raise typer.Exit(1)


def _show(
    plans: Sequence[dict[str, Any]], verdicts: Sequence[Verdict], why: bool, explained: int
) -> None:
    from ops.fleet.plan import plans_table, prices_table, replay_line, told

    if why:
        for one in plans[:explained]:
            for what, text in told(one):
                tell(f"{what:<9} {text}")
            console.print(prices_table(one))
    elif not verdicts:
        console.print(plans_table(plans))
    if verdicts:
        for one, verdict in zip(plans, verdicts, strict=True):
            if verdict != "agrees":
                tell(f"{verdict}: {next(told(one))[1]}")
        tell(replay_line(verdicts))


def cost(
    by: Annotated[str, typer.Option("--by", help="pool, region, tenant or lesson.")] = "pool",
    first: Annotated[
        str | None, typer.Option("--from", help="The first day, UTC; a week ends with --to.")
    ] = None,
    last: Annotated[str | None, typer.Option("--to", help="The last day, UTC; today.")] = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Dollars that all cells' nodes cost, and the saving against the published policy.

    Example: rapido fleet cost --by tenant --from 2027-01-01 --to 2027-01-31
    """
    from ops.client import connect
    from ops.fleet.cost import cost_table, days_line, saving_line

    query = {"by": by} | ({"from": first} if first else {}) | ({"to": last} if last else {})
    with connect(url, key, operator=True) as client:
        found = client.call("GET", "/api/v1/fleet/cost", query=query)
    if as_json:
        print_result(found, True)
        return
    tell(days_line(found))
    console.print(cost_table(found))
    tell(saving_line(found))
