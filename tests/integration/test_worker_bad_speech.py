"""Speech as it should not be, and a room server that goes away: the avatar outlives all of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpu_node.session import AvatarStream, Limits
from ops.cell.ports import free_ports
from tests.integration.test_worker_livekit import lesson, reports
from tests.integration.worker_room import (
    Guest,
    make_studio,
    running_livekit,
    start_stream,
    tone,
)

pytestmark = pytest.mark.alone


@pytest.fixture(scope="module")
def livekit_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_livekit(tmp_path_factory.mktemp("livekit") / "server.log") as url:
        yield url


def test_fifty_interruptions_in_ten_seconds(livekit_url: str) -> None:
    async def act(live) -> None:
        voice = await live.join("voice", voice=True)
        await voice.until(lambda: len(voice.pictures) > 5)
        line = tone(1.0)

        async def interrupt_again_and_again() -> None:
            for _ in range(50):
                await asyncio.gather(voice.clear(), asyncio.sleep(0.2))

        interrupting = asyncio.create_task(interrupt_again_and_again())
        said = 0
        while not interrupting.done():
            await voice.speak(line)
            said += 1
        await interrupting
        await voice.speak(tone(0.5))
        await voice.until(lambda: len(reports(voice, "lk.playback_finished")) == said + 1, 20)

        ends = [json.loads(one) for one in reports(voice, "lk.playback_finished")]
        assert any(one["interrupted"] for one in ends)
        assert ends[-1] == {
            "playback_position": 0.5,
            "interrupted": False,
            "synchronized_transcript": None,
        }

    assert lesson(livekit_url, "fifty", act) == "the act is over"


def test_minutes_of_speech_at_once_stop_no_clock_and_go_with_one_word(livekit_url: str) -> None:
    async def act(live) -> None:
        voice = await live.join("voice", voice=True)
        await voice.until(lambda: len(voice.pictures) > 5)
        minutes = tone(1.0) * 180

        await voice.speak(minutes, piece=48_000, faster=400.0)
        await voice.until(lambda: any(one.number > 25 for one in voice.pictures))
        shown = [one for one in voice.pictures if one.number >= 0]
        assert [one.number for one in shown] == sorted(one.number for one in shown)
        await voice.clear()
        await voice.until(lambda: len(reports(voice, "lk.playback_finished")) == 1)

        (end,) = [json.loads(one) for one in reports(voice, "lk.playback_finished")]
        assert end["interrupted"] is True
        assert 0.5 < end["playback_position"] < 60

    assert lesson(livekit_url, "minutes", act) == "the act is over"


def test_speech_that_comes_slower_than_it_is_played_and_with_gaps(livekit_url: str) -> None:
    async def act(live) -> None:
        voice = await live.join("voice", voice=True)
        await voice.until(lambda: len(voice.pictures) > 5)
        writer = await voice.begin_to_speak()
        for pause_s in (0.3, 0.3, 1.2, 0.3, 0.3):
            await writer.write(tone(0.2))
            await asyncio.sleep(pause_s)  # a speaker that is slow: what is tried here
        await writer.aclose()
        await voice.until(lambda: len(reports(voice, "lk.playback_finished")) == 1)

        (end,) = [json.loads(one) for one in reports(voice, "lk.playback_finished")]
        assert (end["interrupted"], end["playback_position"]) == (False, 1.0)
        numbers = [one.number for one in voice.pictures if one.number >= 0]
        assert numbers == sorted(numbers)
        assert 0 < max(numbers) <= 24

    assert lesson(livekit_url, "slow", act) == "the act is over"


def test_a_stream_that_never_closes_is_ended(
    livekit_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpu_node.segment.LOST_END_S", 1.0)

    async def act(live) -> None:
        voice = await live.join("voice", voice=True)
        await voice.until(lambda: len(voice.pictures) > 5)
        writer = await voice.begin_to_speak()
        await writer.write(tone(0.8))
        await voice.until(lambda: len(reports(voice, "lk.playback_finished")) == 1)

        (end,) = [json.loads(one) for one in reports(voice, "lk.playback_finished")]
        assert (end["interrupted"], end["playback_position"]) == (False, 0.8)
        await writer.aclose()

    assert lesson(livekit_url, "endless", act) == "the act is over"


def test_the_room_server_restarts_and_the_avatar_is_there_again(tmp_path: Path) -> None:
    ports = free_ports(3)

    async def run() -> None:
        studio = make_studio(Limits())
        with running_livekit(tmp_path / "first.log", ports) as url:
            stream = AvatarStream(start_stream(url, "restart"), studio, lambda: None)
            over = asyncio.create_task(stream.run())
            learner = await Guest.join(url, "restart", "learner")
            await learner.until(lambda: len(learner.pictures) > 10)
            frames = stream.frames
        with running_livekit(tmp_path / "second.log", ports) as url:
            again = await Guest.join(url, "restart", "another")
            done, _ = await asyncio.wait(
                {over, asyncio.create_task(again.until(lambda: len(again.pictures) > 10, 40.0))},
                return_when=asyncio.FIRST_COMPLETED,
            )
            # either LiveKit's library found back, or the cell is told and places the session again
            if over in done:
                assert "room was left" in over.result()
            else:
                assert stream.frames > frames
                stream.stop("the act is over")
                await over
            await again.leave()
            await learner.leave()
            studio.inference.close()

    asyncio.run(run())
