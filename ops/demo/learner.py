"""A learner's client: joins, decodes, and keeps what it saw and heard, with the times."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from livekit import rtc

from gpu_node.room import connect

RATE_HZ = 48_000
_JOIN_S, _LEAVE_S = 15.0, 3.0


@dataclass(frozen=True)
class Seen:
    """One decoded picture, with what its publisher stamped on it.

    ``handed_s`` is Unix time, ``number`` its 40 ms of the speech, -1 in silence.
    """

    at_s: float
    handed_s: float | None
    number: int
    i420: bytes | None
    size: tuple[int, int]


@dataclass(frozen=True)
class Heard:
    """A piece of sound, as it left the receiver's jitter buffer."""

    at_s: float
    pcm: npt.NDArray[np.int16]


def _i420(frame: rtc.VideoFrame) -> bytes:
    kind = rtc.VideoBufferType.I420
    return bytes(frame.data if frame.type == kind else frame.convert(kind).data)


@dataclass
class Learner:
    """Times are this machine's monotonic clock; pictures are kept where ``keep`` is true."""

    keep: bool = False
    room: rtc.Room = field(default_factory=rtc.Room)
    seen: list[Seen] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)
    first_frame: asyncio.Event = field(default_factory=asyncio.Event)
    _more_sound: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def join(self, url: str, token: str) -> None:
        """Connects; tracks are watched from their subscription on."""
        self.room.on("track_subscribed", self._watch)
        await asyncio.wait_for(connect(self.room, url, token, rtc.RoomOptions()), _JOIN_S)

    def _watch(
        self,
        track: rtc.RemoteTrack,
        publication: rtc.RemoteTrackPublication,
        participant: rtc.RemoteParticipant,
    ) -> None:
        del publication
        if not participant.identity.startswith("avatar"):
            return  # a microphone
        watch = (
            self._video(track) if isinstance(track, rtc.RemoteVideoTrack) else self._audio(track)
        )
        self._tasks.append(asyncio.create_task(watch))

    async def _video(self, track: rtc.Track) -> None:
        stream = rtc.VideoStream(track)
        try:
            async for event in stream:
                now = time.monotonic()
                handed, number = None, -1
                if event.metadata is not None and event.metadata.user_timestamp:
                    handed = event.metadata.user_timestamp / 1e6
                    number = int(event.metadata.frame_id) - 1
                data = None
                if self.keep:
                    data = _i420(event.frame)
                size = (event.frame.width, event.frame.height)
                self.seen.append(Seen(now, handed, number, data, size))
                self.first_frame.set()
        finally:
            await stream.aclose()

    async def _audio(self, track: rtc.Track) -> None:
        stream = rtc.AudioStream(track, sample_rate=RATE_HZ, num_channels=1, frame_size_ms=10)
        try:
            async for event in stream:
                pcm = np.frombuffer(event.frame.data, np.int16).copy()
                self.heard.append(Heard(time.monotonic(), pcm))
                self._more_sound.set()
        finally:
            await stream.aclose()

    async def next_sound(self) -> Heard:
        """The next piece that is heard from now on."""
        self._more_sound.clear()
        await self._more_sound.wait()
        return self.heard[-1]

    async def leave(self) -> None:
        """Ends the watching first, then disconnects.

        The SDK's client hangs in it now and then: it is left behind then, and its room is closed
        with the lesson.
        """
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_LEAVE_S)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.room.disconnect(), _LEAVE_S)
