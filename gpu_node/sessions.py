"""The sessions of this worker: one task each, so that one's failure is never another's."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from typing import Literal, Protocol

from control.contracts.worker import LeaseRef, Running, StartStream, StreamView
from gpu_node import logs
from gpu_node.metrics import Metrics

_REMEMBERED = 10_000
_log = logging.getLogger(__name__)

EventKind = Literal["first_frame", "ended", "failed"]
EventSink = Callable[[EventKind, StartStream, str], Awaitable[None]]


class StreamFailed(Exception):
    """The stream could not go on; the message can be shown to an operator."""


class Refused(Exception):
    """A call that cannot be obeyed; ``slug`` names the problem, the message says what to do."""

    def __init__(self, slug: str, detail: str) -> None:
        super().__init__(detail)
        self.slug = slug


class Stream(Protocol):
    """A running session."""

    ask: StartStream
    state: Literal["joining", "live", "ending"]
    frames: int

    @property
    def learners(self) -> int:
        """Learners in the room."""

    @property
    def speaking(self) -> bool:
        """Is it heard to speak?"""

    def stop(self, reason: str) -> None:
        """Ends soon."""

    async def run(self) -> str:
        """Why it ended. Raises StreamFailed."""


StreamFactory = Callable[[StartStream, Callable[[], None]], Stream]


class Sessions:
    """``slots`` is how many streams may run; ``draining`` refuses new ones."""

    def __init__(
        self,
        make_stream: StreamFactory,
        avatars: Callable[[], Iterable[str]],
        tell: EventSink,
        metrics: Metrics,
    ) -> None:
        self.slots = 0
        self.draining = False
        self._make_stream = make_stream
        self._avatars = avatars
        self._tell = tell
        self._metrics = metrics
        self._streams: dict[str, tuple[Stream, asyncio.Task[None]]] = {}
        self._revoked: set[Stream] = set()
        self._generations: OrderedDict[str, int] = OrderedDict()
        self._telling: set[asyncio.Task[None]] = set()
        self._old: set[asyncio.Task[None]] = set()

    def start(self, ask: StartStream) -> None:
        """Starts the stream; the same generation again changes nothing. Raises Refused."""
        known = self._generations.get(ask.session_id, 0)
        running = self._streams.get(ask.session_id)
        if ask.generation < known:
            raise Refused(
                "stale-generation",
                f"Generation {ask.generation} of {ask.session_id} is older than {known}, which "
                "this worker was given; place the session again.",
            )
        if ask.generation == known:
            if running is None:
                raise Refused(
                    "stale-generation",
                    f"Generation {known} of {ask.session_id} ended here; place the session again.",
                )
            return
        self._check_room_for(ask)
        if running is not None:
            self._end(running[0], revoked=True, reason="A newer lease took its place.")
            self._old.add(running[1])
            running[1].add_done_callback(self._old.discard)
        self._remember(ask)
        stream = self._make_stream(ask, lambda: self._notify("first_frame", ask, ""))
        task = asyncio.create_task(self._run(stream), name=ask.session_id)
        self._streams[ask.session_id] = (stream, task)
        self._count()

    def end(self, session_id: str, generation: int, reason: str) -> None:
        """Ends the stream; one that is not there is ended already. Raises Refused."""
        if generation < self._generations.get(session_id, 0):
            raise Refused("stale-generation", f"A newer lease of {session_id} runs here.")
        running = self._streams.get(session_id)
        if running is not None and running[0].ask.generation <= generation:
            self._end(running[0], revoked=False, reason=reason)

    def revoke(self, leases: Iterable[LeaseRef]) -> None:
        """Leaves at once what the cell gave to others; nothing is told about these."""
        for lease in leases:
            running = self._streams.get(lease.session_id)
            if running is not None and running[0].ask.generation <= lease.generation:
                self._end(running[0], revoked=True, reason="The lease was revoked.")

    def avatars(self) -> tuple[str, ...]:
        """Those that may be asked for now."""
        return tuple(self._avatars())

    def running(self) -> tuple[Running, ...]:
        """For the heartbeat."""
        return tuple(
            Running(
                session_id=stream.ask.session_id,
                generation=stream.ask.generation,
                state=stream.state,
                learners=stream.learners,
            )
            for stream, _ in self._streams.values()
        )

    def views(self) -> tuple[StreamView, ...]:
        """For operators."""
        return tuple(
            StreamView(
                session_id=stream.ask.session_id,
                generation=stream.ask.generation,
                avatar=stream.ask.avatar,
                state=stream.state,
                frames=stream.frames,
                speaking=stream.speaking,
            )
            for stream, _ in self._streams.values()
        )

    async def empty(self) -> None:
        """Returns when no session runs."""
        while tasks := self._tasks():
            await asyncio.wait(tasks)

    async def close(self, reason: str, *, revoked: bool = False) -> None:
        """Ends every session, and waits until each left its room."""
        for stream, _ in list(self._streams.values()):
            if revoked:
                self._end(stream, revoked=True, reason=reason)
            else:
                self._revoked.add(stream)
                self._notify("failed", stream.ask, reason)
                stream.stop(reason)
        await self.empty()
        if self._telling:
            await asyncio.wait(list(self._telling))

    def _check_room_for(self, ask: StartStream) -> None:
        if self.draining:
            raise Refused("draining", "This worker takes no new session; place it elsewhere.")
        if ask.avatar not in self._avatars():
            names = ", ".join(self._avatars()) or "none"
            raise Refused(
                "unknown-avatar", f"There is no avatar {ask.avatar!r} here; there are: {names}."
            )
        others = sum(
            1
            for stream, _ in self._streams.values()
            if stream.state != "ending" and stream.ask.session_id != ask.session_id
        )
        if others >= self.slots:
            raise Refused(
                "no-slot", f"All {self.slots} slots of this worker are taken; place it elsewhere."
            )

    def _remember(self, ask: StartStream) -> None:
        self._generations[ask.session_id] = ask.generation
        self._generations.move_to_end(ask.session_id)
        while len(self._generations) > _REMEMBERED:
            self._generations.popitem(last=False)

    def _tasks(self) -> set[asyncio.Task[None]]:
        return {task for _, task in self._streams.values()} | set(self._old)

    def _end(self, stream: Stream, *, revoked: bool, reason: str) -> None:
        if revoked:
            self._revoked.add(stream)
        stream.stop(reason)
        self._count()

    async def _run(self, stream: Stream) -> None:
        logs.correlation_id.set(stream.ask.correlation_id or stream.ask.session_id)
        kind: EventKind = "ended"
        _log.info("session starts", extra={"session_id": stream.ask.session_id})
        try:
            reason = await stream.run()
        except StreamFailed as error:
            kind, reason = "failed", str(error)
            _log.warning("session failed: %s", reason)
        except Exception as error:  # noqa: BLE001 - one session's, told and logged
            kind, reason = "failed", f"The stream broke ({type(error).__name__})."
            _log.exception("session broke")
        finally:
            current = self._streams.get(stream.ask.session_id)
            if current is not None and current[0] is stream:
                del self._streams[stream.ask.session_id]
            self._count()
        _log.info("session %s: %s", kind, reason, extra={"frames": stream.frames})
        if stream not in self._revoked:
            self._notify(kind, stream.ask, reason)
        self._revoked.discard(stream)

    def _notify(self, kind: EventKind, ask: StartStream, reason: str) -> None:
        task = asyncio.ensure_future(self._tell(kind, ask, reason[:500]))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    def _count(self) -> None:
        states = [stream.state for stream, _ in self._streams.values()]
        for state in ("joining", "live", "ending"):
            self._metrics.sessions.labels(state).set(states.count(state))
        self._metrics.learners.set(sum(s.learners for s, _ in self._streams.values()))
