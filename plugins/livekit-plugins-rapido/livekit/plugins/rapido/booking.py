"""From the wish for an avatar to its picture in the room."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from .cell import Cell, Placed
from .errors import RapidoError
from .log import logger

_POLL_S = 1.0
_END_LIMIT_S = 5.0


@dataclass(frozen=True)
class Patience:
    """How long to wait for a free avatar, and from there until it is seen."""

    queue_s: float
    start_s: float


class Booking:
    """One session of a cell, from the wish for it to its end."""

    def __init__(self, cell: Cell, patience: Patience) -> None:
        self.session_id: str | None = None
        self._cell = cell
        self._patience = patience

    async def obtain(self, wish: Mapping[str, Any]) -> None:
        """Returns with ``session_id`` set, once it has left the queue. Raises RapidoError."""
        placed = await self._place(wish)
        if placed.found:
            # what an earlier agent of this lesson left behind listens to that agent, not to us
            logger.info("the lesson's session %s is replaced", placed.session_id)
            await self._cell.end(placed.session_id, _END_LIMIT_S)
            placed = await self._place(wish)
        if placed.position is not None:
            await self._stand_in_line(placed.session_id, placed.position)

    async def until_seen(self, join: Callable[[float], Awaitable[None]]) -> None:
        """Returns when ``join``, given its time in seconds, has seen the picture.

        Raises RapidoError when it did not in time, or when the session is over before.
        """
        what, status = f"session {self.session_id}", "starting"
        joining = asyncio.ensure_future(join(self._patience.start_s))
        try:
            while not (await asyncio.wait({joining}, timeout=_POLL_S))[0]:
                with _patiently():
                    state = await self._cell.session(self.session_id or "")
                    status = state.status
                    if state.over:
                        raise RapidoError(what, "avatar-failed", f"{status}: {state.reason}")
            await joining
        except TimeoutError:
            detail = f"no picture after {self._patience.start_s:g} s; the session is {status}"
            raise RapidoError(what, "start-timeout", detail) from None
        except RuntimeError as error:  # how LiveKit Agents says that it left while joining
            raise RapidoError(what, "avatar-failed", str(error)) from error
        finally:
            joining.cancel()

    async def fate(self) -> str | None:
        """How the session ended; None while it goes on, or nobody can say."""
        if self.session_id is None:
            return "was ended"
        try:
            state = await self._cell.session(self.session_id)
        except RapidoError as error:
            return None if error.retryable else f"is not known: {error}"
        return f"{state.status}: {state.reason}" if state.over else None

    async def end(self) -> None:
        """Ends the session; again is the same. A cell that is away is logged."""
        session_id, self.session_id = self.session_id, None
        if session_id is None:
            return
        try:
            await self._cell.end(session_id, _END_LIMIT_S)
        except RapidoError as error:
            logger.warning("the session %s could not be ended: %s", session_id, error)

    async def _place(self, wish: Mapping[str, Any]) -> Placed:
        key = str(uuid.uuid4())
        asking = asyncio.create_task(self._cell.place(wish, key, self._patience.start_s))
        try:
            placed = await asyncio.shield(asking)
        except asyncio.CancelledError:
            # the cell may have made a session for us: its name is needed to end it
            with suppress(RapidoError):
                self.session_id = (await asking).session_id
            raise
        self.session_id = placed.session_id
        return placed

    async def _stand_in_line(self, ticket: str, position: int) -> None:
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._patience.queue_s
        place: int | None = position
        while place is not None:
            if clock() >= deadline:
                await self._cell.leave_queue(ticket, _END_LIMIT_S)
                self.session_id = None
                waited = f"place {place} in the queue after {self._patience.queue_s:g} s"
                raise RapidoError("no avatar is free", "queue-timeout", waited)
            logger.info("waiting for an avatar, place %d in the queue", place)
            await asyncio.sleep(min(_POLL_S, max(0.0, deadline - clock())))
            with _patiently():
                place = await self._cell.queued(ticket)


@contextmanager
def _patiently() -> Iterator[None]:
    """While asking again and again, an answer that is missing is asked for again."""
    try:
        yield
    except RapidoError as error:
        if not error.retryable:
            raise
