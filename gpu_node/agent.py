"""The worker towards its cell: register, measure, beat, obey; and leave in order.

A cell that does not answer costs no lesson: what is live stays live, and the agent tries again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Protocol

from control.contracts.worker import (
    Heartbeat,
    HeartbeatReply,
    Register,
    Registered,
    RoomAccess,
    StartStream,
    StreamEvent,
    WarmRoom,
    WorkerState,
)
from gpu_node import auth
from gpu_node.cell_client import Backoff, CellRefused, CellUnreachable
from gpu_node.governor import WINDOW_S, Governor
from gpu_node.metrics import Metrics
from gpu_node.sessions import EventKind, Sessions

_FAREWELL_S = 3.0
_LEAST_INTERVAL_S = 0.05
_log = logging.getLogger(__name__)


class Cell(Protocol):
    """The calls to the cell; each raises CellUnreachable or CellRefused."""

    async def register(self, ask: Register) -> Registered:
        """A new life of this worker."""

    async def heartbeat(self, worker_id: str, beat: Heartbeat) -> HeartbeatReply:
        """Alive."""

    async def event(self, worker_id: str, event: StreamEvent) -> None:
        """Something happened to a stream."""

    async def deregister(self, worker_id: str, registration: int) -> None:
        """Gone."""


class Warm(Protocol):
    """Rooms joined before anyone asks."""

    def told(self) -> tuple[WarmRoom, ...]:
        """Those it sits in."""

    def keep(self, rooms: Sequence[RoomAccess]) -> None:
        """Sits in exactly these."""


class Unwell(Exception):
    """The worker is sick and does not recover by itself: its process must start anew."""


class Superseded(Exception):
    """A newer instance registered under this worker's name."""


class Agent:
    """``boot`` makes the engine ready and says what to register; ``measure`` gives the slots, of
    what it finds in a room of its own; ``ready`` the avatars that need not be loaded first."""

    def __init__(
        self,
        worker_id: str,
        cell: Cell,
        metrics: Metrics,
        boot: Callable[[], Awaitable[Register]],
        measure: Callable[[Sequence[RoomAccess]], Awaitable[int]],
        warm: Callable[[], Warm | None] = lambda: None,
        *,
        ready: Callable[[], tuple[str, ...]] = lambda: (),
        backoff: Callable[[], Backoff] = Backoff,
    ) -> None:
        self.worker_id = worker_id
        self.key: bytes | None = None
        self.unwell: str | None = None
        self._cell = cell
        self._metrics = metrics
        self._boot = boot
        self._measure = measure
        self._warm = warm
        self._ready = ready
        self._backoff = backoff
        self._sessions: Sessions | None = None
        self._register: Register | None = None
        self._registration: int | None = None
        self._probe: tuple[RoomAccess, ...] = ()
        self._governor: Governor | None = None
        self._slots: int | None = None
        self._alongside: tuple[Callable[[], Coroutine[Any, Any, None]], ...] = ()
        self._leaving = False
        self._drained_here = False
        self._drained_by_cell = False
        self._interval_s = 5.0
        self._beat_now = asyncio.Event()
        metrics.slots.set_function(lambda: self.slots)

    def serve(self, sessions: Sessions) -> None:
        """The sessions this agent speaks for."""
        self._sessions = sessions

    def alongside(self, *jobs: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """What runs as long as the worker is registered; what they raise ends ``run``."""
        self._alongside = jobs

    @property
    def slots(self) -> int:
        """As the heartbeat tells them: none while the worker is unwell."""
        return 0 if self.unwell is not None or self._slots is None else self._slots

    @property
    def state(self) -> WorkerState:
        """As the heartbeat tells it."""
        drained = self._drained_here or self._drained_by_cell or self._leaving
        if drained or self.unwell is not None:
            return WorkerState.DRAINING
        return WorkerState.WARMING if self._slots is None else WorkerState.READY

    @property
    def unready(self) -> str | None:
        """What is still missing, in words; None when nothing is."""
        if self._register is None:
            return "The engine is warming up: no frame was rendered yet."
        if self._registration is None:
            return "The cell has not taken this worker's registration yet."
        if self._slots is None:
            return "The worker is measuring how many streams it can hold."
        return self.unwell

    def beat_soon(self) -> None:
        """Something changed that the cell should hear of before the next heartbeat is due."""
        self._beat_now.set()

    def drain(self) -> None:
        """No new session from now on; the live ones end by themselves."""
        self._drained_here = True
        self._apply()

    def stand(self, unwell: str | None) -> None:
        """What the watchdog finds: why the worker is sick, None while it is not."""
        changed = (unwell is None) != (self.unwell is None)
        self.unwell = unwell
        if changed:
            self._apply()

    async def run(self) -> None:
        """Until cancelled. Raises Superseded, and what the boot and the jobs alongside raise."""
        self._register = await self._boot()
        await self._enrol(self._register)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._announce())
            tasks.create_task(self._beat())
            for job in self._alongside:
                tasks.create_task(job())

    async def tell(self, kind: EventKind, ask: StartStream, reason: str) -> None:
        """Tells the cell until it accepts or refuses; a refused first frame ends the stream."""
        backoff = self._backoff()
        while self._registration is not None:
            event = StreamEvent(
                type=kind,
                registration=self._registration,
                session_id=ask.session_id,
                generation=ask.generation,
                reason=reason,
                correlation_id=ask.correlation_id,
            )
            try:
                await self._cell.event(self.worker_id, event)
            except CellUnreachable as error:
                self._metrics.events.labels(kind, "retried").inc()
                _log.warning("event %s waits: %s", kind, error)
                await backoff.wait()
                continue
            except CellRefused as error:
                self._metrics.events.labels(kind, "refused").inc()
                _log.warning("event %s was refused: %s", kind, error)
                if kind == "first_frame" and self._sessions is not None:
                    self._sessions.end(ask.session_id, ask.generation, "The cell refused it.")
                return
            self._metrics.events.labels(kind, "accepted").inc()
            return

    async def leave(self, limit_s: float, hurry: asyncio.Event) -> None:
        """Drains up to ``limit_s`` or until ``hurry``, ends what is left, and deregisters."""
        self._leaving = True
        self._apply()
        warm = self._warm()
        if warm is not None:
            warm.keep(())
        if self._sessions is not None:
            hurried = asyncio.create_task(hurry.wait())
            emptied = asyncio.create_task(self._sessions.empty())
            waits = {hurried, emptied}
            await asyncio.wait(waits, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
            hurried.cancel()
            emptied.cancel()
            try:
                async with asyncio.timeout(_FAREWELL_S):
                    await self._sessions.close("The worker was stopped.")
            except TimeoutError:
                _log.warning("the cell was not told of every session's end")
        if self._registration is None:
            return
        try:
            async with asyncio.timeout(_FAREWELL_S):
                await self._cell.deregister(self.worker_id, self._registration)
        except (TimeoutError, CellUnreachable, CellRefused) as error:
            _log.warning("not deregistered (%s); the cell will miss the heartbeats", error)

    async def _enrol(self, ask: Register) -> None:
        registered = await self._registered(ask)
        self.key = auth.decode_key(registered.key)
        self._registration = registered.registration
        self._probe = registered.probe
        self._interval_s = registered.heartbeat_interval_s
        _log.info("registered", extra={"registration": registered.registration})

    async def _registered(self, ask: Register) -> Registered:
        backoff = self._backoff()
        while True:
            try:
                return await self._cell.register(ask)
            except (CellUnreachable, CellRefused) as error:
                _log.warning("not registered yet: %s", error)
                await backoff.wait()

    async def _announce(self) -> None:
        self._slots = await self._measure(self._probe)
        self._governor = Governor(self._slots)
        if self._sessions is not None:
            self._sessions.slots = self._slots
        self._apply()

    def _apply(self) -> None:
        if self._sessions is not None:
            self._sessions.draining = self.state == WorkerState.DRAINING
        self._beat_now.set()

    async def _beat(self) -> None:
        assert self._register is not None
        backoff = self._backoff()
        while True:
            self._beat_now.clear()
            try:
                reply = await self._cell.heartbeat(self.worker_id, self._heartbeat())
            except CellUnreachable as error:
                self._metrics.heartbeats.labels("lost").inc()
                _log.warning("heartbeat lost, sessions go on: %s", error)
                await backoff.wait()
                continue
            except CellRefused as error:
                self._metrics.heartbeats.labels("refused").inc()
                if error.slug == "stale-registration":
                    raise Superseded("a newer instance registered under this name") from None
                if error.slug == "forgotten-registration":
                    _log.warning("the cell has forgotten this worker; it registers again")
                    await self._enrol(self._register)
                    continue
                _log.error("heartbeat refused, sessions go on: %s", error)
                await backoff.wait()
                continue
            backoff.reset()
            self._metrics.heartbeats.labels("accepted").inc()
            self._obey(reply)
            await self._pause()

    async def _pause(self) -> None:
        try:
            await asyncio.wait_for(self._beat_now.wait(), self._interval_s)
        except TimeoutError:
            return

    def _heartbeat(self) -> Heartbeat:
        assert self._registration is not None
        assert self._register is not None
        self._govern()
        sessions, warm = self._sessions, self._warm()
        return Heartbeat(
            registration=self._registration,
            state=self.state,
            slots=self.slots,
            avatars=sessions.avatars() if sessions is not None else self._register.avatars,
            ready=self._ready(),
            running=sessions.running() if sessions is not None else (),
            lateness_p95_ms=self._metrics.lateness.percentile_ms(95),
            warm=warm.told() if warm is not None else (),
        )

    def _govern(self) -> None:
        if self._governor is None or self._sessions is None:
            return
        before = self._governor.slots
        running = len(self._sessions.running())
        late_ms = self._metrics.lateness.percentile_ms(99, WINDOW_S)
        slots = self._governor.look(time.monotonic(), running, late_ms)
        if slots != before:
            _log.warning("capacity: %d slots now, of %d", slots, self._governor.rated)
            self._slots = self._sessions.slots = slots

    def _obey(self, reply: HeartbeatReply) -> None:
        self._interval_s = max(_LEAST_INTERVAL_S, reply.heartbeat_interval_s)
        drained = reply.desired_state == WorkerState.DRAINING
        if drained != self._drained_by_cell:
            self._drained_by_cell = drained
            self._apply()
        if self._sessions is not None and reply.revoked:
            self._sessions.revoke(reply.revoked)
        warm = self._warm()
        if warm is not None:
            warm.keep(reply.warm)
