"""``rapido simulate fleet``: what would a week have cost, and whom would it have turned away?"""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.terminal import Json, console, print_fault

if TYPE_CHECKING:
    from ops.simulate.fleet.inputs import Inputs
    from ops.simulate.fleet.trial import Week

LEARNING_DAYS = 28


class PolicyName(StrEnum):
    """What may decide."""

    PLANNER = "planner"
    ALL_SPOT = "all-spot"
    BUFFER = "buffer"
    PUBLISHED = "published"


def simulate_fleet(
    demand: Annotated[Path | None, typer.Option(help="CSV of sessions, one a row.")] = None,
    timetable: Annotated[Path | None, typer.Option(help="CSV of announced classes.")] = None,
    capacity: Annotated[Path | None, typer.Option(help="CSV of prices and outages.")] = None,
    policy: Annotated[
        list[PolicyName] | None, typer.Option(help="Only these; again and again for several.")
    ] = None,
    seed: Annotated[int, typer.Option(min=1, help="Without files: the seed of the weeks.")] = 1,
    days: Annotated[
        int, typer.Option(min=7, max=70, help="Days made; the last seven are judged.")
    ] = LEARNING_DAYS + 7,
    scale: Annotated[float, typer.Option(min=0.05, max=20.0, help="Demand, 1 peaks at 160.")] = 1.0,
    buffer: Annotated[
        float, typer.Option(min=0.05, max=0.95, help="Share of slots the buffer keeps free.")
    ] = 0.6,
    spot_share: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="The planner's setting, instead of its own."),
    ] = None,
    quantile: Annotated[
        float | None, typer.Option(min=0.5, max=0.9999, help="The planner's setting.")
    ] = None,
    interruption_usd: Annotated[
        float | None, typer.Option(min=0.0, max=1000.0, help="The planner's setting.")
    ] = None,
    hand_over: Annotated[
        bool, typer.Option("--hand-over", help="A full region may use others' free slots.")
    ] = False,
    write: Annotated[
        Path | None, typer.Option(help="Write the weeks as CSV files there, and stop.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where pictures and figures go.")] = Path("out/fleet"),
    as_json: Json = False,
) -> None:
    """A week of the fleet in seconds: the shipped planner against other policies.

    With three files the week is what they say, else it is made from the seed. What came before the
    last seven days is learnt from.

    Example: rapido simulate fleet --seed 21 --policy planner --policy buffer --buffer 0.5
    """
    from ops.simulate.fleet import inputs as files

    given = (demand, timetable, capacity)
    if any(given) and not all(given):
        raise typer.BadParameter("give --demand, --timetable and --capacity together, or none")
    try:
        if demand and timetable and capacity:
            read = files.read(demand, timetable, capacity)
        else:
            read = files.seeded(seed, days, scale, files.listed_prices())
    except files.InputError as error:
        print_fault(error)
        raise typer.Exit(2) from error
    if write is not None:
        for path in files.write(read, write):
            console.print(str(path), highlight=False)
        return
    settings = {
        "spot_share": spot_share,
        "quantile": quantile,
        "interruption_usd": interruption_usd,
    }
    chosen = {name: value for name, value in settings.items() if value is not None}
    names = policy or list(PolicyName)
    weeks = {}
    for name in names:
        if not as_json:
            console.print(f"[dim]{name.value} ...[/dim]")
        weeks[name.value] = _run(read, name, buffer, chosen, hand_over)
    _tell(weeks, out, as_json)


def _run(
    read: Inputs, name: PolicyName, free_share: float, chosen: dict[str, Any], hand_over: bool
) -> Week:
    from dataclasses import replace

    from control.domain.fleet.planning import CHEAPEST, Policy
    from ops.simulate.fleet import trial
    from ops.simulate.fleet.scalers import Buffer, Published

    if name is PolicyName.BUFFER:
        return trial.under(read, Buffer("g5.2xlarge", free_share), hand_over)
    if name is PolicyName.PUBLISHED:
        return trial.under(read, Published(), hand_over)
    policy = replace(Policy() if name is PolicyName.PLANNER else CHEAPEST, **chosen)
    return trial.planned(read, policy, hand_over=hand_over)


def _tell(weeks: dict[str, Week], out: Path, as_json: bool) -> None:
    from rich.table import Table

    from ops.simulate.fleet import drawing

    for name, week in weeks.items():
        drawing.slots(week, f"{name}: slots against demand", out / f"{name}.png")
    drawing.policies(weeks, {}, out / "policies.png")
    figures = {name: figures_of(week) for name, week in weeks.items()}
    (out / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
    if as_json:
        print(json.dumps(figures))
        return
    table = Table("", title="The judged week", title_justify="left")
    for name in figures:
        table.add_column(name, justify="right", overflow="fold")
    for what in next(iter(figures.values())):
        values = (row[what] for row in figures.values())
        table.add_row(what.replace("_", " "), *(f"{value:,g}" for value in values))
    console.print(table)
    console.print(f"Pictures: {out}/*.png", highlight=False)


def figures_of(week: Week) -> dict[str, float]:
    """A week in numbers."""
    tally = week.tally
    return {
        "sessions": tally.sessions,
        "rejected_percent": round(week.rejected_percent, 4),
        "wait_p999_s": round(tally.wait_p999_s(), 2),
        "interrupted_percent": round(week.interrupted_percent, 4),
        "lost": tally.lost,
        "cut_by_scale_in": tally.cut_by_scale_in,
        "usd": round(tally.usd, 2),
        "usd_stream_h": round(week.usd_stream_h, 4),
        "launches": tally.launches,
        "seconds": round(week.wall_s, 1),
    }
