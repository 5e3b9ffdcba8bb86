"""One session in a real LiveKit room, watched and spoken to as learners and voices do."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import time
from collections.abc import Awaitable, Callable, Iterator

import pytest
from livekit import api

from gpu_node.probe import Probe
from gpu_node.room import AvatarRoom
from gpu_node.session import AvatarStream, Limits
from gpu_node.sessions import StreamFailed
from gpu_node.settings import Codec
from gpu_node.video import Video
from tests.integration.worker_room import (
    AVATAR_IDENTITY,
    KEY,
    LOUD,
    SECRET,
    VIDEO,
    Guest,
    make_studio,
    running_livekit,
    start_stream,
    tone,
)

pytestmark = pytest.mark.alone

BRIGHT, DARK = 190, 60


@pytest.fixture(scope="module")
def livekit_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_livekit(tmp_path_factory.mktemp("livekit") / "server.log") as url:
        yield url


class Lesson:
    """A running session and its end."""

    def __init__(self, stream: AvatarStream, url: str) -> None:
        self.stream = stream
        self.url = url
        self.guests: list[Guest] = []
        self.first_frames = 0
        self.over: asyncio.Task[str]

    async def join(self, identity: str, *, voice: bool = False, watch: bool = True) -> Guest:
        """A guest of this room; it leaves with the act."""
        room = self.stream.ask.room.room
        self.guests.append(await Guest.join(self.url, room, identity, voice=voice, watch=watch))
        return self.guests[-1]


def lesson(
    url: str,
    room: str,
    act: Callable[[Lesson], Awaitable[None]],
    limits: Limits | None = None,
    *,
    ttl_s: float = 600,
) -> str:
    """Plays the act in a live session; why the session ended."""

    async def run() -> str:
        studio = make_studio(limits or Limits())
        found: list[Lesson] = []

        def first_frame() -> None:
            found[0].first_frames += 1

        ask = start_stream(url, room, ttl_s=ttl_s, agent="agent")
        found.append(Lesson(AvatarStream(ask, studio, first_frame), url))
        found[0].over = asyncio.create_task(found[0].stream.run())
        try:
            await act(found[0])
        finally:
            found[0].stream.stop("the act is over")
            await asyncio.wait({found[0].over}, timeout=10)
            for guest in found[0].guests:
                await guest.leave()
            studio.inference.close()
        return found[0].over.result()

    return asyncio.run(run())


def reports(guest: Guest, method: str) -> list[str]:
    return [payload for name, payload in guest.reports if name == method]


def test_a_learner_sees_an_idle_face_and_hears_silence(livekit_url: str) -> None:
    async def act(live: Lesson) -> None:
        learner = await live.join("learner")
        await learner.until(lambda: len(learner.pictures) >= 50 and len(learner.sounds) > 50)

        assert all(one.number == -1 for one in learner.pictures)
        assert all(DARK < one.mouth < BRIGHT for one in learner.pictures)
        assert max(one.level for one in learner.sounds) < 0.01
        assert live.first_frames == 1
        assert live.stream.state == "live"
        await learner.until(lambda: live.stream.learners == 1)

    assert lesson(livekit_url, "idle", act) == "the act is over"


def test_a_session_begins_in_a_room_that_was_warm_and_hears_who_spoke_before(
    livekit_url: str,
) -> None:
    async def run() -> None:
        ready = asyncio.Event()
        studio = make_studio(Limits(), ready.set)
        ask = start_stream(livekit_url, "s-test-warm0001")
        studio.warm.keep((ask.room,))
        async with asyncio.timeout(10):
            await ready.wait()
        voice = await Guest.join(livekit_url, "s-test-warm0001", "voice", voice=True)
        await voice.until(lambda: len(voice.pictures) > 3)
        avatar = voice.room.remote_participants[AVATAR_IDENTITY].sid
        await voice.speak(tone(0.6))
        assert not voice.reports

        stream = AvatarStream(ask, studio, lambda: None)
        over = asyncio.create_task(stream.run())
        await voice.until(lambda: len(reports(voice, "lk.playback_finished")) == 1)

        studio.warm.keep((ask.room,))  # an answer that is older than the session
        assert studio.warm.told() == ()
        assert voice.room.remote_participants[AVATAR_IDENTITY].sid == avatar
        stream.stop("the act is over")
        assert await over == "the act is over"
        await voice.leave()
        await studio.warm.close()
        studio.inference.close()

    asyncio.run(run())


def test_a_warm_room_that_nobody_took_is_left_and_a_lost_one_is_told(livekit_url: str) -> None:
    async def run() -> None:
        studio = make_studio(Limits())
        names = ("s-test-warmkept", "s-test-warmleft")
        kept, left = (start_stream(livekit_url, name).room for name in names)
        lost = {"room": "s-test-warmlost", "url": "ws://127.0.0.1:9"}
        nowhere = left.model_copy(update=lost)

        studio.warm.keep((kept, left, nowhere))
        async with asyncio.timeout(15):
            # each heartbeat looks: that a room is lost is no news that hurries one
            while [one.ready for one in studio.warm.told()] != [True, True]:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        studio.warm.keep((kept,))

        assert [one.session_id for one in studio.warm.told()] == ["s-test-warmkept"]
        await studio.warm.close()
        assert studio.warm.told() == ()
        guest = await Guest.join(livekit_url, "s-test-warmkept", "late")
        assert AVATAR_IDENTITY not in guest.room.remote_participants
        await guest.leave()
        studio.inference.close()

    asyncio.run(run())


def test_who_gives_up_joining_leaves_no_participant_and_lives_on(livekit_url: str) -> None:
    async def run() -> None:
        watcher = await Guest.join(livekit_url, "hasty", "watcher")
        came, left = asyncio.Event(), asyncio.Event()
        watcher.room.on("participant_connected", lambda _: came.set())
        watcher.room.on("participant_disconnected", lambda _: left.set())
        room = AvatarRoom(256, 256, VIDEO)
        joining = asyncio.create_task(room.join(start_stream(livekit_url, "hasty").room))
        async with asyncio.timeout(10):
            await came.wait()  # the server has it, the library is not done with it

        joining.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await joining
        await room.leave()

        async with asyncio.timeout(10):
            await left.wait()
        await watcher.leave()

    asyncio.run(run())


@pytest.mark.parametrize(("codec", "encoder"), [("vp8", "libvpx"), ("h264", "OpenH264")])
def test_a_probe_says_how_streams_fare_and_what_they_take(
    livekit_url: str, codec: Codec, encoder: str
) -> None:
    async def run() -> None:
        studio = make_studio(Limits())
        rooms = [start_stream(livekit_url, f"probe-{codec}-{at}").room for at in range(2)]
        video = Video(codec, "software", 1_200_000)

        async with (
            studio.shelf.lent("grey") as (avatar, compositor),
            Probe(rooms, avatar, compositor, studio.inference, video) as probe,
        ):
            guests = [await Guest.join(livekit_url, one.room, "guest") for one in rooms]
            three = await probe.trial(3)
            for guest in guests:
                await guest.until(lambda guest=guest: len(guest.pictures) > 20)
            one = await probe.trial(1)

        assert {load.encoded_by for load in probe.loads} == {encoder}
        assert [load.streams for load in probe.loads] == [3, 1]
        for load in probe.loads:
            assert 0 < load.engine_share < 1
            assert 0 < load.host_share < 1
            assert load.resident_bytes > probe.resident_bytes / 2  # freed meanwhile, some of it
            assert load.encoded_fps is not None
            assert load.encoded_fps > 0.0
            assert load.encode_ms is not None
            assert load.encoder_share is None  # no GPU encodes
        for trial in (three, one):
            assert trial.fps > 0.0
            assert math.isfinite(trial.late_p99_ms)
        for guest in guests:
            assert any(picture.number > 0 for picture in guest.pictures)
            await guest.leave()
        studio.inference.close()

    asyncio.run(run())


def test_a_voice_is_heard_with_the_mouth_and_is_told_of_start_and_end(livekit_url: str) -> None:
    async def act(live: Lesson) -> None:
        voice = await live.join("voice", voice=True)
        await voice.until(lambda: len(voice.pictures) > 25)
        began = time.monotonic()

        await voice.speak(tone(1.0) + bytes(24_000) + tone(1.0))
        await voice.until(lambda: bool(reports(voice, "lk.playback_finished")))

        assert reports(voice, "lk.playback_started") == [""]
        finished = json.loads(reports(voice, "lk.playback_finished")[0])
        assert finished == {
            "playback_position": 2.5,
            "interrupted": False,
            "synchronized_transcript": None,
        }
        await voice.until(lambda: voice.silent_for(30))
        assert voice.heard_since(began)
        # 25 frames of sound, 12.5 of pause, 25 of sound; those at the edges may show either. How
        # many of them come is up to the machine's load
        said = {one.number: one.mouth for one in voice.pictures if one.number >= 0}
        asked = dict.fromkeys([*range(2, 23), *range(40, 61)], True)
        asked |= dict.fromkeys(range(28, 35), False)
        for bright in (True, False):
            right = [(said[n] > BRIGHT) == bright for n in said if asked.get(n) is bright]
            assert sum(right) > 0.5 * len(right)

    lesson(livekit_url, "speak", act)


def test_the_agent_named_at_the_start_may_speak(livekit_url: str) -> None:
    async def act(live: Lesson) -> None:
        agent = await live.join("agent")
        await agent.until(lambda: bool(agent.sounds) and bool(agent.pictures))
        await agent.speak(tone(1.0))
        await agent.until(lambda: agent.heard_since(0.0))

    lesson(livekit_url, "agent", act)


def test_one_who_speaks_at_once_after_joining_is_heard(livekit_url: str) -> None:
    async def act(live: Lesson) -> None:
        learner = await live.join("learner")
        await learner.until(lambda: live.stream.learners == 1 and bool(learner.sounds))
        voice = await live.join("voice", voice=True, watch=False)
        await voice.speak(tone(0.5))
        await learner.until(lambda: learner.heard_since(0.0))

    lesson(livekit_url, "hurry", act)


def test_an_uninvited_participant_is_not_heard_and_cannot_interrupt(livekit_url: str) -> None:
    async def act(live: Lesson) -> None:
        learner = await live.join("learner")
        voice = await live.join("voice", voice=True, watch=False)
        await learner.until(lambda: len(learner.pictures) > 10 and bool(learner.sounds))

        await learner.speak(tone(1.0))
        with pytest.raises(Exception, match="not allowed"):
            await learner.clear()
        frames = live.stream.frames
        await learner.until(lambda: live.stream.frames > frames + 40)

        assert not learner.heard_since(0.0)
        assert learner.reports == []
        await voice.speak(tone(0.5))
        await learner.until(lambda: learner.heard_since(0.0))

    lesson(livekit_url, "uninvited", act)


def test_clearing_silences_the_avatar_and_ends_every_segment(livekit_url: str) -> None:
    async def act(live: Lesson) -> None:
        voice = await live.join("voice", voice=True)
        await voice.until(lambda: bool(voice.sounds) and bool(voice.pictures))
        await voice.speak(tone(6.0), faster=40)
        await voice.speak(tone(6.0), faster=40)
        await voice.until(lambda: voice.heard_since(0.0))

        await voice.clear()
        cleared = time.monotonic()
        await voice.until(lambda: len(reports(voice, "lk.playback_finished")) == 2)
        await voice.until(lambda: voice.silent_for(50))

        still = [one for one in voice.sounds if one.level > LOUD and one.at > cleared]
        assert len(still) < 300  # 10 ms each, where eleven seconds were left to say
        ends = [json.loads(one) for one in reports(voice, "lk.playback_finished")]
        assert [one["interrupted"] for one in ends] == [True, True]
        assert 0.0 < ends[0]["playback_position"] < 6.0
        assert ends[1]["playback_position"] == 0.0

        silent = voice.sounds[-1].at
        await voice.speak(tone(0.5))
        await voice.until(lambda: voice.heard_since(silent))

    lesson(livekit_url, "clear", act)


def test_a_microphone_with_the_voice_attribute_speaks(livekit_url: str) -> None:
    async def act(live: Lesson) -> None:
        learner = await live.join("learner")
        voice = await live.join("voice", voice=True, watch=False)
        await learner.until(lambda: bool(learner.sounds) and bool(learner.pictures))

        await voice.talk(tone(2.0, 48_000))
        await learner.until(lambda: sum(one.mouth > BRIGHT for one in learner.pictures) > 25)

        assert learner.heard_since(0.0)

    lesson(livekit_url, "microphone", act)


def test_a_learner_may_leave_and_return(livekit_url: str) -> None:
    async def act(live: Lesson) -> None:
        first = await live.join("learner")
        await first.until(lambda: len(first.pictures) > 10)
        await first.leave()
        again = await live.join("learner")
        await again.until(lambda: len(again.pictures) > 10)
        assert live.stream.state == "live"

    assert lesson(livekit_url, "return", act, Limits(alone_s=30)) == "the act is over"


def test_nobody_for_the_limit_ends_the_session(livekit_url: str) -> None:
    async def act(live: Lesson) -> None:
        learner = await live.join("learner")
        await learner.until(lambda: live.stream.learners == 1)
        await learner.leave()
        assert await live.over == "Nobody was in the room."

    lesson(livekit_url, "alone", act, Limits(alone_s=0.5))


def test_a_learner_that_never_comes_ends_the_session(livekit_url: str) -> None:
    async def act(live: Lesson) -> None:
        assert await live.over == "Nobody was in the room."
        assert live.first_frames == 1

    lesson(livekit_url, "never", act, Limits(never_s=1.0))


def test_the_lease_running_out_ends_the_session(livekit_url: str) -> None:
    async def act(live: Lesson) -> None:
        assert await live.over == "The lease ran out."

    lesson(livekit_url, "lease", act, ttl_s=1.0)


def test_the_room_going_away_ends_the_session(livekit_url: str) -> None:
    async def act(live: Lesson) -> None:
        learner = await live.join("learner")
        await learner.until(lambda: len(learner.pictures) > 5)
        http = livekit_url.replace("ws://", "http://")
        async with api.LiveKitAPI(http, KEY, SECRET) as server:
            await server.room.delete_room(api.DeleteRoomRequest(room="gone"))
        assert "room deleted" in await live.over

    lesson(livekit_url, "gone", act)


def test_the_same_identity_elsewhere_makes_the_older_one_yield(livekit_url: str) -> None:
    async def act(live: Lesson) -> None:
        learner = await live.join("learner")
        await learner.until(lambda: len(learner.pictures) > 5)
        await live.join(AVATAR_IDENTITY, watch=False)
        assert "duplicate identity" in await live.over

    lesson(livekit_url, "newer", act)


def test_a_room_that_cannot_be_joined_fails_the_session(livekit_url: str) -> None:
    async def act(live: Lesson) -> None:
        with pytest.raises(StreamFailed, match="could not be joined"):
            await live.over

    async def run() -> None:
        studio = make_studio(Limits(join_s=2.0))
        ask = start_stream("ws://127.0.0.1:9", "nowhere")
        live = Lesson(AvatarStream(ask, studio, lambda: None), livekit_url)
        live.over = asyncio.create_task(live.stream.run())
        await act(live)
        studio.inference.close()

    asyncio.run(run())
