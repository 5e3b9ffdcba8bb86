"""How much worse the chosen worker is than the best of all, by the domain's own scoring."""

from __future__ import annotations

import random
from dataclasses import dataclass
from statistics import fmean

from control.domain.placement import Scored, choose, terms
from ops.bench.stage import BenchError, Stage, placing

MOST_LATE_MS = 78.0  # two heartbeats smooth it to 0.51 of that


@dataclass(frozen=True)
class Regret:
    """Means over all placements: of the choice, and of any free worker at random."""

    chosen: float
    at_random: float
    placements: int


def regret(url: str, fleets: int, workers: int, placements: int, seed: int) -> Regret:
    """Random fleets of random slots, loads and lateness; sessions come and go on each."""
    chance = random.Random(seed)  # noqa: S311 (no secret)
    chosen: list[float] = []
    blind: list[float] = []
    for number in range(fleets):
        fleet = _Fleet(Stage(url, f"regret-{number}"), chance, workers)
        for _ in range(placements):
            a, b = fleet.place()
            chosen.append(a)
            blind.append(b)
            fleet.end_one()
    return Regret(fmean(chosen), fmean(blind), len(chosen))


class _Fleet:
    """One stage and what its workers must look like: slots, lateness, leases."""

    def __init__(self, stage: Stage, chance: random.Random, workers: int) -> None:
        self._stage = stage
        self._chance = chance
        self._open: list[tuple[str, str]] = []
        # Every worker first offers just the slots that shall be in use, then all it has.
        slots = {f"w{number:06d}": chance.randint(4, 24) for number in range(workers)}
        wanted = {name: chance.randint(0, most - 1) for name, most in slots.items()}
        late = {name: chance.uniform(0.0, MOST_LATE_MS) for name in slots}
        for number, name in enumerate(slots):
            stage.register(name, number)
            stage.beat(name, wanted[name], late[name])
        stage.keep_alive()
        self.used = dict.fromkeys(slots, 0)
        for number in range(sum(wanted.values())):
            self._take(f"before-{number}", 1.0)
        if self.used != wanted:
            raise BenchError("the workers are not as full as what they offered")
        for name, most in slots.items():
            stage.beat(name, most, late[name])
        stage.keep_alive()
        known = stage.store.workers()
        self._slots = {one["worker_id"]: int(one["slots"]) for one in known}
        self._late_ms = {one["worker_id"]: float(one["late"]) for one in known}

    def place(self) -> tuple[float, float]:
        """One session; the regret of the choice, and the mean regret of a blind one."""
        distance = self._chance.random()
        free = [name for name, used in self.used.items() if used < self._slots[name]]
        scored = {name: self._scored(name, distance) for name in free}
        best = choose(scored.values())
        if best is None:
            raise BenchError("no worker is free")
        worker = self._take(f"turn-{self._chance.random()}", distance)
        mean = fmean(one.score for one in scored.values())
        return best.score - scored[worker].score, best.score - mean

    def end_one(self) -> None:
        """A session of any worker ends."""
        session_id, worker = self._open.pop(self._chance.randrange(len(self._open)))
        self._stage.finish(session_id)
        self.used[worker] -= 1

    def _take(self, lesson: str, distance: float) -> str:
        """Confirmed at once: no worker is spared for having many that still start."""
        ask = placing(self._stage.cell, lesson, distance)
        self._stage.place(ask)
        worker, generation = self._stage.leases([ask.session_id])[0]
        if not self._stage.store.confirm(ask.session_id, generation):
            raise BenchError(f"{ask.session_id} lost its lease")
        self.used[worker] += 1
        self._open.append((ask.session_id, worker))
        return worker

    def _scored(self, name: str, distance: float) -> Scored:
        slots, late_ms = self._slots[name], self._late_ms[name]
        return terms(name, distance, slots, self.used[name], late_ms, True)
