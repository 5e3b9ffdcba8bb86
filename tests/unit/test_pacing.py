"""A session's clock: sound by back-pressure, each picture when it is due, late ones held."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from gpu_node.inference import Work
from gpu_node.metrics import Metrics
from gpu_node.pacing import Pacer
from gpu_node.pcm import PcmFormat
from gpu_node.performance import Performance
from gpu_node.segment import Segment

pytestmark = pytest.mark.alone

SOUND = np.zeros(1920, np.int16)


def picture(shade: int) -> np.ndarray:
    return np.full((3, 2), shade, np.uint8)


STILL = picture(0)


class Out:
    """Takes sound as fast as it comes, but for what is more than 100 ms ahead; and pictures."""

    def __init__(self) -> None:
        self.shown: list[tuple[int, int]] = []
        self.changed = asyncio.Event()
        self.full = asyncio.Event()
        self.open = asyncio.Event()
        self.pushed = 0

    async def push(self, pcm: np.ndarray) -> None:
        self.pushed += 1
        if self.pushed > 3:
            self.full.set()
            await self.open.wait()

    def clear(self) -> None:
        self.pushed = 0
        self.open.set()
        self.open = asyncio.Event()

    def show(self, shown: np.ndarray, number: int) -> None:
        self.shown.append((int(shown[0, 0]), number))
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


class Scene:
    """A pacer whose sound and pictures are looked at."""

    def __init__(self) -> None:
        self.out = Out()
        self.late: list[float] = []
        self.held = 0
        self.held_by_voice = 0
        self.pacer = Pacer(self.out, self.out, self.late.append, self._hold)

    def _hold(self, by_its_voice: bool) -> None:
        self.held += 1
        self.held_by_voice += by_its_voice
        self.out.changed.set()


def play(act: Callable[[Scene], Awaitable[None]]) -> None:
    async def whole() -> None:
        scene = Scene()
        try:
            await act(scene)
        finally:
            scene.pacer.stop()

    asyncio.run(whole())


def test_a_painted_picture_is_shown_when_it_is_due() -> None:
    async def act(scene: Scene) -> None:
        shot = await scene.pacer.push(SOUND, STILL, 0)
        scene.pacer.paint(shot, picture(9))
        assert scene.out.shown == []

        await scene.out.until(lambda: bool(scene.out.shown))

        assert scene.out.shown == [(9, 0)]
        assert asyncio.get_running_loop().time() >= shot.due - 0.002
        assert shot.over

    play(act)


def test_silence_is_shown_with_its_mouth_shut_without_being_painted() -> None:
    async def act(scene: Scene) -> None:
        await scene.pacer.push(SOUND, STILL)

        await scene.out.until(lambda: bool(scene.out.shown))

        assert scene.out.shown == [(0, -1)]

    play(act)


def test_a_picture_that_is_late_is_shown_at_once_and_its_lateness_told() -> None:
    async def act(scene: Scene) -> None:
        shot = await scene.pacer.push(SOUND, STILL, 0)
        loop = asyncio.get_running_loop()
        past = asyncio.Event()
        loop.call_at(shot.due + 0.01, past.set)
        await past.wait()
        assert scene.out.shown == []

        scene.pacer.paint(shot, picture(9))

        assert scene.out.shown == [(9, 0)]
        assert scene.late[0] >= 0.01

    play(act)


def test_a_picture_that_is_not_there_before_the_next_is_due_is_held_and_never_shown() -> None:
    async def act(scene: Scene) -> None:
        first = await scene.pacer.push(SOUND, STILL, 0)
        second = await scene.pacer.push(SOUND, STILL, 1)
        scene.pacer.paint(second, picture(2))

        await scene.out.until(lambda: bool(scene.out.shown))
        scene.pacer.paint(first, picture(1))

        assert first.over
        assert scene.held == 1
        assert scene.out.shown == [(2, 1)]

    play(act)


def test_a_picture_is_not_late_for_a_voice_that_comes_late() -> None:
    async def act(scene: Scene) -> None:
        loop = asyncio.get_running_loop()
        heard = math.inf
        shot = await scene.pacer.push(SOUND, STILL, 0, lambda: heard)
        past = asyncio.Event()
        loop.call_at(shot.due + 0.5, past.set)
        await past.wait()
        heard = loop.time()

        scene.pacer.paint(shot, picture(9))

        assert scene.out.shown == [(9, 0)]
        assert scene.late[0] < 0.25

    play(act)


def test_a_picture_that_is_held_for_its_voice_is_told_so() -> None:
    async def act(scene: Scene) -> None:
        for number, heard_at in enumerate([math.inf, 0.0, 0.0]):
            await scene.pacer.push(SOUND, STILL, number, partial(float, heard_at))

        await scene.out.until(lambda: scene.held == 2)

        assert scene.held_by_voice == 1

    play(act)


def test_a_held_picture_is_shown_where_no_later_one_was() -> None:
    async def act(scene: Scene) -> None:
        first = await scene.pacer.push(SOUND, STILL, 0)
        await scene.pacer.push(SOUND, STILL, 1)
        await scene.out.until(lambda: scene.held == 1)
        assert scene.out.shown == []

        scene.pacer.paint(first, picture(1))

        assert scene.out.shown == [(1, 0)]

    play(act)


def test_a_slow_answer_of_a_short_queue_does_not_count_as_a_full_one() -> None:
    async def act(scene: Scene) -> None:
        for _ in range(3):
            await scene.pacer.push(SOUND, STILL)
        for _ in range(4):  # the queue is full: every push waits
            waiting = asyncio.create_task(scene.pacer.push(SOUND, STILL))
            await scene.out.full.wait()
            asyncio.get_running_loop().call_later(0.02, scene.out.open.set)
            await waiting
            scene.out.open.clear()
        empty = asyncio.Event()
        asyncio.get_running_loop().call_at(scene.pacer.empty_at, empty.set)
        await empty.wait()  # the next answer is slow, though nothing is queued
        slow = asyncio.create_task(scene.pacer.push(SOUND, STILL))
        asyncio.get_running_loop().call_later(0.02, scene.out.open.set)

        await slow

        assert scene.pacer.lead_s < 0.06

    play(act)


def test_clearing_drops_sound_and_speaking_pictures_and_shuts_the_mouth() -> None:
    async def act(scene: Scene) -> None:
        shots = [await scene.pacer.push(SOUND, STILL, number) for number in (-1, 0, 1)]
        for shot in shots:
            scene.pacer.paint(shot, picture(9))

        dropped = scene.pacer.clear()

        assert dropped == 2
        assert scene.pacer.clear() == 0
        assert scene.pacer.lead_s == 0.0
        for shot in shots:
            scene.pacer.paint(shot, picture(9))
        last = await scene.pacer.push(SOUND, STILL)
        await scene.out.until(lambda: last.over)
        assert {shade for shade, _ in scene.out.shown} == {0}
        assert {number for _, number in scene.out.shown} == {-1}

    play(act)


def test_sound_that_waited_while_it_was_cleared_has_no_picture() -> None:
    async def act(scene: Scene) -> None:
        for number in range(3):
            await scene.pacer.push(SOUND, STILL, number)
        waiting = asyncio.create_task(scene.pacer.push(SOUND, STILL, 3))
        await scene.out.full.wait()

        scene.pacer.clear()

        assert (await waiting).over

    play(act)


class Stage:
    """One who speaks, before an engine that answers when it is told to."""

    def __init__(self) -> None:
        self.metrics, self.out = Metrics(), Out()
        self.asked: list[Work] = []
        self.heard: list[Work] = []
        self.answers: list[asyncio.Future[np.ndarray]] = []
        self.ends: list[bool] = []
        self.holds: list[str] = []
        avatar = SimpleNamespace(frames=[0])
        pacer = Pacer(self.out, self.out, lambda _: None, self._hold)
        self.performance = Performance(avatar, self, self, pacer, self, self.metrics)

    def _hold(self, by_its_voice: bool) -> None:
        self.metrics.hold(by_its_voice)
        self.holds.append("voice" if by_its_voice else "engine")
        self.out.changed.set()

    def speech(self, seconds: float) -> Segment:
        segment = Segment("agent", PcmFormat(16_000, 1), reported=False)
        segment.write(bytes(int(seconds * 16_000) * 2))
        self.performance.say(segment)
        return segment

    async def picture(self, work: Work) -> np.ndarray:
        self.asked.append(work)
        answer = asyncio.get_running_loop().create_future()
        self.answers.append(answer)
        self.out.changed.set()
        return await answer

    async def hear(self, work: Work) -> None:
        self.heard.append(work)
        self.out.changed.set()

    def compose(self, frame: int, mouth: object) -> np.ndarray:
        return STILL

    def started(self, segment: Segment) -> None:
        self.out.changed.set()

    def finished(self, segment: Segment, position_s: float, *, interrupted: bool) -> None:
        self.ends.append(interrupted)
        self.out.changed.set()

    def counted(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


def perform(act: Callable[[Stage, asyncio.Task[None]], Awaitable[None]]) -> None:
    async def whole() -> None:
        stage = Stage()
        performing = asyncio.create_task(stage.performance.run())
        try:
            await act(stage, performing)
        finally:
            performing.cancel()
            await asyncio.wait({performing})

    asyncio.run(whole())


def test_sound_leaves_while_its_picture_is_still_being_made() -> None:
    async def act(stage: Stage, _: object) -> None:
        stage.speech(2.0)
        await stage.out.until(lambda: bool(stage.asked))

        await stage.out.full.wait()

        assert stage.counted("rapido_frames_total", kind="speaking") >= 3
        assert len(stage.asked) == 1

    perform(act)


def test_a_mouth_that_waits_for_its_voice_is_held_by_it() -> None:
    async def act(stage: Stage, _: object) -> None:
        stage.speech(0.45)  # enough for its first sound to leave, not for its mouth

        await stage.out.until(lambda: bool(stage.holds))

        assert stage.holds[0] == "voice"
        assert stage.counted("rapido_frames_held_total") == 1

    perform(act)


def test_a_voice_is_heard_while_it_comes_so_that_its_first_mouth_hears_the_rest_only() -> None:
    async def act(stage: Stage, _: object) -> None:
        voice = stage.speech(0.3)  # less than its first sound waits for
        await stage.out.until(lambda: bool(stage.heard))
        assert stage.asked == []

        voice.write(bytes(9_600))
        await stage.out.until(lambda: bool(stage.asked))

        early = sum(len(work.windows) for work in stage.heard)
        first = stage.asked[0]
        assert first.frame == 0
        assert early >= 3
        assert early + len(first.windows) == 8

    perform(act)


def test_speech_does_not_wait_for_the_silence_that_is_queued() -> None:
    async def act(stage: Stage, _: object) -> None:
        await stage.out.full.wait()  # of silence; nothing leaves any more

        stage.speech(2.0)
        await stage.out.until(lambda: bool(stage.asked))

        assert stage.performance.speaking

    perform(act)


def test_pictures_that_nobody_waits_for_any_more_are_left_out() -> None:
    async def act(stage: Stage, _: object) -> None:
        stage.speech(2.0)
        await stage.out.until(lambda: stage.counted("rapido_frames_held_total") >= 2)

        stage.answers[0].set_result(picture(1))
        await stage.out.until(lambda: len(stage.asked) > 1)

        assert stage.asked[1].frame > 1
        windows = sum(len(work.windows) for work in stage.asked)
        assert windows == stage.asked[1].frame + 8  # none is missing for the mouths to come

    perform(act)


def test_a_picture_that_would_come_too_late_gives_way_to_one_that_can_be_in_time() -> None:
    async def act(stage: Stage, _: object) -> None:
        stage.speech(2.0)
        await stage.out.full.wait()  # three are asked for, due 40 ms apart
        nearly_due = asyncio.Event()
        asyncio.get_running_loop().call_later(0.075, nearly_due.set)
        await nearly_due.wait()

        stage.answers[0].set_result(picture(1))
        await stage.out.until(lambda: len(stage.asked) > 1)

        assert stage.asked[1].frame == 2

    perform(act)


def test_an_interruption_drops_what_is_begun_and_its_error_with_it() -> None:
    async def act(stage: Stage, performing: asyncio.Task[None]) -> None:
        stage.speech(2.0)
        await stage.out.until(lambda: bool(stage.asked))

        stage.performance.interrupt()
        stage.answers[0].set_exception(RuntimeError("of what nobody hears"))
        stage.speech(2.0)
        await stage.out.until(lambda: len(stage.asked) > 1)

        assert stage.ends[0] is True
        assert stage.asked[1].frame == 0
        assert stage.counted("rapido_frames_dropped_total") >= 1
        assert not performing.done()

    perform(act)


def test_what_the_engine_raises_for_a_picture_that_is_waited_for_ends_the_performance() -> None:
    async def act(stage: Stage, performing: asyncio.Task[None]) -> None:
        stage.speech(2.0)
        await stage.out.until(lambda: bool(stage.asked))
        stage.answers[0].set_exception(RuntimeError("broken"))
        stage.out.open.set()

        done, _ = await asyncio.wait({performing}, timeout=10)

        assert isinstance(next(iter(done)).exception(), RuntimeError)

    perform(act)
