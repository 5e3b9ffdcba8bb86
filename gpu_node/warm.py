"""Rooms that this worker sits in before anyone asks, so that a face is there at once.

Measured: from connecting to a learner's first frame takes two to four times as long as from a room
that is joined already, its tracks published and fed (docs/benches.md).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from livekit import rtc

from control.contracts.worker import RoomAccess, WarmRoom
from gpu_node.avatars.package import AvatarError
from gpu_node.room import AvatarRoom
from gpu_node.segment import FRAME_S
from gpu_node.shelf import Shelf
from gpu_node.video import Video

_JOIN_S = 10.0
_REFILL_S = 1.5
_REMEMBERED = 10_000
_log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Seat:
    """``room`` is there once it is joined; ``taken`` once it is a session's."""

    access: RoomAccess
    task: asyncio.Task[None] | None = None
    room: AvatarRoom | None = None
    taken: bool = False


class WarmRooms:
    """``on_change``: a room is ready, gone or taken, which the cell should hear of.

    Joins a room once: the answer to a heartbeat may be older than the session that took the room
    meanwhile, and to join it again would throw that session's avatar out.
    """

    def __init__(self, shelf: Shelf, video: Video, on_change: Callable[[], None]) -> None:
        self._shelf = shelf
        self._video = video
        self._on_change = on_change
        self._seats: dict[str, _Seat] = {}
        self._seen: deque[str] = deque(maxlen=_REMEMBERED)
        self._leaving: set[asyncio.Task[None]] = set()

    def told(self) -> tuple[WarmRoom, ...]:
        """For the heartbeat."""
        return tuple(
            WarmRoom(session_id=name, ready=seat.room is not None)
            for name, seat in self._seats.items()
        )

    def keep(self, rooms: Sequence[RoomAccess]) -> None:
        """Sits in exactly these: joins those that are new, leaves the others."""
        wanted = {access.room: access for access in rooms}
        for name in self._seats.keys() - wanted.keys():
            self._leave(self._seats.pop(name))
        for name, access in wanted.items():
            if name not in self._seen:
                self._seen.append(name)
                self._seats[name] = seat = _Seat(access)
                seat.task = asyncio.create_task(self._sit(name, seat))

    def take(self, access: RoomAccess, size: tuple[int, int]) -> AvatarRoom | None:
        """The room of that session, from now on its own; None where it is not ready or does not
        fit: then it is left, and to be joined anew."""
        self._seen.append(access.room)
        seat = self._seats.pop(access.room, None)
        if seat is None:
            return None
        # the next room is joined once this lesson has begun, not beside its first frames
        asyncio.get_running_loop().call_later(_REFILL_S, self._on_change)
        room = seat.room
        if room is None or room.closed.done() or room.size != size or seat.access.url != access.url:
            self._leave(seat)
            return None
        seat.taken = True
        self._leave(seat)
        return room

    async def close(self) -> None:
        """Leaves them all."""
        self.keep(())
        if self._leaving:
            await asyncio.wait(list(self._leaving))

    async def _sit(self, name: str, seat: _Seat) -> None:
        room: AvatarRoom | None = None
        try:
            async with self._shelf.lent(self._shelf.names()[0]) as (avatar, compositor):
                still = compositor.compose(0, None)
            room = AvatarRoom(*avatar.size, self._video)
            async with asyncio.timeout(_JOIN_S):
                await room.join(seat.access)
            seat.room = room
            self._on_change()
            while not room.closed.done():
                room.tracks.pictures.show(still, -1)
                # at the pace of a lesson: the encoder's rate and the sender's estimate of the path
                # take seconds to get used to another, and pictures queue meanwhile
                await asyncio.wait({room.closed}, timeout=FRAME_S)
        except (TimeoutError, rtc.ConnectError, AvatarError, IndexError) as error:
            _log.warning("a warm room was not joined: %s", error or type(error).__name__)
        finally:
            if self._seats.get(name) is seat:
                del self._seats[name]
            if room is not None and not seat.taken:
                await room.leave()

    def _leave(self, seat: _Seat) -> None:
        if seat.task is not None:
            seat.task.cancel()
            self._leaving.add(seat.task)
            seat.task.add_done_callback(self._leaving.discard)
