"""Who may speak into the avatar, and what they say.

The convention of LiveKit Agents: one byte stream a segment on ``lk.audio_stream``, its closing ends
the segment; ``lk.clear_buffer`` interrupts. Besides, the audio track of a participant whose signed
token says ``rapido.voice``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from livekit import rtc

from gpu_node.pcm import PLAYOUT_RATE_HZ, FormatError, PcmFormat, Samples, read_format
from gpu_node.segment import Segment
from gpu_node.voice import VoiceGate

AUDIO_STREAM = "lk.audio_stream"
CLEAR_BUFFER = "lk.clear_buffer"
VOICE_ATTRIBUTE = "rapido.voice"
_TRACK_MARGIN_S, _TRACK_REBUFFER_S = 0.02, 0.08
_SUPERSEDED_END_S = 0.5
_INTRODUCTION_S = 8.0  # LiveKit tells of those who publish no track every 3 s only
_NOT_ALLOWED = 4403
_log = logging.getLogger(__name__)


class Stage(Protocol):
    """Where speech goes."""

    def say(self, segment: Segment) -> None:
        """Plays the segment after those before it."""

    def interrupt(self) -> None:
        """Drops everything said."""


class StreamInfo(Protocol):
    """What a byte stream says about itself."""

    attributes: dict[str, str] | None


class ByteReader(Protocol):
    """An incoming byte stream."""

    @property
    def info(self) -> StreamInfo:
        """Its attributes."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Its pieces; raises rtc.StreamError when it was cut off."""

    def close(self) -> None:
        """Reads no more."""


@dataclass(frozen=True)
class Voices:
    """Who may speak. In a room of the caller's own its agent alone: whose tokens may change their
    own attributes there, the cell does not know."""

    agent_identity: str | None
    own_room: bool = False

    def has(self, identity: str, attributes: Mapping[str, str]) -> bool:
        """May this participant speak? The attributes are those its token was signed with."""
        return self.signed(attributes) or identity == self.agent_identity

    def signed(self, attributes: Mapping[str, str]) -> bool:
        """Says the token so? Then its microphone is heard too; the agent's is its own voice."""
        return attributes.get(VOICE_ATTRIBUTE) == "true" and not self.own_room


class Speech:
    """Turns what the participants of one room send into segments on the stage."""

    def __init__(self, room: rtc.Room, stage: Stage, voices: Voices) -> None:
        self._room = room
        self._stage = stage
        self.voices = voices
        self._open: dict[str, Segment] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._presence = asyncio.Event()

    def may_speak(self, identity: str) -> bool:
        """Is this participant here, and allowed to?"""
        participant = self._room.remote_participants.get(identity)
        if participant is None:
            return False
        return self.voices.has(identity, participant.attributes)

    def on_stream(self, reader: ByteReader, sender: str) -> None:
        """A segment begins; its order among segments is that of these calls."""
        if sender not in self._room.remote_participants:
            self._start(self._await_sender(reader, sender))
            return
        if not self.may_speak(sender):
            _log.warning("speech refused: its sender's token lacks rapido.voice")
            reader.close()
            return
        if (before := self._open.get(sender)) is not None:
            before.lost_end_s = _SUPERSEDED_END_S
        try:
            segment = Segment(sender, read_format(reader.info.attributes or {}), reported=True)
        except FormatError as error:
            _log.warning("speech refused: %s", error)
            reader.close()
            # played as an empty one, so that its sender is told that it is over
            segment = Segment(sender, PcmFormat(PLAYOUT_RATE_HZ, 1), reported=True)
            segment.end()
            self._stage.say(segment)
            return
        self._open[sender] = segment
        self._stage.say(segment)
        self._start(self._receive(reader, segment))

    def on_presence(self) -> None:
        """Somebody came or went."""
        self._presence.set()
        self._presence = asyncio.Event()

    async def on_clear(self, call: rtc.RpcInvocationData) -> str:
        """The user interrupted. Raises RpcError for who may not speak."""
        await self._introduced(call.caller_identity)
        if not self.may_speak(call.caller_identity):
            raise rtc.RpcError(_NOT_ALLOWED, "not allowed: the token lacks rapido.voice")
        self._stage.interrupt()
        return "ok"

    def on_track(self, track: rtc.Track, sender: str) -> None:
        """The microphone of one who may speak was subscribed."""
        if self.may_speak(sender):
            self._start(self._listen(track, sender))

    async def close(self) -> None:
        """Stops listening; every stream is closed."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _await_sender(self, reader: ByteReader, sender: str) -> None:
        if await self._introduced(sender):
            self.on_stream(reader, sender)
        else:
            _log.warning("speech refused: its sender was never introduced")
            reader.close()

    async def _introduced(self, identity: str) -> bool:
        """Is this one known? Who only sends data is announced after its first bytes."""
        try:
            async with asyncio.timeout(_INTRODUCTION_S):
                while identity not in self._room.remote_participants:
                    await self._presence.wait()
        except TimeoutError:
            return False
        return True

    async def _receive(self, reader: ByteReader, segment: Segment) -> None:
        try:
            async for piece in reader:
                segment.write(piece)
                if segment.ended:
                    break
        except rtc.StreamError as error:
            _log.warning("speech was cut off: %s", error.description)
        finally:
            reader.close()
            segment.end()
            if segment.truncated:
                _log.warning("speech was longer than ten minutes ahead; the rest was dropped")
            if self._open.get(segment.sender) is segment:
                del self._open[segment.sender]

    async def _listen(self, track: rtc.Track, sender: str) -> None:
        stream = rtc.AudioStream(track, sample_rate=PLAYOUT_RATE_HZ, num_channels=1)
        gate, segment = VoiceGate(), None
        try:
            async for event in stream:
                spoken = gate.feed(_samples(event.frame))
                if spoken is not None:
                    if segment is None or segment.ended:
                        pcm = PcmFormat(PLAYOUT_RATE_HZ, 1)
                        margin_s = _TRACK_MARGIN_S
                        segment = Segment(sender, pcm, reported=False, margin_s=margin_s)
                        segment.rebuffer_s = _TRACK_REBUFFER_S
                        self._stage.say(segment)
                    segment.write(spoken.tobytes())
                if segment is not None and not gate.is_open:
                    segment.end()
        finally:
            if segment is not None:
                segment.end()
            await stream.aclose()


def _samples(frame: rtc.AudioFrame) -> Samples:
    return np.frombuffer(frame.data, np.int16)
