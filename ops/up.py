"""``rapido up``: a cell on this machine, or several, with a line or a table of what they have."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.terminal import console

if TYPE_CHECKING:
    from ops.cell.autoscale import Autoscale
    from ops.client import CellClient

_SCALING = "A fleet that grows and shrinks"
_TOLD = threading.Lock()


def up(
    name: Annotated[
        str, typer.Option(help="The cell's name, and its folder's under .rapido.")
    ] = "desk",
    workers: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=16,
            help="Worker processes: 2, or with --cells 1 of each cell; with --autoscale at first.",
        ),
    ] = None,
    port: Annotated[int, typer.Option(help="Port of the address; 0 takes a free one.")] = 8600,
    cells: Annotated[
        str | None,
        typer.Option(
            help="Several cells behind a local edge: regions with commas, the home cell first."
        ),
    ] = None,
    light_workers: Annotated[
        bool,
        typer.Option(
            "--light-workers", help="Workers without engine and room: many on a small machine."
        ),
    ] = False,
    autoscale: Annotated[
        bool,
        typer.Option(
            "--autoscale",
            help="Workers are nodes of the template's pools; they come and go as those want. "
            "See also: rapido fleet pools, interrupt, capacity.",
            rich_help_panel=_SCALING,
        ),
    ] = False,
    max_nodes: Annotated[
        int, typer.Option(help="Most nodes, of each pool and together.", rich_help_panel=_SCALING)
    ] = 4,
    boot_s: Annotated[
        str,
        typer.Option(
            help="Seconds from a node's launch to its worker's start, as 10 or 5-20.",
            rich_help_panel=_SCALING,
        ),
    ] = "10",
    capacity: Annotated[
        list[str] | None,
        typer.Option(
            metavar="POOL=off|SHARE",
            help="That share of a pool's launches finds no capacity. May be repeated.",
            rich_help_panel=_SCALING,
        ),
    ] = None,
    stillborn: Annotated[
        float,
        typer.Option(help="Share of nodes whose worker never starts.", rich_help_panel=_SCALING),
    ] = 0.0,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=NUMBER",
            help="A setting of the planner, as in spot_share=0.5. May be repeated.",
            rich_help_panel=_SCALING,
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Of what chance decides about nodes.", rich_help_panel=_SCALING)
    ] = 1,
) -> None:
    """A whole cell on this machine, or several, in the foreground, until Ctrl-C."""
    from ops.cell.autoscale import (
        Autoscale,
        AutoscaleError,
        read_boot,
        read_capacity,
        read_policy,
    )
    from ops.cell.workers import LIGHT, REAL

    settings = None
    if autoscale:
        try:
            settings = Autoscale(
                1 if workers is None else workers,
                max_nodes,
                read_boot(boot_s),
                read_capacity(capacity or []),
                stillborn,
                seed,
                read_policy(policy or []),
            )
        except AutoscaleError as error:
            raise typer.BadParameter(str(error)) from error
    module = LIGHT if light_workers else REAL
    _on_signals(_interrupt)
    if cells is not None:
        regions = tuple(part.strip() for part in cells.split(","))
        _several(regions, 1 if workers is None else workers, port, module, settings)
    else:
        _one(name, 2 if workers is None else workers, port, module, settings)


def _one(name: str, workers: int, port: int, module: str, settings: Autoscale | None) -> None:
    from ops.cell.cell import Cell

    with Cell(
        name=name,
        workers=workers,
        port=port,
        worker_module=module,
        autoscale=settings,
        on_event=_tell,
    ) as cell:
        _show_address(cell.url, cell.client_key, cell.operator_key, {})
        _watch({"": cell.url}, cell.operator_key, cell.broken.is_set, {"": cell.groups})


def _several(
    regions: tuple[str, ...], workers: int, port: int, module: str, settings: Autoscale | None
) -> None:
    from ops.cell.cells import Cells

    with Cells(
        regions,
        workers=workers,
        port=port,
        worker_module=module,
        autoscale=settings,
        on_event=_tell,
    ) as cells:
        addresses = {region: cell.url for region, cell in cells.cells.items()}
        groups = {region: cell.groups for region, cell in cells.cells.items()}
        _show_address(cells.edge.url, cells.client_key, cells.operator_key, addresses)
        _watch(addresses, cells.operator_key, lambda: cells.broken, groups)


def _tell(line: str) -> None:
    with _TOLD:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _show_address(url: str, key: str, operator_key: str, cells: dict[str, str]) -> None:
    console.print(f"\n  [bold]{url}[/bold]")
    for region, address in cells.items():
        console.print(f"    {region:<16} {address}", highlight=False)
    console.print(f"  export RAPIDO_URL={url}", highlight=False)
    console.print(f"  export RAPIDO_KEY={key}", highlight=False, soft_wrap=True)
    console.print(f"  export RAPIDO_OPERATOR_KEY={operator_key}", highlight=False, soft_wrap=True)
    console.print("  Ctrl-C ends it.\n")


def _watch(
    urls: dict[str, str],
    operator_key: str,
    broken: Callable[[], bool],
    groups: dict[str, Callable[[], list[dict[str, Any]]]],
) -> None:
    """What changed of each cell: its sums and its pools. Exit 1 when a part died."""
    from ops.client import CellClient

    stop = threading.Event()
    _on_signals(lambda *_: stop.set())
    seen: dict[str, tuple[str, ...]] = {}
    with ExitStack() as opened:
        clients = {
            name: opened.enter_context(CellClient(url, operator_key)) for name, url in urls.items()
        }
        while not stop.wait(2.0):
            for name, client in clients.items():
                _show_change(name, client, groups[name], seen)
            if broken():
                raise typer.Exit(1)
    console.print("stopping")


def _show_change(
    name: str,
    client: CellClient,
    groups: Callable[[], list[dict[str, Any]]],
    seen: dict[str, tuple[str, ...]],
) -> None:
    """A table on a terminal, else lines: only what is new, so that a log stays readable."""
    import httpx
    from botocore.exceptions import BotoCoreError, ClientError

    from ops.client import CallError
    from ops.fleet.pools import is_empty, plan_line, pool_line, pool_rows, pool_table

    try:
        line = _line(client)
        found = groups()
        workers = client.call("GET", "/api/v1/workers")["workers"] if found else []
        plans = client.call("GET", "/api/v1/fleet/plans")["plans"] if found else []
        rows = pool_rows(found, workers)
    except (CallError, httpx.HTTPError, BotoCoreError, ClientError) as error:
        line, rows, plans = f"the cell does not answer: {error}", [], []
    heads = [f"{name} {line}".lstrip(), *map(plan_line, plans)]
    before = seen.get(name, ())
    told = {one.partition(":")[0] for one in before}
    rows_told = (row for row in rows if row.name in told or not is_empty(row))
    lines = [*heads, *(pool_line(row) for row in rows_told)]
    if tuple(lines) == before:
        return
    seen[name] = tuple(lines)
    if rows and console.is_terminal:
        with _TOLD:
            console.print(pool_table(rows, "\n".join(heads)))
        return
    for one in lines:
        if one not in before:
            _tell(one)


def _line(client: CellClient) -> str:
    fleet = client.call("GET", "/api/v1/fleet")
    counts = ", ".join(f"{n} {status}" for status, n in sorted(fleet["sessions"].items()))
    return (
        f"workers {fleet['workers_alive']} of {fleet['workers']} alive · slots {fleet['used']} of "
        f"{fleet['slots']} used · sessions {counts or 'none yet'}"
    )


def _on_signals(act: Callable[..., None]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, act)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
