"""Several cells side by side on this machine, each the other's peer, behind the local edge."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from control.domain.geography import REGIONS
from ops.cell.autoscale import Autoscale
from ops.cell.cell import Cell
from ops.cell.files import write_private
from ops.cell.links import CellLink, Home
from ops.cell.livekit_binary import livekit_server
from ops.cell.ports import free_port, free_ports
from ops.cell.prepare import make_keys
from ops.cell.supervisor import PartError
from ops.cell.wires import Wire
from ops.edge import Edge, EdgeCell

_EDGE = "edge"


@dataclass
class Cells:
    """A context manager. ``regions`` name the cells too; one pair of keys opens them all.

    The first is the home cell: records, keys and the timetable are kept there.

    Raises on entering:
        PartError: a region that is not one, or a cell that did not start; nothing runs then.
    """

    regions: tuple[str, ...]
    workers: int = 1
    """Of each cell."""
    worker_module: str = "gpu_node"
    worker_env: Mapping[str, str] = field(default_factory=dict)
    autoscale: Autoscale | None = None
    """Of each cell."""
    cuttable: bool = False
    """Whether wires are between the cells, and between the edge and each, for ``cut``."""
    port: int = 0
    """Of the edge; 0 takes a free one."""
    state_dir: Path = Path(".rapido")
    on_event: Callable[[str], None] = print

    cells: dict[str, Cell] = field(init=False, default_factory=dict)
    edge: Edge = field(init=False)
    client_key: str = field(init=False, default="")
    operator_key: str = field(init=False, default="")
    _wires: list[tuple[str, str, Wire]] = field(init=False, default_factory=list)
    """Who calls, who is called, and what is between them."""

    def __enter__(self) -> Cells:
        if len(set(self.regions)) != len(self.regions) or not set(self.regions) <= set(REGIONS):
            raise PartError(f"name different regions out of {', '.join(REGIONS)}")
        livekit_server(self.on_event)  # made once, not by each cell at once
        self._make()
        with ExitStack() as opened:
            self._start(opened)
            facts = [EdgeCell(name, REGIONS[name], self._ways[name]) for name in self.cells]
            self.edge = opened.enter_context(Edge(self.port, facts))
            self._write_state()
            opened.callback(self._state.unlink, missing_ok=True)
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()
        for _, _, wire in self._wires:
            wire.close()

    def cut(self, name: str, *, edge: bool = False) -> None:
        """Nothing passes between that cell and its peers any more, nor, with ``edge``, the edge.

        Raises ValueError where the cells are not ``cuttable``.
        """
        for wire in self._wires_of(name, edge):
            wire.cut()

    def mend(self, name: str) -> None:
        """All of it passes again."""
        for wire in self._wires_of(name, edge=True):
            wire.mend()

    def kill(self, name: str) -> None:
        """Every process of that cell, with SIGKILL, as its region's end would."""
        cell = self.cells[name]
        for part in cell.parts:
            cell.kill(part)

    def _wires_of(self, name: str, edge: bool) -> list[Wire]:
        if not self.cuttable:
            raise ValueError("only cuttable cells have wires")
        return [
            wire
            for start, end, wire in self._wires
            if name in (start, end) and (edge or start != _EDGE)
        ]

    def _way(self, start: str, end: str, port: int) -> str:
        """The address under which one side reaches a port of the other."""
        if not self.cuttable:
            return f"http://127.0.0.1:{port}"
        wire = Wire(port)
        self._wires.append((start, end, wire))
        return wire.url

    @property
    def broken(self) -> bool:
        """Whether a part of every cell died: with one cell lost the others go on, and the edge
        sends nothing there."""
        return all(cell.broken.is_set() for cell in self.cells.values())

    def _make(self) -> None:
        keys = make_keys()
        self.client_key, self.operator_key = keys.client, keys.operator
        turn = threading.Lock()
        ports = free_ports(len(self.regions))
        at = dict(zip(self.regions, ports, strict=True))
        links = {region: CellLink.make(region, region, "") for region in self.regions}
        self._ways = {region: self._way(_EDGE, region, port) for region, port in at.items()}
        home, home_aws = self.regions[0], free_port()
        homes = {
            region: Home(home, home, self._way(region, home, home_aws))
            for region in self.regions[1:]
        }
        for region, port in at.items():
            self.cells[region] = Cell(
                name=region,
                region=region,
                workers=self.workers,
                worker_module=self.worker_module,
                worker_env=self.worker_env,
                autoscale=self.autoscale,
                state_dir=self.state_dir / region,
                port=port,
                on_event=self.on_event,
                link=links[region],
                peers=tuple(
                    replace(link, url=self._way(region, name, at[name]))
                    for name, link in links.items()
                    if name != region
                ),
                keys=keys,
                home=homes.get(region),
                aws_port=home_aws if region == home else 0,
                cells_here=len(self.regions),
                worker_turn=turn,
            )

    def _start(self, opened: ExitStack) -> None:
        """All at once; when one fails, or Ctrl-C comes, the others are given up and stopped."""
        with ThreadPoolExecutor(len(self.cells)) as pool:
            entering = [pool.submit(cell.__enter__) for cell in self.cells.values()]
            try:
                for future in entering:
                    future.result()
            except BaseException:
                for cell in self.cells.values():
                    cell.give_up()
                raise
            finally:
                for cell, future in zip(self.cells.values(), entering, strict=True):
                    if future.exception() is None:
                        opened.push(cell)

    def _write_state(self) -> None:
        folder = self.state_dir / "edge"
        folder.mkdir(parents=True, exist_ok=True)
        self._state = folder / "cell.json"
        state = {
            "name": "edge",
            "pid": os.getpid(),
            "url": self.edge.url,
            "client_key": self.client_key,
            "operator_key": self.operator_key,
            "cells": {name: cell.url for name, cell in self.cells.items()},
        }
        write_private(self._state, json.dumps(state, indent=2))
