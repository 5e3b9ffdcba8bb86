"""``rapido status`` and ``rapido destroy``: of a stage that is there."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console

from ops.deploy import settings
from ops.deploy.options import OperatorKey, Regions, Stage, faults
from ops.deploy.sides import print_json, sides
from ops.terminal import Json


def status(
    context: typer.Context,
    regions: Regions = None,
    stage: Stage = "prod",
    key: OperatorKey = None,
    as_json: Json = False,
) -> None:
    """Every cell on one screen: stacks, health, workers (with a key), dead letters.

    Exit 1 where something is not as it should be; what to do about it is said below the table.
    """
    with faults():
        looked_at = settings.regions_of(regions)
        settings.stage_of(stage)
        from ops.deploy import showing
        from ops.deploy import status as looking
        from ops.deploy.stage import regions_of_stage

        others = sides(context.obj)
        if regions is None:
            looked_at = regions_of_stage(stage, looked_at, others.cloud)
        cells = looking.cells(stage, looked_at, others.cloud, others.web, key)
        edge = looking.edge(stage, others.cloud, others.web)
    if as_json:
        print_json({"cells": [asdict(one) for one in cells], "edge": asdict(edge)}, as_json)
    else:
        showing.status(cells, edge, Console())
    if not all(one.ok for one in cells) or edge.health != "ready":
        raise typer.Exit(1)


def destroy(
    context: typer.Context,
    regions: Annotated[
        str | None,
        typer.Option(help="Only these, with commas; else the whole stage, its edge first."),
    ] = None,
    stage: Stage = "prod",
    delete_data: Annotated[
        bool,
        typer.Option("--delete-data", help="Buckets, images and the database's snapshots too."),
    ] = False,
    now: Annotated[
        bool, typer.Option("--now", help="Cut the lessons that go on; else they end first.")
    ] = False,
    key: OperatorKey = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """End a stage, or some of its cells. It asks for the stage's name.

    Workers drain and lessons end first (with an operator's --key), or --now cuts them. Buckets,
    images and a snapshot of the database stay, unless --delete-data. Run again it goes on.
    """
    screen = Console(stderr=as_json)
    with faults():
        named = settings.regions_of(regions)
        settings.stage_of(stage)
        from ops.deploy import showing
        from ops.deploy.destroy import Destruction, Ending
        from ops.deploy.pace import Stopped
        from ops.deploy.progress import Screen
        from ops.deploy.stage import regions_of_stage

        others = sides(context.obj)
        ended = named if regions else regions_of_stage(stage, named, others.cloud)
        if not yes:
            _confirm(stage, ended, delete_data)
        ending = Ending(stage, ended, regions is None, delete_data, now, key)
        told, pace = Screen(to_stderr=as_json), others.pace()
        try:
            failures = Destruction(ending, others.cloud, others.web, told, pace).run()
        except Stopped:
            showing.say(screen, f"stopped: {pace.why}; run the same command again to go on")
            raise typer.Exit(1) from None
    showing.failures(failures, screen)
    print_json({"failures": [asdict(one) for one in failures]}, as_json)
    if failures:
        raise typer.Exit(1)
    showing.say(screen, f"{stage} in {', '.join(ended)}: gone")


def _confirm(stage: str, regions: tuple[str, ...], delete_data: bool) -> None:
    lost = "with all its data" if delete_data else "keeping its data"
    asked = f"This ends {stage} in {', '.join(regions)}, {lost}. Type {stage} to go on"
    if typer.prompt(asked) != stage:
        raise settings.SettingError("name", "another one was typed; nothing was done")
