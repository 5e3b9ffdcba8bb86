"""One seeded run of a whole cell under faults, and what must be true after them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, cast
from unittest.mock import patch

from control.domain.errors import RapidoError
from control.domain.geography import REGIONS
from control.domain.rooms import LivekitServer
from control.services import sessions, setup, upkeep
from control.services.ports import Cell, Store, StoreAway, WorkerRefused
from ops.simulate.clients import LINES, SimClient
from ops.simulate.machine import SimStates
from ops.simulate.model import ModelStore
from ops.simulate.planner import CLASS, SimPlanner
from ops.simulate.ports import NoPeers, SimQueue, SimRecords, SimRooms, SimWorkerCalls
from ops.simulate.watch import WatchedStore
from ops.simulate.workers import SimWorker, Stream
from ops.simulate.world import EPOCH_MS, Chances, World

CALM_AFTER_MS = 90_000
SETTLED_AFTER_MS = 250_000
"""By then a setup that hung has timed out (120 s), and the tick has looked at it."""
EXPECTED = (
    RapidoError, StoreAway, WorkerRefused, setup.LeaseLost, setup.SetupOver, setup.NoWorker,
)  # fmt: skip
"""What the control plane raises on purpose."""
TICKED_WITHIN_MS = 61_000
MakeStore = Callable[[Callable[[], int]], ModelStore]


@dataclass(frozen=True)
class Result:
    """``problems`` is empty for a good run."""

    seed: int
    problems: tuple[str, ...]
    figures: dict[str, int] = field(default_factory=dict)


class Trial:
    """A cell, its workers and its clients in one virtual world."""

    def __init__(self, seed: int, make_store: MakeStore = ModelStore) -> None:
        self.seed = seed
        self.world = World(seed, Chances(), CALM_AFTER_MS, EXPECTED)
        self.model = make_store(lambda: self.world.now_ms)
        self.states = SimStates(self.world)
        self.rooms: dict[str, Stream] = {}
        self.failovers = 0
        self._calls = SimWorkerCalls(self.world)
        self.fleet = self._calls.fleet
        self.cell = self._cell()
        self.states.functions = self._functions()
        self.clients: list[SimClient] = []

    def _cell(self) -> Cell:
        region = "us-east-1"
        return Cell(
            name="sim",
            region=region,
            at=REGIONS[region],
            livekit=(LivekitServer(region, "ws://livekit", REGIONS[region]),),
            store=cast(Store, WatchedStore(self.world, self.model, self.fleet)),
            workflows=self.states,
            queue=SimQueue(self.world),
            records=SimRecords(),
            rooms=SimRooms(self.world, self._room_closed),
            workers=self._calls,
            peer_calls=NoPeers(),
        )

    def _functions(self) -> dict[str, Callable[[dict[str, Any]], Any]]:
        cell = self.cell

        def fail(event: dict[str, Any]) -> None:
            fault = event["fault"]
            said = fault["Cause"] if fault["Error"] == "NoWorker" else ""
            setup.fail(cell, event["session_id"], said or "The avatar could not be started.")

        return {
            "PlaceFunction": lambda e: setup.place(cell, e["execution"], e["given"]),
            "StartStreamFunction": lambda e: setup.start_stream(
                cell, e["session_id"], e["execution"], e["task_token"]
            ),
            "ActivateFunction": lambda e: setup.activate(cell, e["session_id"], e["generation"]),
            "RecordFunction": lambda e: {"recorded": upkeep.flush(cell), **e},
            "PlaceAgainFunction": lambda e: setup.place_again(
                cell, e["session_id"], e["execution"], unable=e["fault"]["Error"] == "WorkerUnable"
            ),
            "FailFunction": fail,
        }

    def run(self) -> Result:
        """From an empty cell to long after the last fault."""
        with _seeded_ids(self.world.rng):
            self._cast()
            self._accidents()
            self.world.run(EPOCH_MS + SETTLED_AFTER_MS)
        if not self.world.problems:
            for words in self._aftermath():
                self.world.problem(words)
        return Result(self.seed, tuple(self.world.problems), self._figures())

    def _cast(self) -> None:
        world, rng = self.world, self.world.rng
        for number in range(rng.choice((2, 2, 3, 4, 9, 9))):
            name = f"w{number}"
            worker = SimWorker(world, self.cell, name, rng.randint(1, 4), self.rooms)
            self.fleet[name] = worker
            world.at(rng.randint(0, 3_000), worker.boot)
        burst_ms = rng.randint(5_000, 60_000)
        for number in range(rng.randint(10, 20)):
            tenant = rng.choice(sorted(LINES))
            in_class = number < 7
            class_id = CLASS if in_class else None
            client = SimClient(world, self.cell, number, tenant, self._emptied, class_id)
            self.clients.append(client)
            start_ms = burst_ms + rng.randint(0, 800) if in_class else rng.randint(4_000, 75_000)
            world.at(start_ms, client.begin)
        world.at(rng.randint(0, 60_000), self._tick)
        world.at(1_000, self._sweep)
        if rng.random() < 0.6:
            planner = SimPlanner(world, self.cell, sorted(self.fleet), rng.choice(sorted(LINES)))
            world.at(rng.randint(3_000, 30_000), lambda: self._plan(planner))

    def _plan(self, planner: SimPlanner) -> None:
        self.world.at(self.world.rng.randint(2_000, 12_000), lambda: self._plan(planner))
        self.states.run(lambda _: planner.say(), {})

    def _tick(self) -> None:
        self.world.at(60_000, self._tick)
        if not self.world.chance(self.world.chances.lost):
            self.states.run(lambda _: _minute(self.cell), {})

    def _sweep(self) -> None:
        self.world.at(1_000, self._sweep)
        for worker in self.fleet.values():
            worker.sweep()

    def _room_closed(self, room: str) -> None:
        for worker in self.fleet.values():
            worker.leave_room(room)

    def _emptied(self, session_id: str) -> None:
        self.world.at(10_000, lambda: self._room_closed(session_id))

    def _accidents(self) -> None:
        world, rng = self.world, self.world.rng
        names = sorted(self.fleet)
        for _ in range(rng.randint(0, 3)):
            world.at(rng.randint(8_000, CALM_AFTER_MS), self._killer([rng.choice(names)]))
        if rng.random() < 0.35:
            zone = rng.sample(names, rng.choice((len(names), max(1, len(names) // 2))))
            world.at(rng.randint(20_000, 60_000), self._killer(zone))
        if rng.random() < 0.4:
            self._cut_off(rng.choice(names), rng.randint(10_000, 60_000))
        if rng.random() < 0.3:
            worker = self.fleet[rng.choice(names)]
            world.at(rng.randint(20_000, 80_000), worker.depart)
        if rng.random() < 0.2:
            world.at(rng.randint(20_000, 80_000), lambda: self._drained(rng.choice(names)))
        if rng.random() < 0.5:
            self._store_leaves(rng.randint(10_000, 60_000), rng.choice((1, 4, 9, 14, 20, 28)))
        if rng.random() < 0.6:
            self._fails_over(rng.randint(12_000, 80_000), rng.choice((20, 200, 1_000, 4_000)))

    def _killer(self, names: list[str]) -> Callable[[], None]:
        back_ms = self.world.rng.choice((None, 1_000, 9_000, 40_000))

        def kill() -> None:
            for name in names:
                self.fleet[name].kill(back_ms)

        return kill

    def _drained(self, name: str) -> None:
        if not self.world.store_away:
            self.model.drain(name)

    def _cut_off(self, name: str, at_ms: int) -> None:
        worker = self.fleet[name]
        self.world.at(at_ms, lambda: setattr(worker, "cut_off", True))
        back_ms = at_ms + self.world.rng.choice((3_000, 12_000, 25_000))
        self.world.at(back_ms, lambda: setattr(worker, "cut_off", False))

    def _store_leaves(self, at_ms: int, for_s: int) -> None:
        def leave() -> None:
            self.world.store_away, self.world.store_left_ms = True, self.world.now_ms

        def come_back() -> None:
            self.world.store_away, self.world.store_back_ms = False, self.world.now_ms

        self.world.at(at_ms, leave)
        self.world.at(at_ms + for_s * 1000, come_back)

    def _fails_over(self, at_ms: int, lost_ms: int) -> None:
        """The replica has all but the last writes; nobody is answered while it takes over."""
        copies: list[Any] = []
        self.world.at(at_ms - lost_ms, lambda: copies.append(self.model.clone()))

        def fail_over() -> None:
            self.model.restore(copies[0])
            self.failovers += 1

        self.world.at(at_ms, fail_over)
        self._store_leaves(at_ms, self.world.rng.randint(1, 3))

    def _aftermath(self) -> Iterator[str]:
        yield from self.model.check()
        state = self.model.state
        playing = {
            (one.session_id, one.generation): name
            for name, worker in self.fleet.items()
            for one in worker.playing()
            if one.state == "live"
        }
        for sid, (name, generation) in state.lease.items():
            if playing.get((sid, generation)) != name:
                yield f"a slot leaked: {sid} has a lease on {name} and does not run there"
        for (sid, generation), name in playing.items():
            if state.lease.get(sid) != (name, generation):
                yield f"{name} runs {sid} without its lease"
        if state.turns and state.free:
            yield f"{len(state.tickets)} wait in the queue while {len(state.free)} have free slots"
        for sid, deadline_ms in state.tickets.items():
            if deadline_ms < self.world.now_ms - TICKED_WITHIN_MS:
                yield f"{sid} still waits, and nobody asks for it any more"
        for sid, kept in state.sessions.items():
            if kept.session.status == "starting":
                yield f"{sid} still starts, long after the last fault"
            if not kept.session.is_open and not kept.session.reason:
                yield f"{sid} {kept.session.status} and nobody says why"
        yield from self._planned()
        yield from self._promises()

    def _planned(self) -> Iterator[str]:
        """What the planner said last is so."""
        for lease, (name, _) in self.model.state.held.items():
            yield f"a slot leaked: {lease} is held on {name}, long after its end"
        for name, worker in self.model.state.workers.items():
            if worker.order is None:
                yield f"{name} is closed though the planner opened it"

    def _promises(self) -> Iterator[str]:
        """Every accepted lesson was served, or its failure told."""
        for client in self.clients:
            for sid in client.accepted:
                if self.model.session(sid) is None and not self.failovers:
                    yield f"{sid} was accepted and is forgotten"
            if client.accepted and client.told in ("nothing yet", "starting", "unavailable"):
                yield f"the client of {client.accepted[-1]} knows of {client.told}"

    def _figures(self) -> dict[str, int]:
        counts = self.model.counts()
        return {
            "events": self.world.events,
            "accepted": sum(len(client.accepted) for client in self.clients),
            "live": counts.get("live", 0),
            "ended": counts.get("ended", 0),
            "failed": counts.get("failed", 0),
            "failovers": self.failovers,
            "in_held_slots": sum(
                bool(kept.session.why.get("held")) for kept in self.model.state.sessions.values()
            ),
            **self.model.repairs(),
        }


def _minute(cell: Cell) -> None:
    """The tick's part in sessions, in which one that fails keeps no other from its work."""
    for part in (upkeep.reap, upkeep.probe, upkeep.flush):
        with suppress(*EXPECTED):
            part(cell)


@contextmanager
def _seeded_ids(rng: random.Random) -> Iterator[None]:
    """Session ids of the run's own chance, so that a seed is the same run again."""
    seeded = lambda cell: f"s-{cell}-{rng.getrandbits(40):010x}"  # noqa: E731
    with patch.object(sessions, "new_session_id", seeded):
        yield
