"""What the avatar does, tick by tick: speak what is there to say, else idle."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Protocol

import numpy as np
import numpy.typing as npt

from gpu_node.avatars.package import Avatar
from gpu_node.compositor import Compositor, ping_pong
from gpu_node.inference import Inference, Picture, Work
from gpu_node.metrics import Metrics
from gpu_node.pacing import Pacer
from gpu_node.segment import FRAME_S, FRAME_SAMPLES, Segment

_LEAST_LEAD_S = 0.03
_SILENCE = np.zeros(FRAME_SAMPLES, np.int16)
_log = logging.getLogger(__name__)


class PlaybackObserver(Protocol):
    """Is told of each segment once when it starts to be heard, and once when it is over."""

    def started(self, segment: Segment) -> None:
        """Its first sound leaves."""

    def finished(self, segment: Segment, position_s: float, *, interrupted: bool) -> None:
        """It was played to its end, or cut off at ``position_s``."""


class Performance:
    """One session's stage. Interruption is a generation: what was begun before it is dropped."""

    def __init__(
        self,
        avatar: Avatar,
        compositor: Compositor,
        inference: Inference,
        pacer: Pacer,
        observer: PlaybackObserver,
        metrics: Metrics,
    ) -> None:
        self._avatar = avatar
        self._compositor = compositor
        self._inference = inference
        self._pacer = pacer
        self._observer = observer
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._tick = 0
        self._generation = 0
        self._segments: deque[Segment] = deque()
        self._leaving: dict[Segment, tuple[float, asyncio.TimerHandle | None]] = {}
        self._starting: dict[Segment, asyncio.TimerHandle] = {}
        self._last: Picture | None = None
        self._late: asyncio.Task[Picture] | None = None
        self._backlog: list[npt.NDArray[np.float32]] = []

    @property
    def speaking(self) -> bool:
        """Is speech being heard?"""
        return bool(self._leaving)

    def say(self, segment: Segment) -> None:
        """Plays the segment after those that came before it."""
        self._segments.append(segment)

    def interrupt(self) -> None:
        """Silence now: drops everything said, queued and begun."""
        now = self._loop.time()
        positions = {s: self._position(s, now) for s in self._leaving}
        if self._leaving:
            self._metrics.dropped.inc(self._pacer.clear())
        self._generation += 1
        over = list(dict.fromkeys([*self._leaving, *self._segments]))
        for handle in [h for _, h in self._leaving.values() if h is not None]:
            handle.cancel()
        for handle in self._starting.values():
            handle.cancel()
        self._starting.clear()
        self._leaving.clear()
        self._segments.clear()
        self._forget_mouth()
        for segment in over:
            segment.end()
            self._finished(segment, positions.get(segment, 0.0), interrupted=True)

    async def run(self) -> None:
        """Performs until cancelled. Raises what the engine or the room's tracks raise."""
        try:
            while True:
                segment = self._head()
                if segment is not None and await self._has_next(segment):
                    await self._speak(segment)
                else:
                    await self._idle()
                self._tick += 1
        finally:
            self.interrupt()
            self._pacer.stop()
            self._pacer.clear()

    def _head(self) -> Segment | None:
        while self._segments:
            segment = self._segments[0]
            if not segment.ended and segment.idle_s > segment.lost_end_s:
                _log.info(
                    "a segment's end was lost; it is ended", extra={"segment": segment.number}
                )
                segment.end()
            if not segment.done:
                return segment
            self._segments.popleft()
            self._let_leave(segment)
        return None

    async def _has_next(self, segment: Segment) -> bool:
        """Waits for sound that is late while there is some left to hear, then idles."""
        while not segment.ready(segment.margin_s):
            patience_s = self._pacer.lead_s - _LEAST_LEAD_S
            if segment.frame == 0 or patience_s <= 0.0 or segment.margin_s > 0.0:
                if segment.frame > 0:
                    segment.margin_s = segment.rebuffer_s
                return False
            segment.arrived.clear()
            try:
                await asyncio.wait_for(segment.arrived.wait(), patience_s)
            except TimeoutError:
                continue
        segment.margin_s = 0.0
        return not segment.done

    async def _idle(self) -> None:
        picture = self._compositor.compose(self._background(), None)
        self._last = picture
        if await self._pacer.push(_SILENCE, picture, picture):
            self._metrics.frames.labels("idle").inc()

    async def _speak(self, segment: Segment) -> None:
        generation, frame = self._generation, segment.frame
        sound, windows = segment.take()
        picture = await self._picture(segment, frame, windows)
        if generation != self._generation:
            self._metrics.dropped.inc()
            return
        self._last = picture
        still = self._idle_picture()
        if frame == 0:
            if not self._leaving:
                self._pacer.clear()  # only silence is queued: nobody shall wait for its end
            self._starting[segment] = self._loop.call_later(
                self._pacer.lead_s, self._started, segment
            )
        self._leaving[segment] = (self._pacer.empty_at + FRAME_S, None)
        if (
            not await self._pacer.push(sound, picture, still, frame)
            or generation != self._generation
        ):
            return
        self._leaving[segment] = (self._pacer.empty_at, None)
        self._metrics.frames.labels("speaking").inc()

    async def _picture(
        self, segment: Segment, frame: int, windows: list[npt.NDArray[np.float32]]
    ) -> Picture:
        """The frame's picture, or the last one where the engine is late: sound never waits."""
        self._backlog += windows
        if self._late is not None and self._late.done():
            self._late.result()  # raises what the engine raised for the frame that came too late
            self._late = None
        if self._late is None:
            work = Work(self._avatar, self._background(), segment, frame, self._backlog)
            self._backlog = []
            self._late = asyncio.create_task(self._inference.picture(work))
        patience_s = max(FRAME_S / 2, self._pacer.lead_s - _LEAST_LEAD_S)
        done, _ = await asyncio.wait({self._late}, timeout=patience_s)
        if done:
            task, self._late = self._late, None
            if task is not None:  # else an interruption dropped it
                return task.result()
        else:
            self._metrics.hold()
        return self._last if self._last is not None else self._idle_picture()

    def _idle_picture(self) -> Picture:
        return self._compositor.compose(self._background(), None)

    def _background(self) -> int:
        return ping_pong(self._tick, len(self._avatar.frames))

    def _let_leave(self, segment: Segment) -> None:
        """Its last sound is queued: it is over when that has left."""
        self._forget_mouth()
        leaves_at, _ = self._leaving.get(segment, (0.0, None))
        if leaves_at == 0.0:
            self._finished(segment, 0.0, interrupted=False)
            return
        handle = self._loop.call_at(leaves_at, self._left, segment)
        self._leaving[segment] = (leaves_at, handle)

    def _left(self, segment: Segment) -> None:
        self._leaving.pop(segment, None)
        self._finished(segment, segment.duration_s, interrupted=False)

    def _started(self, segment: Segment) -> None:
        self._starting.pop(segment, None)
        self._observer.started(segment)

    def _finished(self, segment: Segment, position_s: float, *, interrupted: bool) -> None:
        self._metrics.segments.labels("interrupted" if interrupted else "played").inc()
        self._observer.finished(segment, position_s, interrupted=interrupted)

    def _position(self, segment: Segment, now: float) -> float:
        leaves_at, _ = self._leaving[segment]
        queued_s = max(0.0, leaves_at - now)
        return min(segment.duration_s, max(0.0, segment.frame * FRAME_S - queued_s))

    def _forget_mouth(self) -> None:
        if self._late is not None:
            # the result is dropped, and so is its error: it belongs to what nobody hears
            self._late.cancel()
            self._late = None
        self._backlog = []
