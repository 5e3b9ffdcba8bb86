"""Finds by trying how many streams hold: engine, sound, encoding, transport; each speaks, in a room
of its own as long as there are rooms."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType

import numpy as np
from livekit import rtc

from control.contracts.worker import RoomAccess
from gpu_node.avatars.package import Avatar
from gpu_node.capacity import MOST_BUSY, Load
from gpu_node.compositor import Compositor
from gpu_node.features import FPS
from gpu_node.gpu import Gpu
from gpu_node.hardware import cores, idle_s, resident_bytes
from gpu_node.inference import Inference
from gpu_node.metrics import Metrics
from gpu_node.pacing import Pacer
from gpu_node.pcm import PLAYOUT_RATE_HZ, PcmFormat
from gpu_node.performance import Performance
from gpu_node.room import Encoded, Tracks, connect
from gpu_node.segment import Segment
from gpu_node.video import Video

LATE_P99_MS, LEAST_FPS = 40.0, 24.5
_SETTLE_S, _TRIAL_S = 0.8, 3.0
_SPEECH_AHEAD_S = 1.5
_FULL = 0.85
_BUDGET_S = 12.0
"""No trial begins later."""
_JOIN_S = 5.0
_MOST = 1000
_HELD_MS = 80.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trial:
    """Of the worst stream; ``busy_share`` is of the machine's cores, 0..1."""

    fps: float
    late_p99_ms: float
    busy_share: float

    @property
    def holds(self) -> bool:
        """25 fps, hardly ever late, and some of the machine to spare."""
        in_time = self.fps >= LEAST_FPS and self.late_p99_ms <= LATE_P99_MS
        return in_time and self.busy_share <= MOST_BUSY


async def search(
    first: int,
    holds: Callable[[int], Awaitable[bool]],
    room: Callable[[], int],
    clock: Callable[[], float] = time.monotonic,
    budget_s: float = _BUDGET_S,
) -> int:
    """The most streams that held, beginning with ``first``; 0 where not even one did.

    It doubles until one fails, and then halves what is between; but tries no more than ``room``
    says there is, by what those that held have taken.
    """
    until = clock() + budget_s
    best, failed, at = 0, _MOST + 1, max(1, min(first, _MOST))
    while best < at < failed and clock() < until:
        if await holds(at):
            best = at
            at = min((best + failed) // 2 if failed <= _MOST else 2 * best, room())
        else:
            failed = at
            at = (best + failed) // 2 if best else max(1, int(at * 0.75))
    return best


class _Observer:
    def started(self, segment: Segment) -> None:
        """Nobody listens."""

    def finished(self, segment: Segment, position_s: float, *, interrupted: bool) -> None:
        """Nobody listens."""


@dataclass(eq=False)
class _Stream:
    """One that speaks without end."""

    room: rtc.Room
    tracks: Tracks
    metrics: Metrics
    segment: Segment
    task: asyncio.Task[None]
    shown: list[float] = field(default_factory=list)
    """Lateness of each frame, in seconds."""

    def speak_on(self) -> None:
        """Keeps some speech ahead of what is played."""
        ahead_s = self.segment.duration_s - self.segment.frame / FPS
        missing = int(max(0.0, _SPEECH_AHEAD_S - ahead_s) * PLAYOUT_RATE_HZ)
        noise = np.random.default_rng(missing).normal(0, 3000, missing)
        self.segment.write(noise.astype(np.int16).tobytes())

    def held(self) -> float:
        """Pictures that were not there in time, so far."""
        found = self.metrics.registry.get_sample_value("rapido_frames_held_total")
        return found or 0.0


@dataclass(frozen=True)
class _Spent:
    """Seconds so far: on the clock, of the engine's thread at work, of this thread's and of the
    process's processor time, of all cores idle; and what the encoder of the first stream did."""

    clock_s: float
    engine_s: float
    loop_s: float
    process_s: float
    idle_s: float
    encoded: Encoded

    def since(self, before: _Spent) -> _Spent:
        """What was added."""
        return _Spent(
            self.clock_s - before.clock_s,
            self.engine_s - before.engine_s,
            self.loop_s - before.loop_s,
            self.process_s - before.process_s,
            self.idle_s - before.idle_s,
            Encoded(
                self.encoded.by,
                self.encoded.frames - before.encoded.frames,
                self.encoded.took_s - before.encoded.took_s,
            ),
        )


class Probe:
    """``async with``: joins the first of ``rooms``, and leaves those it came to join. Raises
    rtc.ConnectError, TimeoutError; so may a trial.

    ``loads``: what each trial took; ``resident_bytes``: of this process before the first.
    """

    def __init__(
        self,
        rooms: Sequence[RoomAccess],
        avatar: Avatar,
        compositor: Compositor,
        inference: Inference,
        video: Video,
        gpu: Gpu | None = None,
    ) -> None:
        self.loads: list[Load] = []
        self.resident_bytes = 0
        self._video = video
        self._gpu = gpu
        self._rooms = rooms
        self._avatar = avatar
        self._compositor = compositor
        self._inference = inference
        self._joined: list[rtc.Room] = []
        self._streams: list[_Stream] = []

    async def __aenter__(self) -> Probe:
        await self._join(1)
        self.resident_bytes = resident_bytes()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._shrink(0)
        await asyncio.gather(*(room.disconnect() for room in self._joined))

    async def holds(self, streams: int) -> bool:
        """Do so many hold? They may try again where they were late though nothing was full: then
        a neighbour had the machine, and that trial says nothing."""
        before = len(self.loads)
        if await self._held(streams):
            return True
        if len(self.loads) == before or self.loads[-1].fullest > _FULL:
            return False
        self.loads.pop()
        return await self._held(streams)

    async def _held(self, streams: int) -> bool:
        try:
            trial = await self.trial(streams)
        except TimeoutError:
            _log.warning("capacity: %d streams: their rooms or their sound are stuck", streams)
            await self._shrink(0)
            return False
        _log.info(
            "capacity: %d streams: %.1f fps, 99 %% of the frames at most %.0f ms late, "
            "%.0f %% of the cores busy",
            streams,
            trial.fps,
            trial.late_p99_ms,
            100 * trial.busy_share,
        )
        return trial.holds

    async def trial(self, streams: int) -> Trial:
        """So many speak for some seconds."""
        await self._shrink(streams)
        await self._join(min(streams, len(self._rooms)))
        fresh = range(len(self._streams), streams)
        rooms = [self._joined[at % len(self._joined)] for at in fresh]
        self._streams += await asyncio.gather(*map(self._start, rooms))
        await self._speak(_SETTLE_S)
        before = [one.held() for one in self._streams]
        for one in self._streams:
            one.shown.clear()
        began = await self._spent()
        await self._speak(_TRIAL_S)
        spent = (await self._spent()).since(began)
        seen = [
            self._seen(one, held, spent.clock_s)
            for one, held in zip(self._streams, before, strict=True)
        ]
        trial = Trial(
            min(fps for fps, _ in seen),
            max(late_ms for _, late_ms in seen),
            1.0 - spent.idle_s / spent.clock_s / cores(),
        )
        self.loads.append(self._load(streams, trial, spent))
        return trial

    async def _join(self, count: int) -> None:
        missing = self._rooms[len(self._joined) : count]
        rooms = [rtc.Room() for _ in missing]
        options = rtc.RoomOptions(auto_subscribe=False, single_peer_connection=False)
        self._joined += rooms
        async with asyncio.timeout(_JOIN_S):
            await asyncio.gather(
                *(
                    connect(room, access.url, access.token, options)
                    for room, access in zip(rooms, missing, strict=True)
                )
            )

    async def _spent(self) -> _Spent:
        encoded = await self._streams[0].tracks.encoded()
        return _Spent(
            time.monotonic(),
            self._inference.threads.busy_s,
            time.thread_time(),
            time.process_time(),
            idle_s(),
            encoded or Encoded("", 0, 0.0),
        )

    def _load(self, streams: int, trial: Trial, spent: _Spent) -> Load:
        sample = self._gpu.latest(0.0) if self._gpu is not None else None
        encoder = sample.encoder_utilisation_percent if sample is not None else None
        nvenc, encoded = self._video.encoder == "nvenc", spent.encoded
        if nvenc and encoded.frames and "NVIDIA" not in encoded.by:
            _log.warning("NVENC is not used: the encoder is %s", encoded.by)
        return Load(
            streams,
            trial.holds,
            engine_share=spent.engine_s / spent.clock_s,
            loop_share=spent.loop_s / spent.clock_s,
            cores_share=spent.process_s / spent.clock_s / cores(),
            busy_share=trial.busy_share,
            resident_bytes=resident_bytes(),
            encoder_share=encoder / 100.0 if nvenc and encoder is not None else None,
            encoded_fps=encoded.frames / spent.clock_s if encoded.frames else None,
            encode_ms=1e3 * encoded.took_s / encoded.frames if encoded.frames else None,
            encoded_by=encoded.by if encoded.frames else None,
        )

    @staticmethod
    def _seen(stream: _Stream, held_before: float, took_s: float) -> tuple[float, float]:
        """Frames a second, and the 99th percentile of their lateness in ms; a held picture counts
        as a frame that is late by more than is allowed."""
        held = int(stream.held() - held_before)
        late = [1e3 * one for one in stream.shown] + [_HELD_MS] * held
        return len(stream.shown) / took_s, float(np.percentile(late, 99)) if late else math.inf

    async def _speak(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            for one in self._streams:
                one.speak_on()
                if one.task.done():
                    one.task.result()
            if self._gpu is not None:
                self._gpu.latest(0.0)  # asks, so that there is a fresh one at the end
            await asyncio.sleep(min(left, _SPEECH_AHEAD_S / 3))

    async def _start(self, room: rtc.Room) -> _Stream:
        tracks, metrics = Tracks(*self._avatar.size, self._video), Metrics()
        await tracks.publish(room)
        shown: list[float] = []
        pacer = Pacer(tracks.sound, tracks.pictures, shown.append, metrics.hold)
        performance = Performance(
            self._avatar, self._compositor, self._inference, pacer, _Observer(), metrics
        )
        segment = Segment("probe", PcmFormat(PLAYOUT_RATE_HZ, 1), reported=False)
        performance.say(segment)
        task = asyncio.create_task(performance.run())
        return _Stream(room, tracks, metrics, segment, task, shown)

    async def _shrink(self, streams: int) -> None:
        gone, self._streams = self._streams[streams:], self._streams[:streams]
        for one in gone:
            one.task.cancel()
        if gone:
            await asyncio.wait([one.task for one in gone])
        for one in gone:
            await one.tracks.unpublish(one.room)
            await one.tracks.close()
