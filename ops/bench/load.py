"""``rapido bench load``: a thousand clients, three cells; a worker dies, a cell is cut off.

Everything but the engine, the rooms' media and AWS itself is real; workers are light ones.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import valkey

from ops.bench import load_clients
from ops.bench.crowd import Crowd, crowd
from ops.bench.load_clients import Plan, Told
from ops.bench.stage import BenchError, held
from ops.cell.cells import Cells
from ops.figures import Figure, at_least, exactly, median, p95, write

REGIONS = ("us-east-1", "us-west-2", "eu-central-1")
_PROCESSES = 2
_LOOK_EVERY_S = 0.5
_LONGER_S = 20.0
"""A worker waits for a learner longer than any lesson lasts."""
_SETTLE_S = 120.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class Size:
    """Workers are of each cell; the events' times are parts of the whole time."""

    workers: int
    slots: int
    clients: int
    seconds: float
    ramp_s: float
    lesson_s: tuple[float, float]
    kill_at: float
    cut_at: float
    mend_at: float

    @property
    def all_slots(self) -> int:
        """Of all cells."""
        return len(REGIONS) * self.workers * self.slots


FULL = Size(8, 10, 1000, 600.0, 20.0, (30.0, 70.0), 0.3, 0.5, 0.65)
QUICK = Size(2, 4, 96, 45.0, 3.0, (5.0, 10.0), 0.2, 0.4, 0.6)


@dataclass
class Watched:
    """What looks at the stores saw; counts of lessons, slots and leases."""

    live: list[int] = field(default_factory=list)
    oversold: int = 0
    left: int = 0
    """Leases when everyone had left."""


def load(out: Path, quick: bool, say: Say) -> dict[str, Figure]:
    """Served, or told why: all clients of three cells, for ten minutes.

    Raises:
        PartError: a part did not start.
        BenchError: not one lesson was served.
    """
    size = QUICK if quick else FULL
    with tempfile.TemporaryDirectory() as name, crowd(_PROCESSES) as clients:
        events: list[str] = []
        with Cells(
            REGIONS,
            workers=size.workers,
            worker_module="ops.cell.light_worker",
            worker_env={
                "RAPIDO_SLOTS": str(size.slots),
                "RAPIDO_LIGHT_LESSON_S": str(size.lesson_s[1] + _LONGER_S),
            },
            cuttable=True,
            state_dir=Path(name),
            on_event=events.append,
        ) as cells:
            say(f"{size.all_slots} slots in {len(REGIONS)} cells at {cells.edge.url}")
            told, watched = _run(cells, clients, size, say)
    found = _figures(told, watched, size)
    write(out / "load.json", "load", found)
    return found


def _run(cells: Cells, clients: Crowd, size: Size, say: Say) -> tuple[Told, Watched]:
    began = time.monotonic()
    ends = began + size.seconds
    plans = [
        Plan(
            cells.edge.url, cells.client_key, size.clients // clients.size, ends, size.ramp_s,
            size.lesson_s, REGIONS, seed,
        )
        for seed in range(clients.size)
    ]  # fmt: skip
    jobs = [clients.pool.submit(load_clients.run, plan) for plan in plans]
    watch = _Watch(cells, size)
    with ThreadPoolExecutor(1) as beside:
        faults = beside.submit(_faults, cells, watch, size, began, say)
        told_at = began
        while not all(job.done() for job in jobs):
            watch.look()
            if time.monotonic() - told_at > size.seconds / 12:
                told_at = time.monotonic()
                now_s, live = told_at - began, watch.seen.live[-1]
                say(f"{now_s:4.0f} s: {live} lessons live, {watch.queued()} clients in the queues")
        faults.result()
    told = Told()
    for job in jobs:
        told.add(job.result())
    say("all have left; what is left in the stores?")
    watch.until_empty()
    return told, watch.seen


def _faults(cells: Cells, watch: _Watch, size: Size, began: float, say: Say) -> None:
    first, last = cells.cells[REGIONS[0]], REGIONS[-1]

    def at(part: float, what: str) -> None:
        time.sleep(max(0.0, began + part * size.seconds - time.monotonic()))
        say(f"{time.monotonic() - began:4.0f} s: {what}")

    victim = next(iter(first.worker_pids))
    at(size.kill_at, f"kill -9 of {victim}, and another one is started")
    first.kill(victim)
    watch.dead.add(victim)
    first.add_worker()
    at(size.cut_at, f"{last} is cut off from its peers and the edge")
    cells.cut(last, edge=True)
    at(size.mend_at, f"{last} is reached again")
    cells.mend(last)


class _Watch:
    """Looks into the stores, which know best."""

    def __init__(self, cells: Cells, size: Size) -> None:
        self.seen = Watched()
        self.dead: set[str] = set()
        """Workers that were killed: their lessons are not live any more, whatever a store says."""
        self._size = size
        self._stores = {
            name: valkey.Valkey.from_url(cell.store_url, decode_responses=True)
            for name, cell in cells.cells.items()
        }

    def look(self) -> None:
        """Once."""
        live = 0
        for name, store in self._stores.items():
            known: list[Any] = store.hkeys(f"{{{name}}}:w")
            leases = held(store, name, known)
            over = sum(max(0, count - self._size.slots) for count in leases.values())
            self.seen.oversold = max(self.seen.oversold, over)
            starting: dict[str, str] = store.hgetall(f"{{{name}}}:st")
            alive = [one for one in known if one not in self.dead]
            live += sum(leases[one] - int(starting.get(one, 0)) for one in alive)
        self.seen.live.append(live)
        time.sleep(_LOOK_EVERY_S)

    def queued(self) -> int:
        """In all queues."""
        sizes: list[Any] = [s.zcard(f"{{{name}}}:tickets") for name, s in self._stores.items()]
        return sum(sizes)

    def until_empty(self) -> None:
        """Until no lease is left, or it took too long."""
        deadline = time.monotonic() + _SETTLE_S
        while (left := sum(self._leases())) and time.monotonic() < deadline:
            time.sleep(_LOOK_EVERY_S)
        self.seen.left = left

    def _leases(self) -> list[int]:
        found: list[Any] = [s.zcard(f"{{{name}}}:exp") for name, s in self._stores.items()]
        return found


def _figures(told: Told, watched: Watched, size: Size) -> dict[str, Figure]:
    if not told.served:
        raise BenchError("not one lesson was served")
    steady = watched.live[len(watched.live) // 5 :]
    refused = ", ".join(f"{count} x {what}" for what, count in told.refused.most_common(6))
    reasons = "; ".join(f"{count} x {why}" for why, count in told.reasons.most_common())
    return {
        "lessons_live_at_once": at_least(max(watched.live), "lessons", size.all_slots),
        "lessons_live_median": _plain(median(steady), "lessons", "of looks after the first fifth"),
        "lessons_untold": Figure(
            len(told.untold), "lessons", "= 0", not told.untold,
            baseline=told.served, baseline_unit="served",
            note="nobody could say what became of them: "
            + ("; ".join(told.untold[:10]) or "none"),
        ),
        "lessons_failed": _plain(told.reasons.total(), "lessons", f"and why: {reasons or 'none'}"),
        "lessons_waiting": _plain(told.waiting, "lessons", "when time was up"),
        "oversold": exactly(watched.oversold, "slots", 0),
        "leases_left": exactly(watched.left, "leases", 0),
        "answer_p50_ms": _plain(median(told.answers_s) * 1000, "ms", "POST sessions, at the edge"),
        "answer_p95_ms": _plain(p95(told.answers_s) * 1000, "ms", "POST sessions, at the edge"),
        "asked_again": _plain(told.refused.total(), "answers", refused or "none"),
    }  # fmt: skip


def _plain(value: float, unit: str, note: str) -> Figure:
    return Figure(value, unit, "", None, note=note)  # nothing is asked of it
