"""What the avatar does, tick by tick: speak what is there to say, else idle.

Sound leaves by the tick; a painter goes behind and gives each picture its mouth before it is due.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np

from gpu_node.avatars.package import Avatar
from gpu_node.compositor import Compositor, ping_pong
from gpu_node.inference import Inference, Work
from gpu_node.metrics import Metrics
from gpu_node.pacing import Pacer, Picture, Shot
from gpu_node.segment import FRAME_S, FRAME_SAMPLES, Segment

_LEAST_LEAD_S = 0.012  # the source takes sound in steps of 10 ms
_LEARNING = 0.2
"""Of how long a picture takes, from each one."""
_SILENCE = np.zeros(FRAME_SAMPLES, np.int16)
_log = logging.getLogger(__name__)


class PlaybackObserver(Protocol):
    """Is told of each segment once when it starts to be heard, and once when it is over."""

    def started(self, segment: Segment) -> None:
        """Its first sound leaves."""

    def finished(self, segment: Segment, position_s: float, *, interrupted: bool) -> None:
        """It was played to its end, or cut off at ``position_s``."""


@dataclass(frozen=True, eq=False)
class _Line:
    """A picture to be painted."""

    shot: Shot
    segment: Segment
    frame: int
    background: int


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
        self._said = asyncio.Event()
        self._spoken_until = 0.0
        self._lines: asyncio.Queue[_Line | Segment] = asyncio.Queue()
        """Pictures to be painted, and where there are none a segment that is about to be said."""

    @property
    def speaking(self) -> bool:
        """Is speech being heard?"""
        return bool(self._leaving)

    def say(self, segment: Segment) -> None:
        """Plays the segment after those that came before it."""
        self._segments.append(segment)
        self._said.set()

    def interrupt(self) -> None:
        """Silence now: drops everything said, queued and begun."""
        now = self._loop.time()
        positions = {s: self._position(s, now) for s in self._leaving}
        if self._leaving:
            self._metrics.dropped.inc(self._pacer.clear())
        self._generation += 1
        self._spoken_until = 0.0
        over = list(dict.fromkeys([*self._leaving, *self._segments]))
        for handle in [h for _, h in self._leaving.values() if h is not None]:
            handle.cancel()
        for handle in self._starting.values():
            handle.cancel()
        self._starting.clear()
        self._leaving.clear()
        self._segments.clear()
        for segment in over:
            segment.end()
            self._finished(segment, positions.get(segment, 0.0), interrupted=True)

    async def run(self) -> None:
        """Performs until cancelled. Raises what the engine or the room's tracks raise."""
        painting = asyncio.create_task(self._paint())
        try:
            while True:
                segment = self._head()
                if segment is not None and await self._has_next(segment):
                    await self._speak(segment)
                elif segment is not None and segment.done:
                    continue
                else:
                    await self._idle()
                self._tick += 1
                if painting.done():
                    painting.result()
        finally:
            painting.cancel()
            self.interrupt()
            self._pacer.stop()
            await asyncio.gather(painting, return_exceptions=True)

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
            if segment.done:
                return False
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
        """40 ms of silence; speech that can begin meanwhile does not wait for their end."""
        pushing = asyncio.create_task(self._pacer.push(_SILENCE, self._still()))
        speech = asyncio.create_task(self._speech())
        try:
            await asyncio.wait({pushing, speech}, return_when=asyncio.FIRST_COMPLETED)
            if not pushing.done() and self._silent:
                self._pacer.clear()
            if not (await pushing).over:
                self._metrics.frames.labels("idle").inc()
        finally:
            pushing.cancel()
            speech.cancel()

    async def _speech(self) -> None:
        """Waits until there is some to go on with."""
        while True:
            head = self._segments[0] if self._segments else None
            if head is not None and (head.done or head.ready(head.margin_s)):
                return
            if head is not None and self._lines.empty():
                self._lines.put_nowait(head)
            changed = self._said if head is None else head.arrived
            changed.clear()
            await changed.wait()

    @property
    def _silent(self) -> bool:
        """Is sound queued, and all of it silence?"""
        return self._loop.time() >= self._spoken_until and self._pacer.lead_s > 0.0

    async def _speak(self, segment: Segment) -> None:
        generation, frame = self._generation, segment.frame
        sound = segment.take()
        if self._silent:
            self._pacer.clear()  # nobody shall wait for its end
        if frame == 0:
            self._starting[segment] = self._loop.call_later(
                self._pacer.lead_s, self._started, segment
            )
        self._leaving[segment] = (self._pacer.empty_at + FRAME_S, None)
        heard_at = partial(segment.heard_at, frame)
        shot = await self._pacer.push(sound, self._still(), frame, heard_at)
        if shot.over or generation != self._generation:
            return
        self._spoken_until = self._pacer.empty_at
        self._leaving[segment] = (self._spoken_until, None)
        self._lines.put_nowait(_Line(shot, segment, frame, self._background()))
        self._metrics.frames.labels("speaking").inc()

    async def _paint(self) -> None:
        """One picture after the other. One that nobody waits for any more is left out, and so is
        one that would come too late where a later one is asked for: else all would be late."""
        takes_s = 0.0
        while True:
            line = await self._lines.get()
            if isinstance(line, Segment):
                await self._hear(line)
                continue
            while line.shot.due < self._loop.time() + takes_s and not self._lines.empty():
                later = self._lines.get_nowait()
                assert isinstance(later, _Line)  # a segment is put where there is no picture
                line = later
            await line.segment.heard(line.frame)
            if line.shot.over:
                continue
            windows = line.segment.windows(line.frame)
            work = Work(self._avatar, line.background, line.segment, line.frame, windows)
            began = self._loop.time()
            try:
                picture = await self._inference.picture(work)
            except Exception:
                if not line.shot.cleared:
                    raise
            else:
                self._pacer.paint(line.shot, picture)
            takes_s += _LEARNING * (self._loop.time() - began - takes_s)

    async def _hear(self, segment: Segment) -> None:
        """What of it came by now. In the painter's turn: features are kept in their order."""
        windows = segment.windows_so_far() if segment in self._segments else []
        if not windows:
            return
        try:
            await self._inference.hear(Work(self._avatar, 0, segment, None, windows))
        except Exception:
            if segment in self._segments:
                raise

    def _still(self) -> Picture:
        return self._compositor.compose(self._background(), None)

    def _background(self) -> int:
        return ping_pong(self._tick, len(self._avatar.frames))

    def _let_leave(self, segment: Segment) -> None:
        """Its last sound is queued: it is over when that has left."""
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
