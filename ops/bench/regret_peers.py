"""How much worse the chosen worker is than the best of all cells', where peers hear late.

Three cells of one store under a virtual clock: the real scripts, the real choice between cells, and
summaries that are under way as long as the round trips between the regions say.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from control.adapters.store import ValkeyStore
from control.contracts.session import CreateSession, UserLocation
from control.domain.geography import REGIONS, Point, distance_km
from control.domain.placement import Scored, distance_term, terms
from control.services import peers, summaries
from control.services.peer_ports import Peer
from control.services.ports import Caller, Cell
from ops.bench.regret import MOST_LATE_MS
from ops.bench.stage import BenchError, Stage, placing

ROUND_TRIPS_MS = {
    frozenset(("us-east-1", "us-west-2")): 75,
    frozenset(("us-east-1", "eu-central-1")): 90,
    frozenset(("us-west-2", "eu-central-1")): 145,
}
NAMES = ("us-east-1", "us-west-2", "eu-central-1")
_MOST_CHANGES = 500
_SHARES = (0.55, 0.25, 0.2)
"""Of the learners, near each cell: the first one has too few slots for its own."""
_USED = 0.83
"""Of all slots, once lessons end as often as they begin."""
_EVERY_MS = 200
"""Between two requests, on average; a class begins near a cell at once now and then."""
_CLASS, _CLASS_CHANCE = 30, 0.004
_HOUR_MS = 3_600_000
_CALLER = Caller("school", "client")


@dataclass(frozen=True)
class PeersRegret:
    """Mean and p99 of the choice; mean of the nearest cell's best; share handed over."""

    mean: float
    p99: float
    nearest: float
    handed: float
    placements: int


def regret_peers(url: str, workers: int, placements: int, seed: int) -> PeersRegret:
    """``workers`` of random slots and lateness a cell; lessons come, are placed, and end.

    The first third of the placements fills the cells and is not counted.
    """
    world = _World(url, workers, seed)
    world.run(placements)
    counted = world.regrets[placements // 3 :]
    nearest = world.nearest[placements // 3 :]
    return PeersRegret(
        fmean(counted),
        float(np.percentile(counted, 99)),
        fmean(nearest),
        world.handed / len(world.regrets),
        len(counted),
    )


class _Side:
    """One cell: its stage, its use cases' context, what its workers look like."""

    def __init__(self, url: str, name: str, clock: Callable[[], int]) -> None:
        self.name = name
        self.stage = Stage(url, f"far-{name}")
        self.stage.store = ValkeyStore(url, self.stage.cell, name, clock=clock)
        nothing: Any = None  # the choice between cells asks the store alone
        self.cell = Cell(
            name=name, region=name, at=REGIONS[name], livekit=(), store=self.stage.store,
            workflows=nothing, queue=nothing, records=nothing, rooms=nothing, workers=nothing,
            peer_calls=nothing,
            peers=tuple(Peer(one, one, REGIONS[one], "") for one in NAMES if one != name),
        )  # fmt: skip
        self.known: dict[str, tuple[int, float]] = {}
        self.used: dict[str, int] = {}

    def enlist(self, chance: random.Random, workers: int, now_ms: int) -> None:
        for number in range(workers):
            name = f"w{number:03d}"
            self.stage.register(name, number)
            late_ms, slots = chance.uniform(0.0, MOST_LATE_MS), chance.randint(4, 24)
            for _ in range(2):
                self.stage.beat(name, slots, late_ms)
        for one in self.stage.store.workers():
            self.known[one["worker_id"]] = int(one["slots"]), float(one["late"])
        self.used = dict.fromkeys(self.known, 0)
        heard = dict.fromkeys(self.known, now_ms + _HOUR_MS)
        self.stage.raw.zadd(self.stage.key("hb"), heard)

    def best(self, distance: float) -> float | None:
        """Of all its workers; None where no slot is free."""
        free = [name for name, used in self.used.items() if used < self.known[name][0]]
        return max((self.scored(name, distance).score for name in free), default=None)

    def scored(self, name: str, distance: float) -> Scored:
        slots, late_ms = self.known[name]
        return terms(name, distance, slots, self.used[name], late_ms, True)


def _half_ms(one: _Side, other: _Side) -> int:
    return ROUND_TRIPS_MS[frozenset((one.name, other.name))] // 2


class _World:
    def __init__(self, url: str, workers: int, seed: int) -> None:
        self.now_ms = 1_795_000_000_000
        self.regrets: list[float] = []
        self.nearest: list[float] = []
        self.handed = 0
        self._chance = random.Random(seed)  # noqa: S311 - no secret
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._lessons = itertools.count()
        self._sides = {name: _Side(url, name, lambda: self.now_ms) for name in NAMES}
        for side in self._sides.values():
            side.enlist(self._chance, workers, self.now_ms)
            self._at(self._chance.randint(0, summaries.EVERY_MS), self._tells(side))
        slots = sum(count for side in self._sides.values() for count, _ in side.known.values())
        a_request = 1 + (_CLASS - 1) * _CLASS_CHANCE
        self._lesson_ms = _USED * slots * _EVERY_MS / a_request

    def run(self, placements: int) -> None:
        self._at(2 * summaries.EVERY_MS, self._request)
        while len(self.regrets) < placements:
            self.now_ms, _, act = heapq.heappop(self._events)
            act()

    def _at(self, after_ms: int, act: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now_ms + after_ms, next(self._order), act))

    def _tells(self, side: _Side) -> Callable[[], None]:
        def tell() -> None:
            self._at(summaries.EVERY_MS, tell)
            for peer in side.cell.peers:
                self._tell(side, self._sides[peer.cell])

        return tell

    def _tell(self, side: _Side, peer: _Side) -> None:
        """A summary is half a round trip under way, and its acknowledgement the other half."""
        half_ms = _half_ms(side, peer)
        told = side.stage.store.summary(peer.name, _MOST_CHANGES)

        def arrives() -> None:
            known, _ = peer.stage.store.hear(side.name, told, 0)
            self._at(half_ms, lambda: side.stage.store.acknowledge(peer.name, known))

        self._at(half_ms, arrives)

    def _request(self) -> None:
        self._at(1 + int(self._chance.expovariate(1 / _EVERY_MS)), self._request)
        near = REGIONS[self._chance.choices(NAMES, _SHARES)[0]]
        count = _CLASS if self._chance.random() < _CLASS_CHANCE else 1
        for _ in range(count):
            at = Point(
                near.latitude + self._chance.uniform(-8, 8),
                near.longitude + self._chance.uniform(-20, 20),
            )
            self._at(
                self._chance.randint(0, 2_000) if count > 1 else 0, lambda at=at: self._ask(at)
            )

    def _ask(self, at: Point) -> None:
        lesson = f"lesson-{next(self._lessons)}"
        nearest = min(self._sides.values(), key=lambda one: distance_km(at, one.cell.at))
        ask = CreateSession(
            lesson_id=lesson,
            user_location=UserLocation(latitude=at.latitude, longitude=at.longitude),
        )
        offered = peers.order(nearest.cell, _CALLER, ask, None, full=False)
        if not offered:
            self._place(nearest, nearest, lesson, at)
            return
        peer = self._sides[offered[0]]
        self._at(_half_ms(nearest, peer), lambda: self._place(nearest, peer, lesson, at))

    def _place(self, nearest: _Side, side: _Side, lesson: str, at: Point) -> None:
        scores = {name: self._best(one, at) for name, one in self._sides.items()}
        best = max((score for score in scores.values() if score is not None), default=None)
        distance = distance_term(side.cell.at, at, None)
        asked = placing(side.stage.cell, lesson, distance)
        placed = side.stage.store.place(asked)
        if placed.outcome != "placed":
            if best is None:
                return  # every cell is full
            side = nearest
            distance = distance_term(side.cell.at, at, None)
            asked = placing(side.stage.cell, lesson, distance)
            placed = side.stage.store.place(asked)
            if placed.outcome != "placed":
                return
        worker, generation = side.stage.leases([asked.session_id])[0]
        if not side.stage.store.confirm(asked.session_id, generation):
            raise BenchError(f"{asked.session_id} lost its lease")
        if best is None:
            raise BenchError("a slot was found where none was free")
        self.regrets.append(best - side.scored(worker, distance).score)
        own = scores[nearest.name]
        self.nearest.append(best - own if own is not None else best)
        self.handed += side is not nearest
        side.used[worker] += 1
        until_ms = int(self._chance.expovariate(1 / self._lesson_ms))

        def end() -> None:
            side.stage.finish(asked.session_id)
            side.used[worker] -= 1

        self._at(until_ms, end)

    def _best(self, side: _Side, at: Point) -> float | None:
        return side.best(distance_term(side.cell.at, at, None))
