"""The thread that drives the engine, and since when it does what it does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Literal, TypeVar

T = TypeVar("T")
Kind = Literal["batch", "load", "beat"]
_Job = tuple[Kind, Future[Any], Callable[[], Any]]


@dataclass(frozen=True)
class Running:
    """The call under way; ``since`` on the thread's clock."""

    kind: Kind
    since: float


class EngineThread:
    """One call at a time, in order.

    A daemon thread, unlike an executor's: a call that hangs in the driver must not hold the end of
    the process. ``busy_s``: the time that its calls took, all together, on its clock.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.busy_s = 0.0
        self._clock = clock
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._running: Running | None = None
        self._beat: tuple[Future[None], float] | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @property
    def running(self) -> Running | None:
        """The call under way."""
        return self._running

    @property
    def beat_since(self) -> float | None:
        """When the heartbeat was asked for that is not answered yet."""
        if self._beat is None or self._beat[0].done():
            return None
        return self._beat[1]

    def submit(self, kind: Kind, function: Callable[[], T]) -> Future[T]:
        """Runs ``function`` after those before it. Raises RuntimeError once closed."""
        if self._closed:
            raise RuntimeError("the engine is closed; ask no more of it")
        future: Future[T] = Future()
        self._jobs.put((kind, future, function))
        return future

    def beat(self) -> None:
        """Asks for a sign of life, unless one is still awaited."""
        if self.beat_since is None:
            self._beat = (self.submit("beat", lambda: None), self._clock())

    def close(self, last: Callable[[], None], limit_s: float) -> bool:
        """Waits for the call under way, drops those after it, then runs ``last``.

        False when the thread did not come back within ``limit_s``: it is left behind.
        """
        while not self._jobs.empty():
            job = self._jobs.get()
            if job is not None:
                job[1].cancel()
        self.submit("load", last)
        self._closed = True
        self._jobs.put(None)
        self._thread.join(limit_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            kind, future, function = job
            if not future.set_running_or_notify_cancel():
                continue
            self._running = Running(kind, self._clock())
            try:
                result = function()
            except BaseException as error:  # noqa: BLE001 - its caller's, not the thread's
                self._done(self._running)
                future.set_exception(error)
            else:
                self._done(self._running)
                future.set_result(result)
            del job, future, function

    def _done(self, call: Running) -> None:
        self.busy_s += self._clock() - call.since
        self._running = None
