"""The watchdog: what is sick is told to the cell in time, and what is well goes on."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import threading
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI

from control.contracts.worker import Register, RoomAccess, StartStream, WorkerState
from gpu_node import logs
from gpu_node.__main__ import main
from gpu_node.agent import Agent, Unwell
from gpu_node.engine import FrameJob
from gpu_node.engine.faults import EngineLost, is_lost
from gpu_node.engine_threads import Running
from gpu_node.gpu import Gpu, GpuLost, GpuSample
from gpu_node.inference import Inference, Work
from gpu_node.metrics import Metrics
from gpu_node.pcm import PcmFormat
from gpu_node.segment import Segment
from gpu_node.sessions import Sessions
from gpu_node.settings import from_environment
from gpu_node.verdict import Limits, Look, Memory, StreamLook, Verdict, decide
from gpu_node.watchdog import Watchdog
from gpu_node.worker import Worker
from tests.unit.small_avatar import write_package
from tests.unit.worker_parts import REGISTER, ROOM, FakeCell, FakeStream, Quick

pytestmark = pytest.mark.alone

TOLD_WITHIN_S = 15.0
STEP_S = 0.5
FIRST, SECOND = "s-use1-aaaaaaaaaaaa", "s-use1-bbbbbbbbbbbb"


class Clock:
    """Moves when it is told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Engine:
    """Renders at once, until it is held or broken."""

    name = "fake"
    callers = 1

    def __init__(self) -> None:
        self.may_render = threading.Event()
        self.may_render.set()
        self.entered = threading.Event()
        self.error: Exception | None = None
        self.bad: object = None
        """An avatar that cannot be rendered."""

    def prepare(self, avatar: object, compositor: object) -> None:
        """Nothing to load."""

    def encode(self, avatar: object, windows: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [np.zeros(512, np.float32) for _ in windows]

    def render(self, jobs: Sequence[FrameJob]) -> list[np.ndarray]:
        self.entered.set()
        self.may_render.wait()
        if self.error is not None:
            raise self.error
        if any(job.avatar is self.bad for job in jobs):
            raise ValueError("a bad avatar")
        return [np.zeros((3, 2), np.uint8) for _ in jobs]

    def forget(self, avatar: object) -> None:
        """Nothing was loaded."""

    def close(self) -> None:
        """Nothing was loaded."""


class Card:
    """A GPU that is read, or is gone."""

    name, codecs = "NVIDIA L4", frozenset[str]()

    def __init__(self) -> None:
        self.lost = False
        self.errors: list[int] = []
        self.answers = threading.Event()
        self.answers.set()

    def read(self) -> GpuSample:
        self.answers.wait()
        if self.lost:
            raise GpuLost("GPU is lost")
        return GpuSample(utilisation_percent=50.0)

    def xids(self) -> list[int]:
        seen, self.errors = self.errors, []
        return seen


class Scene:
    """A registered worker of fake streams, whose clock is moved by hand."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.cell = FakeCell()
        self.engine = Engine()
        self.card = Card()
        self.streams: dict[str, FakeStream] = {}
        self.frozen: set[str] = set()
        self.metrics = Metrics()
        self.inference = Inference(self.engine, self.metrics, self.clock)
        self.avatar = object()
        self.trials = 0
        self.gpu = Gpu(self.card, self.clock)
        self.agent = Agent("w-1", self.cell, self.metrics, self._boot, self._slots, backoff=Quick)
        self.sessions = Sessions(self._make, lambda: ["demo"], self.agent.tell, self.metrics)
        self.agent.serve(self.sessions)
        self.watchdog = Watchdog(
            lambda: self.inference,
            self.sessions,
            self.agent,
            self.metrics,
            self._trial,
            self.gpu,
            Limits(),
            self.clock,
        )

    async def _boot(self) -> Register:
        return REGISTER

    async def _slots(self, _: RoomAccess) -> int:
        return 2

    async def _trial(self) -> None:
        self.trials += 1
        await self.inference.trial(self.avatar)

    def _make(self, ask: StartStream, first_frame: Callable[[], None]) -> FakeStream:
        stream = self.streams[ask.session_id] = FakeStream(ask, first_frame)
        return stream

    async def start(self, *sessions: str) -> None:
        for session in sessions:
            self.sessions.start(
                StartStream(
                    session_id=session,
                    generation=4,
                    avatar="demo",
                    room=ROOM,
                    expires_at=datetime.now(UTC) + timedelta(hours=1),
                )
            )
        await self.cell.until(lambda: len(self.cell.events) >= len(sessions))

    def speak(self, avatar: object = None) -> asyncio.Task[Any]:
        """Asks the engine for a picture."""
        segment = Segment("agent", PcmFormat(16_000, 1), reported=False)
        return asyncio.create_task(
            self.inference.picture(Work(avatar or self.avatar, 0, segment, 0, []))
        )

    async def fails(self, times: int, avatar: object = None) -> None:
        """So many pictures in a row are asked for and not made."""
        for _ in range(times):
            with pytest.raises(ValueError, match="a bad"):
                await self.speak(avatar)

    async def held_up(self) -> asyncio.Task[Any]:
        """The engine hangs in a batch."""
        self.engine.may_render.clear()
        speaking = self.speak()
        assert await asyncio.to_thread(self.engine.entered.wait, 10)
        return speaking

    async def passes(self, seconds: float) -> None:
        """Frames are shown and the watchdog looks, for so long."""
        until = self.clock.now + seconds
        while self.clock.now < until - 1e-9:
            self.clock.now += STEP_S
            for session, stream in self.streams.items():
                stream.frames += 0 if session in self.frozen else 12
            self.watchdog.look()
            await self._threads_answer()

    async def _threads_answer(self) -> None:
        if self.engine.may_render.is_set():
            done = self.inference.threads.submit("beat", lambda: None)
            await asyncio.wait_for(asyncio.wrap_future(done), 10)
        if self.card.answers.is_set():
            await asyncio.to_thread(self._card_told)
        await asyncio.sleep(0)

    def _card_told(self) -> None:
        """The clock stands until what was asked of the driver is answered, however slow we are."""
        self.gpu.latest(10.0)
        with self.gpu._turn:
            assert self.gpu._turn.wait_for(lambda: self.gpu._asked_at is None, 10.0)

    async def cell_hears(self, *failed: str, slots: int) -> None:
        await self.cell.until(
            lambda: self.failed() >= set(failed) and self.cell.beats[-1].slots == slots
        )
        assert self.failed() == set(failed)

    def failed(self) -> set[str]:
        return {event.session_id for event in self.cell.events if event.type == "failed"}

    def reasons(self) -> str:
        return " ".join(event.reason for event in self.cell.events)

    def figure(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)


def play(act: Callable[[Scene], Awaitable[None]]) -> None:
    async def run() -> None:
        scene = Scene()
        running = asyncio.create_task(scene.agent.run())
        try:
            await scene.cell.until(lambda: any(b.slots == 2 for b in scene.cell.beats))
            await act(scene)
        finally:
            scene.engine.may_render.set()
            scene.card.answers.set()
            await scene.sessions.close("over", revoked=True)
            running.cancel()
            await asyncio.wait({running})
            assert scene.inference.close()

    asyncio.run(run())


def test_a_worker_that_is_well_is_left_alone() -> None:
    async def act(scene: Scene) -> None:
        await scene.start(FIRST, SECOND)
        await scene.speak()
        await scene.passes(300.0)

        await scene.cell_hears(slots=2)
        assert scene.agent.unwell is None
        assert len(scene.sessions.running()) == 2

    play(act)


def test_a_stuck_engine_announces_no_slots_and_then_gives_its_sessions_up() -> None:
    async def act(scene: Scene) -> None:
        await scene.start(FIRST, SECOND)
        await scene.passes(1.0)
        began = scene.clock.now
        await scene.held_up()

        await scene.passes(2.5)
        await scene.cell_hears(slots=0)
        assert scene.cell.beats[-1].state == WorkerState.DRAINING
        assert scene.figure("rapido_unhealthy", what="engine") == 1
        assert scene.figure("rapido_slots") == 0

        await scene.passes(4.0)
        await scene.cell_hears(FIRST, SECOND, slots=0)
        assert scene.clock.now - began <= TOLD_WITHIN_S
        assert "A batch has run" in scene.reasons()
        assert scene.figure("rapido_sessions_given_up_total", what="engine") == 2

    play(act)


def test_an_engine_that_comes_back_soon_costs_no_session_and_its_slots_return() -> None:
    async def act(scene: Scene) -> None:
        await scene.start(FIRST)
        await scene.passes(1.0)
        speaking = await scene.held_up()
        await scene.passes(3.5)
        await scene.cell_hears(slots=0)

        scene.engine.may_render.set()
        await speaking
        await scene.passes(4.0)
        assert scene.agent.unwell is not None
        await scene.passes(2.0)

        await scene.cell_hears(slots=2)
        assert scene.cell.beats[-1].state == WorkerState.READY
        assert scene.figure("rapido_unhealthy", what="engine") == 0

    play(act)


def test_an_engine_that_stays_stuck_needs_a_new_process() -> None:
    async def act(scene: Scene) -> None:
        await scene.passes(1.0)
        await scene.held_up()
        await scene.passes(Limits().stuck_exit_s)
        with pytest.raises(Unwell, match="A batch has run"):
            await scene.passes(5.0)

    play(act)


def test_an_avatar_that_takes_long_to_load_is_no_stuck_engine() -> None:
    async def act(scene: Scene) -> None:
        await scene.start(FIRST)
        scene.engine.may_render.clear()
        loading = asyncio.create_task(scene.inference.call(lambda: scene.engine.render([])))
        assert await asyncio.to_thread(scene.engine.entered.wait, 10)

        await scene.passes(60.0)

        assert scene.agent.unwell is None
        scene.engine.may_render.set()
        await loading

    play(act)


def test_an_engine_that_lost_its_device_fails_every_session_at_once() -> None:
    async def act(scene: Scene) -> None:
        await scene.start(FIRST, SECOND)
        await scene.passes(1.0)
        scene.engine.error = RuntimeError("CUDA error: an illegal memory access was encountered")
        with pytest.raises(RuntimeError, match="illegal memory access"):
            await scene.speak()

        await scene.passes(STEP_S)

        await scene.cell_hears(FIRST, SECOND, slots=0)
        assert "illegal memory access" in scene.reasons()
        with pytest.raises(Unwell):
            await scene.passes(Limits().lost_exit_s)

    play(act)


def test_one_frame_that_cannot_be_rendered_is_no_lost_device() -> None:
    async def act(scene: Scene) -> None:
        await scene.start(FIRST)
        scene.engine.error = ValueError("a bad frame")
        with pytest.raises(ValueError, match="a bad frame"):
            await scene.speak()
        await scene.passes(5.0)
        await scene.cell_hears(slots=2)

    play(act)


def test_an_engine_that_fails_every_picture_announces_no_slots_and_recovers() -> None:
    async def act(scene: Scene) -> None:
        await scene.start(FIRST)
        await scene.passes(1.0)
        scene.engine.error = ValueError("a bad build")
        await scene.fails(Limits().failures)

        await scene.passes(3.0)
        await scene.cell_hears(slots=0)
        assert scene.figure("rapido_unhealthy", what="engine") == 1
        await scene.passes(4.0)
        await scene.cell_hears(FIRST, slots=0)
        assert "The engine makes no picture (ValueError: a bad build)" in scene.reasons()

        scene.engine.error = None
        await scene.passes(8.0)
        await scene.cell_hears(FIRST, slots=2)
        tried = scene.trials
        await scene.passes(5.0)
        assert scene.trials == tried

    play(act)


def test_an_engine_that_goes_on_failing_needs_a_new_process() -> None:
    async def act(scene: Scene) -> None:
        scene.engine.error = ValueError("a bad build")
        await scene.fails(Limits().failures)
        await scene.passes(Limits().stuck_exit_s)
        with pytest.raises(Unwell, match="makes no picture"):
            await scene.passes(5.0)

    play(act)


def test_an_avatar_that_cannot_be_rendered_costs_the_others_nothing() -> None:
    async def act(scene: Scene) -> None:
        await scene.start(FIRST)
        scene.engine.bad = object()
        for _ in range(10):
            await scene.fails(Limits().failures, scene.engine.bad)
            await scene.passes(2.0)
            assert scene.agent.unwell is None

        await scene.cell_hears(slots=2)
        assert scene.trials >= 10

    play(act)


def test_a_worker_is_tried_with_the_avatar_it_booted_with_though_that_was_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_package(tmp_path / "anna")
    monkeypatch.setattr("gpu_node.worker.make_engine", lambda *_: Engine())
    settings = from_environment(
        {
            "RAPIDO_WORKER_ID": "w-1",
            "RAPIDO_CELL_URLS": "http://127.0.0.1:1",
            "RAPIDO_REGION": "us-east-1",
            "RAPIDO_AVATARS": str(tmp_path),
        }
    )

    async def run() -> None:
        worker = Worker(settings, "http://127.0.0.1:2")
        await worker._boot()
        studio = worker._studio
        assert studio is not None
        engine = studio.inference.engine
        assert isinstance(engine, Engine)
        manifest = tmp_path / "anna" / "manifest.json"
        manifest.write_text(manifest.read_text() + "\n")
        await studio.shelf.refresh()
        async with studio.shelf.lent("anna") as (replaced, _):
            engine.bad = replaced
            with pytest.raises(ValueError, match="a bad avatar"):
                await studio.inference.trial(replaced)
            assert studio.inference.failures == 1

        await worker._trial()
        assert studio.inference.failures == 0
        await worker.close()

    asyncio.run(run())


def test_a_lost_gpu_is_told_and_needs_a_new_process() -> None:
    async def act(scene: Scene) -> None:
        await scene.start(FIRST)
        await scene.passes(1.0)
        scene.card.lost = True

        await scene.passes(3.0)

        await scene.cell_hears(FIRST, slots=0)
        assert "GPU is lost" in scene.reasons()
        assert scene.figure("rapido_unhealthy", what="gpu") == 1
        with pytest.raises(Unwell, match="GPU is lost"):
            await scene.passes(Limits().lost_exit_s)

    play(act)


def test_a_critical_error_of_the_gpu_counts_as_lost_and_a_programs_own_does_not() -> None:
    async def act(scene: Scene) -> None:
        await scene.start(FIRST)
        scene.card.errors = [13]
        await scene.passes(3.0)
        await scene.cell_hears(slots=2)

        scene.card.errors = [79]
        await scene.passes(3.0)

        await scene.cell_hears(FIRST, slots=0)
        assert "Xid 79" in scene.reasons()

    play(act)


def test_a_driver_that_does_not_answer_counts_as_lost() -> None:
    async def act(scene: Scene) -> None:
        await scene.start(FIRST)
        await scene.passes(1.0)
        scene.card.answers.clear()
        began = scene.clock.now

        await scene.passes(13.0)

        await scene.cell_hears(FIRST, slots=0)
        assert scene.clock.now - began <= TOLD_WITHIN_S
        assert "driver has not answered" in scene.reasons()

    play(act)


def test_a_session_that_shows_no_frame_fails_and_the_other_goes_on() -> None:
    async def act(scene: Scene) -> None:
        await scene.start(FIRST, SECOND)
        await scene.passes(1.0)
        scene.frozen.add(FIRST)

        await scene.passes(4.0)

        await scene.cell_hears(FIRST, slots=2)
        assert "no frame for 3 s" in scene.reasons()
        assert [one.session_id for one in scene.sessions.running()] == [SECOND]
        assert scene.figure("rapido_sessions_given_up_total", what="frames") == 1

    play(act)


@pytest.mark.parametrize("begun", [True, False])
def test_a_session_whose_task_is_cut_off_fails_and_the_other_goes_on(begun: bool) -> None:
    async def act(scene: Scene) -> None:
        await scene.start(SECOND)
        ask = scene.streams[SECOND].ask.model_copy(update={"session_id": FIRST})
        scene.sessions.start(ask)
        task = next(one for one in asyncio.all_tasks() if one.get_name() == FIRST)
        if begun:
            await scene.cell.until(lambda: len(scene.cell.events) == 2)
        task.cancel()

        await scene.passes(1.0)

        await scene.cell_hears(FIRST, slots=2)
        assert [one.session_id for one in scene.sessions.running()] == [SECOND]

    play(act)


def test_a_session_is_given_up_once() -> None:
    async def act(scene: Scene) -> None:
        await scene.start(FIRST)
        scene.frozen.add(FIRST)
        await scene.passes(10.0)
        await scene.cell_hears(FIRST, slots=2)
        assert [event.type for event in scene.cell.events] == ["first_frame", "failed"]

    play(act)


def after(limits: Limits, *looks: Look) -> Verdict:
    memory, verdict = Memory(), None
    for look in looks:
        verdict, memory = decide(look, memory, limits)
    assert verdict is not None
    return verdict


def test_a_process_that_stood_still_itself_blames_nobody() -> None:
    batch = Running("batch", 100.0)
    live = (StreamLook(FIRST, 1, live=True, frames=9),)
    seen = [Look(100.0, batch, streams=live), Look(130.0, batch, 100.0, streams=live)]

    verdict = after(Limits(), *seen)

    assert verdict == Verdict(None, (), exit=False)
    seen += [dataclasses.replace(seen[-1], at=131.0), dataclasses.replace(seen[-1], at=132.5)]
    assert after(Limits(), *seen).fault is not None


def test_a_session_that_joins_is_not_asked_for_frames() -> None:
    joining = (StreamLook(FIRST, 1, live=False, frames=0),)
    looks = [Look(float(at), streams=joining) for at in range(30)]

    assert after(Limits(), *looks).given_up == ()


def test_a_newer_generation_is_not_blamed_for_the_frames_of_the_older() -> None:
    def look(at: float, generation: int) -> Look:
        return Look(at, streams=(StreamLook(FIRST, generation, live=True, frames=1),))

    verdict = after(Limits(), look(0.0, 1), look(1.5, 1), look(3.0, 2), look(4.5, 2))

    assert verdict.given_up == ()


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (EngineLost("gone"), True),
        (RuntimeError("CUDA error: unspecified launch failure"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), True),
        (RuntimeError("CUDA error: out of memory"), False),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), False),
        (RuntimeError("CUDA error: operation not permitted when stream is capturing"), False),
        (RuntimeError("shapes do not match"), False),
        (ValueError("CUDA error: unspecified launch failure"), False),
    ],
)
def test_which_errors_the_device_does_not_survive(error: Exception, lost: bool) -> None:
    assert is_lost(error) is lost


def test_a_sick_worker_tells_its_cell_and_ends_with_code_3(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cells: list[FakeCell] = []

    class Sick:
        """A worker whose watchdog gives up at once."""

        def __init__(self, settings: object, url: str) -> None:
            cells.append(FakeCell())
            metrics = Metrics()
            self.app = FastAPI()
            self.agent = Agent("w-1", cells[0], metrics, self._boot, self._slots, backoff=Quick)
            self.sessions = Sessions(FakeStream, lambda: ["demo"], self.agent.tell, metrics)
            self.agent.serve(self.sessions)
            self.agent.alongside(self._watch)

        async def _boot(self) -> Register:
            return REGISTER

        async def _slots(self, _: RoomAccess) -> int:
            return 2

        async def _watch(self) -> None:
            await cells[0].until(lambda: any(beat.slots == 2 for beat in cells[0].beats))
            raise Unwell("The engine is stuck.")

        async def close(self) -> None:
            """Nothing is held."""

    for name, value in {
        "RAPIDO_WORKER_ID": "w-1",
        "RAPIDO_CELL_URLS": "http://127.0.0.1:1",
        "RAPIDO_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(logs, "set_up", lambda: logging.getLogger())

    assert main(Sick) == 3
    assert cells[0].deregistered == [3]
