"""``rapido fleet``: the cell's sums, and what a person does to the machines of a local cell."""

from __future__ import annotations

from typing import Annotated

import typer

from ops.fleet import reading
from ops.terminal import Json, Key, Url, console, print_result

fleet = typer.Typer(
    help="The cell's sums; with --autoscale its pools.", invoke_without_command=True
)
Name = Annotated[
    str | None, typer.Option("--name", help="Of the local cell; else the one that came up last.")
]


@fleet.callback()
def sums(context: typer.Context, url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """The cell's sums."""
    from ops.client import connect

    if context.invoked_subcommand is None:
        with connect(url, key, operator=True) as client:
            print_result(client.call("GET", "/api/v1/fleet"), as_json)


@fleet.command()
def forecast(
    backtest: Annotated[
        bool, typer.Option("--backtest", help="How good forecasts were, too.")
    ] = False,
    days: Annotated[int, typer.Option(min=1, max=34, help="With --backtest: of so many.")] = 7,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Sessions that are expected in the next hour, as the last plan saw it.

    Example: rapido fleet forecast --backtest --days 28
    """
    from ops.client import connect
    from ops.fleet.forecast import forecast_table, quality_line

    with connect(url, key, operator=True) as client:
        told = client.call("GET", f"/api/v1/fleet/forecast?days={days}")
    if as_json:
        print_result(told, True)
        return
    console.print(forecast_table(told))
    if backtest:
        console.print(quality_line(told), highlight=False)


fleet.command()(reading.plan)
fleet.command()(reading.cost)


@fleet.command()
def pools(name: Name = None, as_json: Json = False) -> None:
    """Each pool of the local cell that is up: what it wants, and its nodes by state."""
    from dataclasses import asdict

    from ops.cell.deploy import LocalAws
    from ops.client import CellClient, running_cell
    from ops.fleet.pools import pool_rows, pool_table

    facts = running_cell(name)
    with CellClient(facts["url"], facts["operator_key"]) as client:
        workers = client.call("GET", "/api/v1/workers")["workers"]
    groups = LocalAws(facts["aws_url"], facts["region"]).groups(facts["name"])
    rows = pool_rows(groups, workers)
    if as_json:
        print_result({"pools": [asdict(row) for row in rows]}, True)
    else:
        console.print(pool_table(rows))


@fleet.command()
def interrupt(
    of: Annotated[str, typer.Argument(metavar="POOL|NODE", help="A spot pool, or one node.")],
    notice_s: Annotated[
        float, typer.Option(min=0, help="From the notice to the machine's end; on AWS 120.")
    ] = 120.0,
    name: Name = None,
    as_json: Json = False,
) -> None:
    """EC2 takes a spot node of the local cell back: its notice now, its end when that ran out."""
    from ops.cell.at_desk import AtDesk
    from ops.client import running_cell

    print_result(AtDesk(running_cell(name)["aws_url"]).interrupt(of, notice_s), as_json)


@fleet.command()
def capacity(
    shares: Annotated[
        list[str],
        typer.Argument(metavar="POOL=off|on|SHARE...", help="SHARE of its launches fail, 0 to 1."),
    ],
    name: Name = None,
    as_json: Json = False,
) -> None:
    """Launches of a pool of the local cell find no capacity from now on, or find it again."""
    from ops.cell.at_desk import AtDesk
    from ops.cell.autoscale import AutoscaleError, read_capacity
    from ops.client import running_cell

    try:
        asked = read_capacity(shares)
    except AutoscaleError as error:
        raise typer.BadParameter(str(error)) from error
    print_result(AtDesk(running_cell(name)["aws_url"]).capacity(asked), as_json)
