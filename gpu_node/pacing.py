"""Sound and picture leave together: the sound's queue is the clock, the picture waits for it.

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

from gpu_node.segment import FRAME_S

QUEUE_S = 0.1
_RECEIVER_DELAYS_SOUND_S = 0.04
_WAITED_S = 0.008  # an answer that comes sooner may be the library's own round trip
_SMOOTHING = 0.1
_JUMP_S = 0.06
_STUCK_S = 5.0


Picture = npt.NDArray[np.uint8]


@dataclass(eq=False)
class _Shot:
    """A picture on its way out."""

    picture: Picture
    still: Picture
    number: int


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
    """One session's clock, 40 ms a tick."""

    def __init__(
        self, sound: SoundOut, pictures: PictureOut, on_shown: Callable[[float], None]
    ) -> None:
        self._sound = sound
        self._pictures = pictures
        self._on_shown = on_shown
        self._loop = asyncio.get_running_loop()
        self._empty_at = 0.0
        self._due = 0.0
        self._epoch = 0
        self._pending: dict[_Shot, asyncio.TimerHandle] = {}

    @property
    def lead_s(self) -> float:
        """Sound queued and not yet heard."""
        return max(0.0, self._empty_at - self._loop.time())

    @property
    def empty_at(self) -> float:
        """When the queued sound will have left, on the loop's clock."""
        return self._empty_at

    async def push(
        self, pcm: npt.NDArray[np.int16], picture: Picture, still: Picture, number: int = -1
    ) -> bool:
        """Queues 40 ms of sound with its picture. False if they were cleared while it waited.

        ``still`` is the picture with its mouth shut, for when the sound is cleared.

        Raises TimeoutError when the source takes no sound for 5 s.
        """
        epoch, began = self._epoch, self._loop.time()
        async with asyncio.timeout(_STUCK_S):
            await self._sound.push(pcm)
        if epoch != self._epoch:
            return False
        now = self._loop.time()
        lead = QUEUE_S if now - began > _WAITED_S else min(self.lead_s + FRAME_S, QUEUE_S + FRAME_S)
        self._empty_at = now + lead
        self._schedule(
            _Shot(picture, still, number), self._empty_at - FRAME_S + _RECEIVER_DELAYS_SOUND_S
        )
        return True

    def clear(self) -> int:
        """Drops the queued sound at once; its pictures go on with the mouth shut.

        How many speaking pictures are not shown for that.
        """
        dropped = sum(shot.number >= 0 for shot in self._pending)
        self._epoch += 1
        self._sound.clear()
        self._empty_at = self._loop.time()
        resumes_at = self._empty_at + _RECEIVER_DELAYS_SOUND_S
        for shot, handle in list(self._pending.items()):
            shot.picture, shot.number = shot.still, -1
            if handle.when() >= resumes_at:
                handle.cancel()
                del self._pending[shot]
        self._due = min(self._due, resumes_at - FRAME_S)
        return dropped

    def stop(self) -> None:
        """Nothing more is shown."""
        self.clear()
        for handle in self._pending.values():
            handle.cancel()
        self._pending.clear()

    def _schedule(self, shot: _Shot, leaves_at: float) -> None:
        tick = self._due + FRAME_S
        error = leaves_at - tick
        # the queue is drained in steps of 10 ms: follow it slowly, unless it really moved
        self._due = leaves_at if abs(error) > _JUMP_S else tick + _SMOOTHING * error
        due, behind = self._due, max(0.0, self._due - tick) if tick > 1.0 else 0.0

        def show() -> None:
            self._pending.pop(shot, None)
            self._pictures.show(shot.picture, shot.number)
            self._on_shown(max(0.0, self._loop.time() - due) + behind)

        self._pending[shot] = self._loop.call_at(due, show)
