"""The threads that drive the engine, and since when they do what they do."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Literal, TypeVar

T = TypeVar("T")
Kind = Literal["batch", "load", "beat"]
_Job = tuple[Kind, Future[Any], Callable[[], Any]]


@dataclass(frozen=True)
class Running:
    """A call under way; ``since`` on the threads' clock."""

    kind: Kind
    since: float


class EngineThreads:
    """``count`` calls at a time, begun in the order they were asked for.

    Daemon threads, unlike an executor's: a call that hangs in the driver must not hold the end of
    the process.
    """

    def __init__(self, count: int = 1, clock: Callable[[], float] = time.monotonic) -> None:
        self.count = count
        self._clock = clock
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._running: list[Running | None] = [None] * count
        self._busy_s = [0.0] * count
        self._beat: tuple[Future[None], float] | None = None
        self._last: Callable[[], None] | None = None
        self._at_work = count
        self._leaving = threading.Lock()
        self._threads = [
            threading.Thread(target=self._run, args=(at,), name=f"engine-{at}", daemon=True)
            for at in range(count)
        ]
        for one in self._threads:
            one.start()

    @property
    def busy_s(self) -> float:
        """What their calls took on the clock, of a thread on average."""
        return sum(self._busy_s) / self.count

    @property
    def running(self) -> Running | None:
        """The call that has been under way for longest."""
        calls = [call for call in self._running if call is not None]
        return min(calls, key=lambda call: call.since, default=None)

    @property
    def beat_since(self) -> float | None:
        """When the heartbeat was asked for that is not answered yet."""
        if self._beat is None or self._beat[0].done():
            return None
        return self._beat[1]

    def submit(self, kind: Kind, function: Callable[[], T]) -> Future[T]:
        """Runs ``function`` once those before it have begun. Raises RuntimeError once closed."""
        if self._last is not None:
            raise RuntimeError("the engine is closed; ask no more of it")
        future: Future[T] = Future()
        self._jobs.put((kind, future, function))
        return future

    def beat(self) -> None:
        """Asks for a sign of life, unless one is still awaited."""
        if self.beat_since is None:
            self._beat = (self.submit("beat", lambda: None), self._clock())

    def close(self, last: Callable[[], None], limit_s: float) -> bool:
        """Waits for the calls under way, drops those after them, then runs ``last``.

        False when a thread did not come back within ``limit_s``: it is left behind.
        """
        with contextlib.suppress(Empty):
            while (job := self._jobs.get_nowait()) is not None:
                job[1].cancel()
        self._last = last
        for _ in self._threads:
            self._jobs.put(None)
        until = time.monotonic() + limit_s
        for one in self._threads:
            one.join(max(0.0, until - time.monotonic()))
        return not any(one.is_alive() for one in self._threads)

    def _run(self, at: int) -> None:
        while (job := self._jobs.get()) is not None:
            self._call(at, *job)
            del job
        with self._leaving:
            self._at_work -= 1
            is_last = self._at_work == 0
        if is_last and self._last is not None:
            self._call(at, "load", Future(), self._last)

    def _call(self, at: int, kind: Kind, future: Future[Any], function: Callable[[], Any]) -> None:
        if not future.set_running_or_notify_cancel():
            return
        call = self._running[at] = Running(kind, self._clock())
        try:
            result = function()
        except BaseException as error:  # noqa: BLE001 - its caller's, not the thread's
            self._done(at, call)
            future.set_exception(error)
        else:
            self._done(at, call)
            future.set_result(result)

    def _done(self, at: int, call: Running) -> None:
        self._busy_s[at] += self._clock() - call.since
        self._running[at] = None
