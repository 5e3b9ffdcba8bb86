"""The threads that drive an engine: what goes side by side, what in order, and how they end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import wait

import numpy as np
import pytest

from gpu_node.engine import FrameJob
from gpu_node.engine_threads import EngineThreads
from gpu_node.inference import Inference, Work
from gpu_node.metrics import Metrics
from gpu_node.pcm import PcmFormat
from gpu_node.segment import Segment

LIMIT_S = 10.0


@pytest.fixture
def let() -> Iterator[threading.Event]:
    """Calls that wait for it go on at the latest when the test is over."""
    event = threading.Event()
    yield event
    event.set()


def test_as_many_calls_go_at_once_as_there_are_threads(let: threading.Event) -> None:
    threads = EngineThreads(2)
    both = threading.Barrier(2)
    meeting = [threads.submit("batch", lambda: both.wait(LIMIT_S)) for _ in range(2)]

    assert not wait(meeting, LIMIT_S).not_done
    assert sorted(one.result() for one in meeting) == [0, 1]


def test_calls_begin_in_the_order_they_were_asked_for(let: threading.Event) -> None:
    threads = EngineThreads(1)
    begun: list[int] = []
    threads.submit("batch", lambda: let.wait(LIMIT_S))
    asked = [threads.submit("batch", lambda at=at: begun.append(at)) for at in range(5)]

    asked[2].cancel()
    let.set()
    wait(asked, LIMIT_S)

    assert begun == [0, 1, 3, 4]


def test_the_call_that_has_been_under_way_for_longest_is_the_one_that_runs(
    let: threading.Event,
) -> None:
    now = [5.0]
    threads = EngineThreads(2, clock=lambda: now[0])
    assert threads.running is None
    entered = [threading.Event(), threading.Event()]

    def held(at: int) -> None:
        entered[at].set()
        let.wait(LIMIT_S)

    threads.submit("load", lambda: held(0))
    assert entered[0].wait(LIMIT_S)
    now[0] = 6.0
    threads.submit("batch", lambda: held(1))
    assert entered[1].wait(LIMIT_S)
    threads.beat()

    running = threads.running
    assert running is not None
    assert (running.kind, running.since) == ("load", 5.0)
    assert threads.beat_since == 6.0

    now[0] = 9.0
    let.set()
    assert threads.close(lambda: None, LIMIT_S)
    assert threads.running is None
    assert threads.busy_s == pytest.approx((4.0 + 3.0) / 2)


def test_the_engine_is_closed_once_all_calls_came_back(let: threading.Event) -> None:
    threads = EngineThreads(3)
    done: list[str] = []
    entered = threading.Barrier(3)

    def call() -> None:
        entered.wait(LIMIT_S)
        let.wait(LIMIT_S)
        done.append("call")

    for _ in range(2):
        threads.submit("batch", call)
    entered.wait(LIMIT_S)
    closing = threading.Thread(target=threads.close, args=(lambda: done.append("close"), LIMIT_S))
    closing.start()
    let.set()
    closing.join(LIMIT_S)

    assert done == ["call", "call", "close"]
    with pytest.raises(RuntimeError, match="closed"):
        threads.submit("batch", lambda: None)


def test_a_call_that_hangs_is_left_behind(let: threading.Event) -> None:
    threads = EngineThreads(2)
    entered = threading.Event()
    closed: list[str] = []

    def hang() -> None:
        entered.set()
        let.wait(LIMIT_S)

    threads.submit("batch", hang)
    assert entered.wait(LIMIT_S)
    waiting = threads.submit("batch", lambda: None)
    wait([waiting], LIMIT_S)

    assert not threads.close(lambda: closed.append("close"), 0.05)
    assert not closed


class MeetingEngine:
    """Paints a picture once ``callers`` calls are there together; keeps the size of each."""

    name = "meeting"

    def __init__(self, callers: int) -> None:
        self.callers = callers
        self.calls: list[int] = []
        self._all = threading.Barrier(callers)

    def encode(self, avatar: object, windows: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [np.zeros(512, np.float32) for _ in windows]

    def render(self, jobs: Sequence[FrameJob]) -> list[np.ndarray]:
        self.calls.append(len(jobs))
        self._all.wait(LIMIT_S)
        return [np.full((3, 2), job.frame, np.uint8) for job in jobs]

    def close(self) -> None:
        """Nothing was loaded."""


@pytest.mark.parametrize(("callers", "calls"), [(2, [1, 1, 1, 1]), (1, [4])])
def test_pictures_go_side_by_side_where_an_engine_takes_several_calls_else_as_one_batch(
    callers: int, calls: list[int]
) -> None:
    engine = MeetingEngine(callers)

    async def scene() -> list[int]:
        inference = Inference(engine, Metrics())  # type: ignore[arg-type]
        window = [np.zeros((80, 16), np.float32)]
        works = [
            Work(object(), at, Segment("a", PcmFormat(16_000, 1), reported=False), 0, window)  # type: ignore[arg-type]
            for at in range(4)
        ]
        made = await asyncio.gather(*(inference.picture(work) for work in works))
        assert inference.close()
        return [int(picture[0, 0]) for picture in made]

    assert asyncio.run(scene()) == [0, 1, 2, 3]
    assert engine.calls == calls


@pytest.mark.parametrize("callers", [1, 2])
def test_what_is_only_heard_is_kept_for_the_pictures_to_come(callers: int) -> None:
    engine = MeetingEngine(callers)
    segment = Segment("a", PcmFormat(16_000, 1), reported=False)
    windows = [np.zeros((80, 16), np.float32)] * 3

    async def scene() -> None:
        inference = Inference(engine, Metrics())  # type: ignore[arg-type]
        inference.failures = 2
        await inference.hear(Work(object(), 0, segment, None, windows))  # type: ignore[arg-type]
        assert inference.failures == 2, "no picture was made"
        assert inference.close()

    asyncio.run(scene())

    assert len(segment.features) == 3
    assert engine.calls == []
