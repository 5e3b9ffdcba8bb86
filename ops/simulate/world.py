"""Virtual time: one seeded queue of events, and the accidents that befall whoever calls."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass

EPOCH_MS = 1_800_000_000_000
DEEPEST_PAUSE = 3
PAUSES_MS = (5, 40, 300, 2_000, 2_000, 16_000)


class Died(BaseException):
    """A function's process ended between two calls; nothing of it can catch that."""


@dataclass(frozen=True)
class Chances:
    """Of each accident, a call; all of them only while faults last."""

    lost: float = 0.04
    doubled: float = 0.02
    delayed: float = 0.03
    answer_lost: float = 0.02
    dies: float = 0.05
    pauses: float = 0.02
    store_fails: float = 0.003


class World:
    """``now_ms`` is everybody's time but for the workers' own clocks, which are wrong."""

    def __init__(
        self,
        seed: int,
        chances: Chances,
        calm_after_ms: int,
        expected: tuple[type[Exception], ...] = (),
    ) -> None:
        self.rng = random.Random(seed)  # noqa: S311 - a simulation's
        self.chances = chances
        self.now_ms = EPOCH_MS
        self.calm_after_ms = EPOCH_MS + calm_after_ms
        self.store_away = False
        self.store_left_ms = self.store_back_ms = EPOCH_MS
        self.problems: list[str] = []
        self.events = 0
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self._expected = expected
        self._fuses: list[int | None] = []
        self._pauses = 0

    @property
    def since_ms(self) -> int:
        """Virtual milliseconds since the run began."""
        return self.now_ms - EPOCH_MS

    def problem(self, words: str) -> None:
        """An invariant does not hold; the first one is what a failing seed prints."""
        self.problems.append(f"at {self.since_ms / 1000:.3f} s: {words}")

    def chance(self, probability: float) -> bool:
        """Never after the last fault."""
        return self.now_ms < self.calm_after_ms and self.rng.random() < probability

    def at(self, delay_ms: float, act: Callable[[], None]) -> None:
        """Later, by this many milliseconds."""
        self._count += 1
        heapq.heappush(self._queue, (self.now_ms + max(0, int(delay_ms)), self._count, act))

    def run(self, until_ms: int) -> None:
        """All events up to that moment, in order; stops at the first problem."""
        while self._queue and self._queue[0][0] <= until_ms and not self.problems:
            at, _, act = heapq.heappop(self._queue)
            self.now_ms = max(self.now_ms, at)
            self.events += 1
            act()
        self.now_ms = max(self.now_ms, until_ms)

    def invoke(self, act: Callable[[], object]) -> object:
        """Runs a function of the control plane. Raises Died, and what it raises.

        An error that is none of the expected ones is a problem of the run.
        """
        self._fuses.append(self.rng.randint(1, 14) if self.chance(self.chances.dies) else None)
        try:
            return act()
        except self._expected:
            raise
        except Exception as error:
            self.problem(f"a function raised {type(error).__name__}: {error}")
            raise
        finally:
            self._fuses.pop()

    def step(self) -> None:
        """Between any two outside calls of a function: it may die, others may go on meanwhile."""
        if not self._fuses:
            return
        fuse = self._fuses[-1]
        if fuse is not None:
            self._fuses[-1] = fuse - 1
            if fuse <= 1:
                raise Died
        if self._pauses < DEEPEST_PAUSE and self.chance(self.chances.pauses):
            self._pauses += 1
            try:
                self.run(self.now_ms + self.rng.choice(PAUSES_MS))
            finally:
                self._pauses -= 1

    def send(self, act: Callable[[], object], then: Callable[[object], None]) -> None:
        """A request over the network and its answer.

        ``then`` gets what ``act`` answered or the Exception it raised, or Unreachable when it
        died, was lost, or took longer than the caller waits.
        """
        call = _Call(self, act, then)
        if self.chance(self.chances.lost):
            self.at(_TIMEOUT_MS, call.time_out)
            return
        wait_ms = self.rng.randint(2, 20)
        if self.chance(self.chances.delayed):
            wait_ms = self.rng.choice((300, 3_000, 8_000, 20_000))
        self.at(wait_ms, call.arrive)
        if self.chance(self.chances.doubled):
            self.at(wait_ms + self.rng.randint(1, 6_000), call.arrive)
        self.at(_TIMEOUT_MS, call.time_out)


_TIMEOUT_MS = 5_000


class Unreachable(Exception):
    """No answer came in time; the call may have been done or not."""


class _Call:
    def __init__(
        self, world: World, act: Callable[[], object], then: Callable[[object], None]
    ) -> None:
        self._world, self._act, self._then = world, act, then
        self._settled = False

    def arrive(self) -> None:
        try:
            answer = self._world.invoke(self._act)
        except Died:
            answer = Unreachable()
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets it
            answer = error
        if not self._world.chance(self._world.chances.answer_lost):
            self._world.at(self._world.rng.randint(1, 10), lambda: self._settle(answer))

    def time_out(self) -> None:
        self._settle(Unreachable())

    def _settle(self, answer: object) -> None:
        if not self._settled:
            self._settled = True
            self._then(answer)


class Backoff:
    """Waits as the worker's does: twice as long each time, up to ``most_ms``, with chance in it."""

    def __init__(self, world: World, first_ms: float = 250, most_ms: float = 3_000) -> None:
        self._world, self._first_ms, self._most_ms = world, first_ms, most_ms
        self._times = 0

    def next_ms(self) -> float:
        """Before the next try."""
        limit = min(self._most_ms, self._first_ms * 2.0**self._times)
        self._times += 1
        return self._world.rng.uniform(limit / 2, limit)
