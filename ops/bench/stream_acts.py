"""What ``rapido bench stream`` does with one session, one act a figure; times in ms, but named."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
from livekit import rtc

from ops.avatar.speech import Speech, held_out, synthesise
from ops.bench.stream_cell import StreamCell, until
from ops.demo import media
from ops.demo.learner import RATE_HZ, Heard, Learner
from ops.speaker import Speaker

LOOKAHEAD_MS = 412.0
"""Of the model itself: frame i needs the audio up to 40 i + 452 ms, and shows 40 i to 40 i + 40."""
WAIT_S = 15.0
_LOUD, _SILENT = 0.02, 0.004
_LINE = "Now listen carefully while I read you a line without any pause"


@dataclass
class Room:
    """A session's room, with who watches and who speaks."""

    session_id: str
    learner: Learner
    speaker: Speaker | None = None


def new_session() -> str:
    """An id like a cell's."""
    return f"s-bench-{secrets.token_hex(8)}"


async def joined(cell: StreamCell, session_id: str) -> Learner:
    """A learner who sits in the room."""
    learner = Learner()
    await learner.join(cell.livekit_url, cell.token("learner", session_id))
    return learner


async def asked(cell: StreamCell, session_id: str) -> float:
    """Asks the worker for the stream; when that was."""
    began = time.monotonic()
    await asyncio.to_thread(cell.start, session_id)
    return began


async def finish(cell: StreamCell, session_id: str) -> None:
    """Ends the stream, and waits until the worker says so."""
    await asyncio.to_thread(cell.end, session_id)
    await until(lambda: session_id in cell.ended(), WAIT_S)


async def speaker_in(cell: StreamCell, session_id: str) -> Speaker:
    """One that may speak through the avatar."""
    speaker = Speaker(f"avatar-{session_id}")
    await speaker.join(cell.livekit_url, cell.token("voice", session_id, voice=True))
    return speaker


@asynccontextmanager
async def lesson(cell: StreamCell, *, speaks: bool = True) -> AsyncIterator[Room]:
    """A stream that is seen, until the block ends."""
    session_id = new_session()
    learner = await joined(cell, session_id)
    await asked(cell, session_id)
    await asyncio.wait_for(learner.first_frame.wait(), WAIT_S)
    room = Room(session_id, learner)
    if speaks:
        room.speaker = await speaker_in(cell, session_id)
    try:
        yield room
    finally:
        if room.speaker is not None:
            await room.speaker.leave()
        await finish(cell, session_id)
        await learner.leave()


async def first_frames_cold(cell: StreamCell, samples: int) -> list[float]:
    """Asked → first frame decoded by a learner who is in the room; the worker joins it anew."""
    took = []
    for _ in range(samples):
        session_id = new_session()
        learner = await joined(cell, session_id)
        began = await asked(cell, session_id)
        await asyncio.wait_for(learner.first_frame.wait(), WAIT_S)
        took.append((learner.seen[0].at_s - began) * 1000)
        await finish(cell, session_id)
        await learner.leave()
    return took


@dataclass(frozen=True)
class Warm:
    """Of sessions in rooms where the worker sat already: asked → the first frame decoded that was
    made after the worker told of its first; and of all frames of the first seconds, handed over →
    decoded."""

    first_frames: list[float]
    latencies: list[float]


async def warm_starts(cell: StreamCell, samples: int, stays: int, stay_s: float) -> Warm:
    """Sessions in such rooms; in the last ``stays`` of them the learner stays."""
    cell.warm_rooms = 2
    found = Warm([], [])
    used: set[str] = set()  # a heartbeat may still tell of a room that was taken since
    for at in range(samples):
        await until(lambda: bool(set(cell.warm) - used), WAIT_S)
        session_id = next(one for one in cell.warm if one not in used)
        used.add(session_id)
        learner = await joined(cell, session_id)
        await asyncio.wait_for(learner.first_frame.wait(), WAIT_S)
        began = await asked(cell, session_id)
        await until(partial(_is_shown, cell, session_id), WAIT_S)
        fresh = await _made_after(learner, cell.shown()[session_id])
        found.first_frames.append((fresh - began) * 1000)
        if at >= samples - stays:
            await asyncio.sleep(stay_s)
            found.latencies.extend(latencies(learner))
        await finish(cell, session_id)
        await learner.leave()
    cell.warm_rooms = 0
    return found


def _is_shown(cell: StreamCell, session_id: str) -> bool:
    return session_id in cell.shown()


async def _made_after(learner: Learner, unix_s: float) -> float:
    """When the first frame was decoded that was handed over after that."""
    looked = 0
    async with asyncio.timeout(WAIT_S):
        while True:
            for one in learner.seen[looked:]:
                looked += 1
                if one.handed_s is not None and one.handed_s > unix_s:
                    return one.at_s
            await asyncio.sleep(0.002)


async def interruptions(room: Room, samples: int) -> list[float]:
    """Interrupted → the last sound that is heard after it, and the mouth is shut with it."""
    assert room.speaker is not None
    line = synthesise(_LINE, "en-us+f5").first(2.0)
    random = np.random.default_rng(5)
    silences = []
    for _ in range(samples):
        saying = asyncio.create_task(room.speaker.say(line.pcm, line.sample_rate))
        async with asyncio.timeout(WAIT_S):
            while rms((await room.learner.next_sound()).pcm) <= _LOUD:
                pass
        await asyncio.sleep(float(random.uniform(0.1, 0.2)))
        began = time.monotonic()
        await room.speaker.interrupt()
        await saying
        await asyncio.wait_for(room.speaker.finished.get(), 5.0)
        await asyncio.sleep(0.3)
        silences.append(max(_silent_after(room.learner, began), _shut_after(room.learner, began)))
    return silences


def rms(pcm: np.ndarray) -> float:
    """0..1."""
    return float(np.sqrt(np.mean((pcm.astype(np.float64) / 32768) ** 2)))


def _silent_after(learner: Learner, began: float) -> float:
    loud = [one.at_s for one in learner.heard if one.at_s > began and rms(one.pcm) > _SILENT]
    return (loud[-1] - began) * 1000 if loud else 0.0


def _shut_after(learner: Learner, began: float) -> float:
    """Frames say which 40 ms of speech they show, -1 where the mouth is shut."""
    open_ = [one.at_s for one in learner.seen if one.at_s > began and one.number >= 0]
    return (open_[-1] - began) * 1000 if open_ else 0.0


async def offsets(room: Room, seconds: float) -> list[float]:
    """Sound against picture, twice a second of speech, one speech after the other."""
    assert room.speaker is not None
    speech, learner = held_out().first(20.0), room.learner
    found: list[float] = []
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        learner.seen.clear()
        learner.heard.clear()
        await asyncio.sleep(0.3)
        await room.speaker.say(speech.pcm, speech.sample_rate)
        await asyncio.wait_for(room.speaker.finished.get(), 40.0)
        await asyncio.sleep(0.3)
        found += await asyncio.to_thread(_offsets, learner, speech)
    return found


def _offsets(learner: Learner, speech: Speech) -> list[float]:
    said, sound = speech.pcm.astype(np.float64), media.Sound(list(learner.heard))
    start, _ = media.find(sound, said, speech.sample_rate)
    return media.sound_against_picture(sound, list(learner.seen), said, speech.sample_rate, start)


def latencies(learner: Learner) -> list[float]:
    """Frame handed over → decoded."""
    ahead_s = time.time() - time.monotonic()
    return [(one.at_s + ahead_s - one.handed_s) * 1000 for one in learner.seen if one.handed_s]


async def speech_delays(
    cell: StreamCell, room: Room, utterances: int, lookahead_ms: float = LOOKAHEAD_MS
) -> list[float]:
    """Spoken into a microphone in real time → heard from the avatar, above the look-ahead."""
    microphone = rtc.Room()
    options = rtc.RoomOptions(auto_subscribe=False)
    await microphone.connect(
        cell.livekit_url, cell.token("microphone", room.session_id, voice=True), options
    )
    source = rtc.AudioSource(RATE_HZ, 1, queue_size_ms=40)
    track = rtc.LocalAudioTrack.create_audio_track("microphone", source)
    await microphone.local_participant.publish_track(
        track, rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
    )
    line = synthesise(_LINE, "en-us+m3").first(2.4)
    said = media.resample(line.pcm.astype(np.float64), line.sample_rate, RATE_HZ)
    loud = (np.clip(said / np.abs(said).max(), -1, 1) * 24_000).astype(np.int16)
    silence = np.zeros(RATE_HZ, np.int16)
    delays = []
    for _ in range(utterances):
        room.learner.heard.clear()
        await _speak_into(source, silence)
        began = await _speak_into(source, loud)
        await _speak_into(source, silence)
        await _speak_into(source, silence)
        delays += [one - lookahead_ms for one in _delays(room.learner.heard, loud, began)]
    await microphone.disconnect()
    await source.aclose()
    return delays


async def _speak_into(source: rtc.AudioSource, pcm: np.ndarray) -> float:
    """10 ms a time, at the pace of a microphone; when its first sample left."""
    step = RATE_HZ // 100
    began = time.monotonic() + source.queued_duration
    for at in range(0, len(pcm) - step + 1, step):
        await source.capture_frame(rtc.AudioFrame(pcm[at : at + step].tobytes(), RATE_HZ, 1, step))
    return began


def _delays(heard: Sequence[Heard], said: np.ndarray, began: float) -> list[float]:
    """One a word or so: windows of 0.3 s, each found again in what was heard."""
    sound = media.Sound(list(heard))
    start, alike = media.find(sound, said.astype(np.float64) / 32768, RATE_HZ)
    if alike < 0.3:
        return [float("inf")]
    window = int(0.3 * RATE_HZ)
    lags = []
    for at in range(0, len(said) - window, window):
        heard_at = sound.time_of(start + at)
        lags.append((heard_at - began - at / RATE_HZ) * 1000)
    return lags
