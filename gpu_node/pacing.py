"""Sound and picture leave together: the sound's queue is the clock, the picture follows it.

Sound is pushed by back-pressure into the source's own queue. When a push had to wait, the queue
holds exactly its threshold, so the model below cannot drift from the real queue. A picture is due
when its sound leaves the queue, and a little later, for the receiver delays the sound.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from gpu_node.segment import FRAME_S, PICTURE_LATER_S

QUEUE_S = 0.1
_WAITED_S = 0.008  # an answer that comes sooner may be the library's own round trip
_DOUBT_S, _CONVINCED = 0.03, 3
"""A push that waited where the queue should be shorter by that is a slow round trip, until three in
a row say otherwise."""
_SMOOTHING = 0.1
_JUMP_S = 0.06
_STUCK_S = 5.0


Picture = npt.NDArray[np.uint8]


@dataclass(eq=False)
class Shot:
    """A picture on its way out: ``number`` is its 40 ms of the segment, -1 in silence.

    ``picture`` is None until it was painted; ``over`` once nobody waits for it any more,
    ``cleared`` where that is because its sound was dropped. ``due`` is on the loop's clock,
    ``behind`` how much later that is than a tick after the one before it. ``heard_at`` tells since
    when it could be painted; infinity where not yet.
    """

    still: Picture
    number: int
    picture: Picture | None
    heard_at: Callable[[], float]
    due: float = 0.0
    behind: float = 0.0
    over: bool = False
    cleared: bool = False


class SoundOut(Protocol):
    """Takes 40 ms of 48 kHz mono; returns when the queue is down to its threshold."""

    async def push(self, pcm: npt.NDArray[np.int16]) -> None:
        """Queues the sound."""

    def clear(self) -> None:
        """Drops what is queued."""


class PictureOut(Protocol):
    """Takes one I420 picture."""

    def show(self, picture: npt.NDArray[np.uint8], number: int) -> None:
        """Hands the picture over at once; ``number`` is its 40 ms of the segment, -1 in silence."""


class Pacer:
    """One session's clock, 40 ms a tick. Sound never waits for its picture.

    ``on_shown`` is told how late each picture was since it was due and could be painted, for a
    voice that comes late is not the worker's lateness. ``on_held`` is told of each that was not
    there before the next one was due, so that the one before it stayed, and whether it was due
    before it could be painted.
    """

    def __init__(
        self,
        sound: SoundOut,
        pictures: PictureOut,
        on_shown: Callable[[float], None],
        on_held: Callable[[bool], None],
    ) -> None:
        self._sound = sound
        self._pictures = pictures
        self._on_shown = on_shown
        self._on_held = on_held
        self._loop = asyncio.get_running_loop()
        self._empty_at = 0.0
        self._due = 0.0
        self._epoch = 0
        self._surprises = 0
        self._shown_due = 0.0
        self._pending: dict[Shot, asyncio.TimerHandle] = {}

    @property
    def lead_s(self) -> float:
        """Sound queued and not yet heard."""
        return max(0.0, self._empty_at - self._loop.time())

    @property
    def empty_at(self) -> float:
        """When the queued sound will have left, on the loop's clock."""
        return self._empty_at

    async def push(
        self,
        pcm: npt.NDArray[np.int16],
        still: Picture,
        number: int = -1,
        heard_at: Callable[[], float] = lambda: 0.0,
    ) -> Shot:
        """Queues 40 ms of sound; its picture is asked for by the shot that is returned.

        ``still`` is the picture with its mouth shut, for silence and for when the sound is
        cleared. The shot is over where that happened while the sound waited. ``heard_at``: when
        all the sound was there that the picture needs, on the loop's clock; infinity before.

        Raises TimeoutError when the source takes no sound for 5 s.
        """
        shot = Shot(still, number, None if number >= 0 else still, heard_at)
        epoch, began, before = self._epoch, self._loop.time(), self.lead_s
        async with asyncio.timeout(_STUCK_S):
            await self._sound.push(pcm)
        if epoch != self._epoch:
            shot.over = shot.cleared = True
            return shot
        self._empty_at = self._loop.time() + self._lead_after(began, before)
        self._schedule(shot, self._empty_at - FRAME_S + PICTURE_LATER_S)
        return shot

    def _lead_after(self, began: float, before: float) -> float:
        """Of the queue's sound now that a push came back that ``began`` with ``before`` queued."""
        waited = self._loop.time() - began > _WAITED_S
        expected = before + FRAME_S > QUEUE_S - _DOUBT_S
        self._surprises = self._surprises + 1 if waited and not expected else 0
        if waited and (expected or self._surprises >= _CONVINCED):
            return QUEUE_S
        return min(self.lead_s + FRAME_S, QUEUE_S + FRAME_S)

    def paint(self, shot: Shot, picture: Picture) -> None:
        """Gives the shot its picture: shown when it is due, at once where that is past. One that
        was held is shown where no later one was: a late mouth is more than a face that stands.
        """
        if shot.cleared or shot.due < self._shown_due:
            return
        shot.picture = picture
        if self._loop.time() >= shot.due:
            self._show(shot)

    def clear(self) -> int:
        """Drops the queued sound at once; its pictures go on with the mouth shut.

        How many speaking pictures are not shown for that.
        """
        dropped = sum(shot.number >= 0 for shot in self._pending)
        self._epoch += 1
        self._surprises = 0
        self._sound.clear()
        now = self._empty_at = self._loop.time()
        resumes_at = now + PICTURE_LATER_S
        for shot in list(self._pending):
            shot.picture, shot.number, shot.over, shot.cleared = shot.still, -1, True, True
            if not now < shot.due < resumes_at:
                self._drop(shot)
        self._due = min(self._due, resumes_at - FRAME_S)
        return dropped

    def stop(self) -> None:
        """Nothing more is shown."""
        self.clear()
        for shot in list(self._pending):
            self._drop(shot)

    def _schedule(self, shot: Shot, leaves_at: float) -> None:
        tick = self._due + FRAME_S
        error = leaves_at - tick
        # the queue is drained in steps of 10 ms: follow it slowly, unless it really moved
        self._due = leaves_at if abs(error) > _JUMP_S else tick + _SMOOTHING * error
        shot.due = self._due
        shot.behind = max(0.0, self._due - tick) if tick > 1.0 else 0.0
        self._pending[shot] = self._loop.call_at(shot.due, self._fall_due, shot)

    def _fall_due(self, shot: Shot) -> None:
        for earlier in list(self._pending):
            if earlier is shot:
                break
            if not earlier.over:
                self._on_held(earlier.heard_at() > earlier.due)
            self._drop(earlier)
        if shot.picture is not None:
            self._show(shot)

    def _show(self, shot: Shot) -> None:
        assert shot.picture is not None
        self._drop(shot)
        self._shown_due = shot.due
        self._pictures.show(shot.picture, shot.number)
        could_be = max(shot.due, shot.heard_at())
        self._on_shown(max(0.0, self._loop.time() - could_be) + shot.behind)

    def _drop(self, shot: Shot) -> None:
        shot.over = True
        if (timer := self._pending.pop(shot, None)) is not None:
            timer.cancel()
