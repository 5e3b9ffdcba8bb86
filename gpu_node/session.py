"""One session's life: join, perform, and leave for a reason that can be told."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Literal

from livekit import rtc

from control.contracts.worker import StartStream
from gpu_node.avatars.package import Avatar, AvatarError
from gpu_node.compositor import Compositor
from gpu_node.inference import Inference
from gpu_node.metrics import Metrics, Start
from gpu_node.pacing import Pacer, Picture, PictureOut
from gpu_node.performance import Performance
from gpu_node.playback import PlaybackReports
from gpu_node.room import AvatarRoom
from gpu_node.sessions import StreamFailed
from gpu_node.shelf import Shelf
from gpu_node.speech import Speech, Voices
from gpu_node.video import Video
from gpu_node.warm import WarmRooms

_REPORTS_FLUSH_S = 0.5
_CURTAIN_S = 2.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """How long an avatar waits for a learner that never came, and for one who left."""

    never_s: float = 120.0
    alone_s: float = 60.0
    join_s: float = 10.0


@dataclass(frozen=True)
class Studio:
    """What every session of this worker shares."""

    inference: Inference
    shelf: Shelf
    metrics: Metrics
    warm: WarmRooms
    video: Video
    limits: Limits = Limits()


class _Published:
    """Pictures on their way out, with the time that takes."""

    def __init__(self, pictures: PictureOut, metrics: Metrics) -> None:
        self._pictures = pictures
        self._metrics = metrics

    def show(self, picture: Picture, number: int) -> None:
        """See PictureOut."""
        began = time.perf_counter()
        self._pictures.show(picture, number)
        self._metrics.stage("publication", time.perf_counter() - began)


class AvatarStream:
    """One avatar in one room. ``run`` returns why it ended, or raises StreamFailed.

    ``start`` is ``warm`` where the room was joined before anyone asked.
    """

    def __init__(
        self, ask: StartStream, studio: Studio, on_first_frame: Callable[[], None]
    ) -> None:
        self.ask = ask
        self.start: Start = "cold"
        self.state: Literal["joining", "live", "ending"] = "joining"
        self.frames = 0
        self._studio = studio
        self._on_first_frame = on_first_frame
        self._asked_at = time.monotonic()
        self._stop: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._room: AvatarRoom | None = None
        self._performance: Performance | None = None

    @property
    def learners(self) -> int:
        """Learners in the room now."""
        return self._room.learners if self._room is not None else 0

    @property
    def speaking(self) -> bool:
        """Is it heard to speak?"""
        return self._performance is not None and self._performance.speaking

    def stop(self, reason: str) -> None:
        """Leaves the room soon; ``run`` returns the reason."""
        self.state = "ending"
        if not self._stop.done():
            self._stop.set_result(reason)

    async def run(self) -> str:
        """Joins, performs, leaves. Raises StreamFailed."""
        async with AsyncExitStack() as held:
            try:
                lent = self._studio.shelf.lent(self.ask.avatar)
                avatar, compositor = await held.enter_async_context(lent)
            except AvatarError as error:
                raise StreamFailed(str(error)) from error
            if self._stop.done():
                return self._stop.result()
            return await self._perform(avatar, compositor)

    async def _perform(self, avatar: Avatar, compositor: Compositor) -> str:
        warm = self._studio.warm.take(self.ask.room, avatar.size)
        self.start = "cold" if warm is None else "warm"
        room = self._room = warm or AvatarRoom(*avatar.size, self._studio.video)
        reports = PlaybackReports(room.rtc)
        metrics = self._studio.metrics
        pictures = _Published(room.tracks.pictures, metrics)
        pacer = Pacer(room.tracks.sound, pictures, self._shown, metrics.hold)
        self._performance = Performance(
            avatar, compositor, self._studio.inference, pacer, reports, metrics
        )
        own_room = not self.ask.room.room  # the cell names its own
        speech = Speech(room.rtc, self._performance, Voices(self.ask.agent_identity, own_room))
        performing: asyncio.Task[None] | None = None
        try:
            if warm is None:
                await self._join(room)
            room.begin(speech)
            performing = asyncio.create_task(self._performance.run())
            return await self._until_over(room, performing)
        finally:
            self.state = "ending"
            await self._leave(room, reports, performing)

    async def _join(self, room: AvatarRoom) -> None:
        try:
            async with asyncio.timeout(self._studio.limits.join_s):
                await room.join(self.ask.room)
        except TimeoutError:
            limit = self._studio.limits.join_s
            raise StreamFailed(f"The room could not be joined within {limit:g} s.") from None
        except rtc.ConnectError as error:
            raise StreamFailed(f"The room could not be joined: {error.message}") from None

    async def _leave(
        self, room: AvatarRoom, reports: PlaybackReports, performing: asyncio.Task[None] | None
    ) -> None:
        try:
            if performing is not None:
                performing.cancel()
                await asyncio.wait({performing}, timeout=_CURTAIN_S)
            await reports.flush(_REPORTS_FLUSH_S)
        finally:
            await room.leave()

    async def _until_over(self, room: AvatarRoom, performing: asyncio.Task[None]) -> str:
        began = time.monotonic()
        left_s = self.ask.expires_at.timestamp() - time.time()
        expires = began + left_s
        limits = self._studio.limits
        absent_since, absent_limit_s = began, limits.never_s
        while True:
            if room.learners:
                absent_until = float("inf")
                absent_limit_s = limits.alone_s
                absent_since = 0.0
            else:
                absent_since = absent_since or time.monotonic()
                absent_until = absent_since + absent_limit_s
            room.changed.clear()
            change = asyncio.create_task(room.changed.wait())
            try:
                timeout_s = max(0.0, min(expires, absent_until) - time.monotonic())
                waits: set[asyncio.Future[Any]] = {change, performing, self._stop, room.closed}
                await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            finally:
                change.cancel()
            over = self._over(room, performing)
            if over is not None:
                return over
            now = time.monotonic()
            if now >= expires:
                return "The lease ran out."
            if not room.learners and now >= absent_until:
                return "Nobody was in the room."

    def _over(self, room: AvatarRoom, performing: asyncio.Task[None]) -> str | None:
        if self._stop.done():
            return self._stop.result()
        if performing.done():
            error = performing.exception()
            _log.error("the performance stopped", exc_info=error)
            raise StreamFailed(f"The avatar could not be rendered ({type(error).__name__}).")
        if room.closed.done():
            return f"The room was left: {room.closed.result().lower().replace('_', ' ')}."
        return None

    def _shown(self, late_s: float) -> None:
        self.frames += 1
        self._studio.metrics.late(late_s)
        if self.frames == 1:
            if self.state == "joining":
                self.state = "live"
            took_s = time.monotonic() - self._asked_at
            self._studio.metrics.first_frame(took_s, self.start)
            self._on_first_frame()
