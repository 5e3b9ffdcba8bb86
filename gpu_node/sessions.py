"""The sessions of this worker: one task each, so that one's failure is never another's."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Literal, Protocol

from control.contracts.worker import LeaseRef, Running, StartStream, StreamView
from gpu_node import logs
from gpu_node.metrics import Metrics

_REMEMBERED = 10_000
_LEAVE_LIMIT_S = 20.0
_STATES = ("joining", "live", "ending")
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
        self._streams: dict[str, tuple[Stream, asyncio.Task[None]]] = {}
        self._revoked: set[Stream] = set()
        self._generations: OrderedDict[str, int] = OrderedDict()
        self._telling: set[asyncio.Task[None]] = set()
        self._old: set[asyncio.Task[None]] = set()
        for state in _STATES:
            metrics.sessions.labels(state).set_function(partial(self._in, state))
        metrics.learners.set_function(self._learners)

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
            self._end(*running, revoked=True, reason="A newer lease took its place.")
            self._old.add(running[1])
            running[1].add_done_callback(self._old.discard)
        self._remember(ask)
        stream = self._make_stream(ask, lambda: self._notify("first_frame", ask, ""))
        task = asyncio.create_task(self._run(stream), name=ask.session_id)
        self._streams[ask.session_id] = (stream, task)

    def end(self, session_id: str, generation: int, reason: str) -> None:
        """Ends the stream; one that is not there is ended already. Raises Refused."""
        if generation < self._generations.get(session_id, 0):
            raise Refused("stale-generation", f"A newer lease of {session_id} runs here.")
        running = self._streams.get(session_id)
        if running is not None and running[0].ask.generation <= generation:
            self._end(*running, revoked=False, reason=reason)

    def fail(self, session_id: str, generation: int, reason: str) -> bool:
        """Tells the cell at once that the stream failed, and lets go of it, whatever it does.

        False where it is not there, or ends already.
        """
        stream, task = self._streams.get(session_id, (None, None))
        if stream is None or task is None or stream.ask.generation != generation:
            return False
        if stream.state == "ending" and not task.done():
            return False
        self._notify("failed", stream.ask, reason)
        if task.done():
            del self._streams[session_id]
        else:
            self._end(stream, task, revoked=True, reason=reason)
        return True

    def dead(self) -> tuple[LeaseRef, ...]:
        """Sessions whose task is over and never said so."""
        return tuple(
            LeaseRef(session_id=stream.ask.session_id, generation=stream.ask.generation)
            for stream, task in self._streams.values()
            if task.done()
        )

    def revoke(self, leases: Iterable[LeaseRef]) -> None:
        """Leaves at once what the cell gave to others; nothing is told about these."""
        for lease in leases:
            running = self._streams.get(lease.session_id)
            if running is not None and running[0].ask.generation <= lease.generation:
                self._end(*running, revoked=True, reason="The lease was revoked.")

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
        for stream, task in list(self._streams.values()):
            if not revoked:
                self._notify("failed", stream.ask, reason)
            self._end(stream, task, revoked=True, reason=reason)
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
        tasks = {task for _, task in self._streams.values()} | self._old
        return {task for task in tasks if not task.done()}

    def _end(self, stream: Stream, task: asyncio.Task[None], *, revoked: bool, reason: str) -> None:
        if revoked:
            self._revoked.add(stream)
        stream.stop(reason)
        late = asyncio.get_running_loop().call_later(_LEAVE_LIMIT_S, task.cancel)
        task.add_done_callback(lambda _: late.cancel())

    async def _run(self, stream: Stream) -> None:
        logs.correlation_id.set(stream.ask.correlation_id or stream.ask.session_id)
        kind: EventKind = "ended"
        reason = ""
        _log.info("session starts", extra={"session_id": stream.ask.session_id})
        try:
            reason = await stream.run()
        except StreamFailed as error:
            kind, reason = "failed", str(error)
            _log.warning("session failed: %s", reason)
        except Exception as error:  # noqa: BLE001 - one session's, told and logged
            kind, reason = "failed", f"The stream broke ({type(error).__name__})."
            _log.exception("session broke")
        except asyncio.CancelledError:
            kind, reason = "failed", "The stream was cut off."
            raise
        finally:
            self._over(stream, kind, reason)

    def _over(self, stream: Stream, kind: EventKind, reason: str) -> None:
        current = self._streams.get(stream.ask.session_id)
        if current is not None and current[0] is stream:
            del self._streams[stream.ask.session_id]
        _log.info("session %s: %s", kind, reason, extra={"frames": stream.frames})
        if stream not in self._revoked:
            self._notify(kind, stream.ask, reason)
        self._revoked.discard(stream)

    def _notify(self, kind: EventKind, ask: StartStream, reason: str) -> None:
        task = asyncio.ensure_future(self._tell(kind, ask, reason[:500]))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    def _in(self, state: str) -> float:
        return float(sum(stream.state == state for stream, _ in self._streams.values()))

    def _learners(self) -> float:
        return float(sum(stream.learners for stream, _ in self._streams.values()))
