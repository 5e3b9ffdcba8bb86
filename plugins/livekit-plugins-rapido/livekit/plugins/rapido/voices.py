"""Where an agent's speech goes: to the avatar, or into an audio track of its own."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import suppress

from livekit import rtc
from livekit.agents.voice.avatar import DataStreamAudioOutput
from livekit.agents.voice.io import AudioOutput, AudioOutputCapabilities
from livekit.rtc.participant import UnpublishTrackError

SAMPLE_RATE_HZ = 24_000
_QUEUE_MS = 200
_UNPUBLISH_S = 2.0  # a room that closes meanwhile never answers


class AvatarVoice(DataStreamAudioOutput):
    """Speech to the avatar. Once it is lost, it takes no more and ends what was begun."""

    def __init__(self, room: rtc.Room, avatar_identity: str, sample_rate: int) -> None:
        super().__init__(
            room=room,
            destination_identity=avatar_identity,
            sample_rate=sample_rate,
            wait_remote_track=rtc.TrackKind.KIND_VIDEO,
            wait_playback_start=True,
        )
        self._lost_at: float | None = None
        self._captured_s: deque[float] = deque()
        self._heard_since: float | None = None

    @property
    def pending(self) -> int:
        """Segments that the avatar has not reported as finished."""
        return len(self._captured_s)

    def lose(self, at: float) -> None:
        """The avatar was last there ``at`` that moment, of ``time.time()``."""
        self._lost_at = at

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        """Sends the frame on; drops it once the avatar is lost."""
        known = self.captured_playout_segments
        try:
            if self._lost_at is not None:
                await AudioOutput.capture_frame(self, frame)
            else:
                await super().capture_frame(frame)
        finally:
            # a capture that was cancelled may or may not have begun a segment
            if self.captured_playout_segments > known:
                self._captured_s.append(0.0)
            if self._captured_s:
                self._captured_s[-1] += frame.duration

    def flush(self) -> None:
        """The segment is whole."""
        super().flush()
        if self._lost_at is not None:
            self.end()

    def clear_buffer(self) -> None:
        """Interrupts."""
        if self._lost_at is not None:
            self.end()
        else:
            super().clear_buffer()

    def end(self) -> None:
        """Reports every segment as interrupted: nobody else will."""
        since, until = self._heard_since, self._lost_at or time.time()
        while self._captured_s:
            heard_s = 0.0 if since is None else min(self._captured_s[0], max(0.0, until - since))
            self.on_playback_finished(playback_position=heard_s, interrupted=True)
            since = None

    def on_playback_started(self, *, created_at: float) -> None:
        """The avatar is heard."""
        self._heard_since = created_at
        super().on_playback_started(created_at=created_at)

    def on_playback_finished(
        self,
        *,
        playback_position: float,
        interrupted: bool,
        synchronized_transcript: str | None = None,
    ) -> None:
        """One segment is over."""
        self._heard_since = None
        if self._captured_s:
            self._captured_s.popleft()
        super().on_playback_finished(
            playback_position=playback_position,
            interrupted=interrupted,
            synchronized_transcript=synchronized_transcript,
        )


class OwnVoice(AudioOutput):
    """The agent's own audio track, for a session that was started without one."""

    def __init__(self, room: rtc.Room, sample_rate: int = SAMPLE_RATE_HZ) -> None:
        super().__init__(
            label="RapidoOwnVoice",
            capabilities=AudioOutputCapabilities(pause=False),
            sample_rate=sample_rate,
        )
        self._room = room
        self._rate_hz = sample_rate
        self._source: rtc.AudioSource | None = None
        self._publication: rtc.LocalTrackPublication | None = None
        self._publishing = asyncio.Lock()
        self._leaving: asyncio.Task[None] | None = None
        self._pushed_s = 0.0
        self._playing_out: asyncio.Task[None] | None = None

    async def publish(self) -> rtc.AudioSource:
        """The track's source; the track is published by the first call."""
        async with self._publishing:
            if self._source is None:
                self._source = rtc.AudioSource(self._rate_hz, 1, queue_size_ms=_QUEUE_MS)
                track = rtc.LocalAudioTrack.create_audio_track("agent-voice", self._source)
                options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
                publish = self._room.local_participant.publish_track
                self._publication = await publish(track, options)
            return self._source

    def on_detached(self) -> None:
        """Another voice speaks from here on, or nobody: the track goes."""
        super().on_detached()
        self._leaving = asyncio.create_task(self._unpublish())

    async def _unpublish(self) -> None:
        async with self._publishing:
            source, self._source = self._source, None
            self._finish(self._pushed_s, interrupted=True)
            if self._publication is not None and self._room.isconnected():
                going = self._room.local_participant.unpublish_track(self._publication.sid)
                with suppress(UnpublishTrackError, TimeoutError):
                    await asyncio.wait_for(going, _UNPUBLISH_S)
            self._publication = None
            if source is not None:
                await source.aclose()

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        """Plays the frame after those before it; returns when the queue has taken it."""
        source = await self.publish()
        if self._playing_out is not None:
            await asyncio.wait({self._playing_out})
        await super().capture_frame(frame)
        if self._pushed_s == 0.0:
            self.on_playback_started(created_at=time.time())
        self._pushed_s += frame.duration
        await source.capture_frame(frame)

    def flush(self) -> None:
        """The segment is whole: it is over when its last sound has left."""
        super().flush()
        if self._pushed_s and self._source is not None and self._playing_out is None:
            self._playing_out = asyncio.create_task(self._play_out(self._source))

    def clear_buffer(self) -> None:
        """Silence now."""
        if self._pushed_s and self._source is not None:
            heard_s = max(0.0, self._pushed_s - self._source.queued_duration)
            self._source.clear_queue()
            self._finish(heard_s, interrupted=True)

    async def _play_out(self, source: rtc.AudioSource) -> None:
        await source.wait_for_playout()
        self._playing_out = None
        self._finish(self._pushed_s, interrupted=False)

    def _finish(self, position_s: float, *, interrupted: bool) -> None:
        if self._playing_out is not None:
            self._playing_out.cancel()
            self._playing_out = None
        if self._pushed_s:
            self._pushed_s = 0.0
            self.on_playback_finished(playback_position=position_s, interrupted=interrupted)
