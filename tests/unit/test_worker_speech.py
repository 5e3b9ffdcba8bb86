"""Speech as it arrives: cut anywhere, at any rate, from those who may speak, in order."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from types import SimpleNamespace

import numpy as np
import pytest
from livekit import rtc

from gpu_node import features
from gpu_node.pcm import PLAYOUT_RATE_HZ, FormatError, PcmFormat, PcmReader, read_format
from gpu_node.segment import FRAME_SAMPLES, Segment
from gpu_node.speech import Speech, Voices
from gpu_node.voice import VoiceGate


def tone(seconds: float, rate_hz: int, level: int = 16_000) -> np.ndarray:
    at = np.arange(int(seconds * rate_hz)) / rate_hz
    return (np.sin(2 * np.pi * 440 * at) * level).astype(np.int16)


def segment(rate_hz: int = 16_000, channels: int = 1) -> Segment:
    return Segment("agent", PcmFormat(rate_hz, channels), reported=True)


def play(speech: Segment) -> tuple[np.ndarray, list[np.ndarray]]:
    """Everything it gives, frame by frame."""
    sounds, windows = [], []
    while speech.ready():
        windows_of = speech.frame
        sounds.append(speech.take())
        windows += speech.windows(windows_of)
    return np.concatenate(sounds or [np.zeros(0, np.int16)]), windows


def test_samples_cut_in_half_are_put_together() -> None:
    whole = tone(0.1, 16_000)
    data, reader = whole.tobytes(), PcmReader(PcmFormat(16_000, 1))

    read = [reader.read(data[at : at + 7]) for at in range(0, len(data), 7)]

    assert np.array_equal(np.concatenate(read), whole)


def test_an_odd_byte_at_the_end_is_dropped() -> None:
    reader = PcmReader(PcmFormat(16_000, 1))

    assert reader.read(b"\x01\x00\x02").tolist() == [1]


def test_stereo_is_mixed_even_where_a_pair_is_cut() -> None:
    reader = PcmReader(PcmFormat(48_000, 2))
    data = np.array([100, 300, -32_768, -32_768], np.int16).tobytes()

    read = [*reader.read(data[:3]), *reader.read(data[3:])]

    assert read == [200, -32_768]


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 22_050, 24_000, 44_100, 48_000])
def test_any_rate_plays_at_its_own_length_and_pitch(rate_hz: int) -> None:
    speech = segment(rate_hz)
    speech.write(tone(2.0, rate_hz).tobytes())
    speech.end()

    sound, _ = play(speech)

    assert abs(sound.size - 2 * PLAYOUT_RATE_HZ) <= FRAME_SAMPLES
    spectrum = np.abs(np.fft.rfft(sound[:PLAYOUT_RATE_HZ]))
    assert int(spectrum.argmax()) == 440


def test_sound_leaves_a_little_before_its_mouth_is_known() -> None:
    speech = segment()
    speech.write(tone(0.41, 16_000).tobytes())
    assert not speech.ready()

    speech.write(tone(0.01, 16_000).tobytes())

    assert speech.ready()
    speech.take()
    assert not speech.ready()


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 22_050, 24_000, 44_100, 48_000])
def test_a_mouth_waits_for_all_the_sound_it_looks_ahead_to_and_no_longer(rate_hz: int) -> None:
    async def speak(speech: Segment, spoken: bytes, frame: int) -> None:
        """10 ms a time until the frame's mouth has heard enough."""
        waiting = asyncio.create_task(speech.heard(frame))
        await asyncio.sleep(0)
        while not waiting.done():
            at = round(speech.duration_s * rate_hz) * 2
            speech.write(spoken[at : at + rate_hz // 100 * 2])
            for _ in range(3):
                await asyncio.sleep(0)

    async def scene() -> None:
        speech, spoken, given = segment(rate_hz), tone(2.0, rate_hz).tobytes(), 0
        for frame in range(20):
            await speak(speech, spoken, frame)
            given += len(speech.windows(frame))

            assert given == frame + features.LOOKAHEAD_FRAMES
            assert speech.duration_s == pytest.approx(frame * 0.04 + 0.46, abs=0.006)

    asyncio.run(scene())


def test_it_is_known_since_when_a_mouth_could_be_drawn() -> None:
    now = 100.0
    speech = Segment("agent", PcmFormat(16_000, 1), reported=False, clock=lambda: now)
    frame_at_a_time = bytes(640 * 2)
    for _ in range(12):  # 480 ms
        now += 0.04
        speech.write(frame_at_a_time)

    assert speech.heard_at(0) == pytest.approx(100.48)
    assert speech.heard_at(1) == math.inf
    now = 103.0
    speech.end()
    now = 104.0
    speech.end()

    assert speech.heard_at(5) == 103.0
    assert speech.heard_at(0) == pytest.approx(100.48)


def test_the_mouth_is_given_the_very_windows_of_the_whole_speech() -> None:
    spoken = tone(1.5, 16_000)
    whole = features.MelStream()
    whole.push(spoken.astype(np.float32) / 32768.0)
    whole.finish()
    speech = segment()
    for at in range(0, spoken.size, 333):
        speech.write(spoken[at : at + 333].tobytes())
    speech.end()

    _, windows = play(speech)

    expected = whole.windows()
    # but for the last bit: a matrix product rounds by its height
    np.testing.assert_allclose(windows, expected, rtol=0, atol=1e-5)


def test_a_speech_of_a_few_samples_is_one_frame() -> None:
    speech = segment()
    speech.write(tone(0.005, 16_000).tobytes())
    speech.end()

    sound, windows = play(speech)

    assert sound.size == FRAME_SAMPLES
    assert windows
    assert speech.done


def test_nothing_is_taken_after_the_end() -> None:
    speech = segment()
    speech.end()

    speech.write(tone(1.0, 16_000).tobytes())

    assert speech.done


@pytest.mark.parametrize(
    ("attributes", "named"),
    [
        ({}, "sample_rate"),
        ({"sample_rate": "fast", "num_channels": "1"}, "sample_rate"),
        ({"sample_rate": "4000", "num_channels": "1"}, "sample_rate"),
        ({"sample_rate": "96000", "num_channels": "1"}, "sample_rate"),
        ({"sample_rate": "24000"}, "num_channels"),
        ({"sample_rate": "24000", "num_channels": "6"}, "num_channels"),
        ({"sample_rate": "24000", "num_channels": "-1"}, "num_channels"),
    ],
)
def test_a_wrong_format_is_told_by_its_attribute(attributes: dict[str, str], named: str) -> None:
    with pytest.raises(FormatError, match=f"^{named} .*send"):
        read_format(attributes)


def test_only_a_signed_attribute_or_the_named_agent_may_speak() -> None:
    assert Voices(None).has("teacher", {"rapido.voice": "true"})
    assert Voices("agent").has("agent", {})
    assert not Voices("agent").has("learner", {})
    assert not Voices(None).has("learner", {"rapido.voice": "yes"})


def test_in_the_callers_own_room_only_its_agent_may_speak() -> None:
    voices = Voices("agent", own_room=True)

    assert voices.has("agent", {})
    assert not voices.has("learner", {"rapido.voice": "true"})


class Stage:
    """Remembers what it was asked."""

    def __init__(self) -> None:
        self.said: list[Segment] = []
        self.interrupted = 0

    def say(self, segment: Segment) -> None:
        self.said.append(segment)

    def interrupt(self) -> None:
        self.interrupted += 1


class Reader:
    """A byte stream of these pieces; cut off at the end if asked."""

    def __init__(self, pieces: list[bytes], cut: bool = False, **attributes: str) -> None:
        self.info = SimpleNamespace(attributes=attributes)
        self.pieces, self.cut, self.closed = pieces, cut, False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece
        if self.cut:
            raise rtc.StreamError("the sender vanished")

    def close(self) -> None:
        self.closed = True


def make_speech(stage: Stage) -> Speech:
    people = {"agent": SimpleNamespace(attributes={}), "learner": SimpleNamespace(attributes={})}
    return Speech(SimpleNamespace(remote_participants=people), stage, Voices("agent"))


async def read_all(speech: Speech) -> None:
    while speech._tasks:
        await asyncio.wait(set(speech._tasks))


def test_the_agent_is_heard_and_the_end_of_its_stream_ends_the_segment() -> None:
    async def scene() -> None:
        stage = Stage()
        speech = make_speech(stage)
        data = tone(0.1, 24_000).tobytes()

        speech.on_stream(
            Reader([data[:99], data[99:]], sample_rate="24000", num_channels="1"), "agent"
        )
        await read_all(speech)

        assert [one.ended for one in stage.said] == [True]
        assert stage.said[0].duration_s == pytest.approx(0.1)

    asyncio.run(scene())


def test_an_uninvited_participant_is_not_heard() -> None:
    async def scene() -> None:
        stage = Stage()
        reader = Reader([b"\x00\x00"], sample_rate="24000", num_channels="1")

        make_speech(stage).on_stream(reader, "learner")

        assert stage.said == []
        assert reader.closed

    asyncio.run(scene())


def test_a_sender_not_known_yet_is_waited_for() -> None:
    async def scene() -> None:
        stage = Stage()
        speech = make_speech(stage)
        people = speech._room.remote_participants
        agent = people.pop("agent")
        data = tone(0.1, 24_000).tobytes()

        speech.on_stream(Reader([data], sample_rate="24000", num_channels="1"), "agent")
        await asyncio.sleep(0)
        assert stage.said == []
        people["agent"] = agent
        speech.on_presence()
        await read_all(speech)

        assert [one.ended for one in stage.said] == [True]

    asyncio.run(scene())


def test_an_uninvited_participant_cannot_interrupt() -> None:
    async def scene() -> None:
        stage = Stage()
        with pytest.raises(rtc.RpcError, match="not allowed"):
            await make_speech(stage).on_clear(SimpleNamespace(caller_identity="learner"))
        assert stage.interrupted == 0

    asyncio.run(scene())


def test_a_wrong_format_is_a_segment_that_is_over_at_once() -> None:
    async def scene() -> None:
        stage = Stage()
        reader = Reader([b"\x00\x00"], sample_rate="7", num_channels="1")

        make_speech(stage).on_stream(reader, "agent")

        assert [one.done for one in stage.said] == [True]
        assert reader.closed

    asyncio.run(scene())


def test_a_stream_that_is_cut_off_is_played_as_far_as_it_came() -> None:
    async def scene() -> None:
        stage = Stage()
        speech = make_speech(stage)
        data = tone(0.5, 24_000).tobytes()

        speech.on_stream(Reader([data], cut=True, sample_rate="24000", num_channels="1"), "agent")
        await read_all(speech)

        assert stage.said[0].ended
        assert stage.said[0].duration_s == pytest.approx(0.5)

    asyncio.run(scene())


def test_a_newer_stream_makes_a_lost_end_short() -> None:
    async def scene() -> None:
        stage = Stage()
        speech = make_speech(stage)
        first = Reader([], sample_rate="24000", num_channels="1")
        before = segment()
        speech._open["agent"] = before

        speech.on_stream(first, "agent")

        assert before.lost_end_s < 1.0
        await read_all(speech)

    asyncio.run(scene())


def test_a_microphone_is_cut_into_utterances() -> None:
    gate = VoiceGate()
    quiet = np.zeros(480, np.int16)
    loud = tone(0.01, PLAYOUT_RATE_HZ)

    before = [gate.feed(quiet) for _ in range(50)]
    opening = gate.feed(loud)
    within = [gate.feed(quiet) is not None for _ in range(59)]
    gate.feed(quiet)

    assert before == [None] * 50
    assert opening is not None
    assert 0.1 * PLAYOUT_RATE_HZ <= opening.size <= 0.12 * PLAYOUT_RATE_HZ
    assert all(within)
    assert not gate.is_open
