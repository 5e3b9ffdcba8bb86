"""Threads of its own drive the engine, as many as may call it at once.

Where that is one, what the sessions ask for while it is busy becomes one batch; where there are
more, each paints the picture that was asked for first. Another thread loads avatars.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from gpu_node.avatars.package import Avatar
from gpu_node.compositor import Compositor
from gpu_node.engine import Engine, FrameJob
from gpu_node.engine.faults import is_lost
from gpu_node.engine.port import Timing
from gpu_node.engine_threads import EngineThreads
from gpu_node.features import COLUMNS, N_MELS
from gpu_node.metrics import Metrics
from gpu_node.pcm import MODEL_RATE_HZ, PcmFormat
from gpu_node.segment import Segment

Picture = npt.NDArray[np.uint8]
Features = list[npt.NDArray[np.float32]]
_Made = Picture | Exception
S = TypeVar("S")
T = TypeVar("T")
_CLOSE_LIMIT_S = 10.0
_NO_PICTURE: Picture = np.zeros((0, 0), np.uint8)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Work:
    """One picture: the mouth of ``segment`` at ``frame``, over ``background`` of the avatar; where
    ``frame`` is None, no picture: its windows are heard for those to come."""

    avatar: Avatar
    background: int
    segment: Segment
    frame: int | None
    windows: list[npt.NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class _Asked:
    work: Work
    at: float


class Inference:
    """Everything that touches the engine goes through here.

    Its watchdog reads ``lost``, why the engine's device is gone until it renders again, and
    ``failures``, the pictures that failed since one was made.
    """

    def __init__(
        self, engine: Engine, metrics: Metrics, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.engine = engine
        self.lost: str | None = None
        self.failures = 0
        self.threads = EngineThreads(engine.callers, clock)
        self._clock = clock
        self._metrics = metrics
        self._loader = ThreadPoolExecutor(1, "loader", initializer=_step_back)
        self._waiting: list[tuple[_Asked, asyncio.Future[_Made]]] = []
        self._busy: asyncio.Task[None] | None = None

    async def prepare(self, avatar: Avatar, compositor: Compositor) -> None:
        """Loads the avatar into the engine, in a thread of its own: streams go on meanwhile."""
        loop = asyncio.get_running_loop()
        prepare = partial(self._told, self.engine.prepare, avatar, compositor)
        await loop.run_in_executor(self._loader, prepare)

    async def forget(self, avatar: Avatar) -> None:
        """Lets go of it after the pictures asked for by now were begun."""
        await self.call(lambda: self.engine.forget(avatar))

    async def call(self, function: Callable[[], T]) -> T:
        """Runs ``function`` in a thread of the engine's."""
        done = self.threads.submit("load", partial(self._told, function))
        return await asyncio.wrap_future(done)

    async def picture(self, work: Work) -> Picture:
        """uint8 (h * 3 / 2, w), I420. Raises what the engine raised for this one."""
        asked = _Asked(work, self._clock())
        made = await self._made(asked)
        self._metrics.picture.observe(self._clock() - asked.at)
        return made

    async def hear(self, work: Work) -> None:
        """Its windows' features are with the segment. Raises what the engine raised for them."""
        await self._made(_Asked(work, self._clock()))

    async def trial(self, avatar: Avatar) -> None:
        """One speaking picture of a prepared avatar, as sessions ask for them. Raises likewise."""
        segment = Segment("trial", PcmFormat(MODEL_RATE_HZ, 1), reported=False)
        window = np.zeros((N_MELS, COLUMNS), np.float32)
        await self.picture(Work(avatar, 0, segment, 0, [window]))

    async def _made(self, asked: _Asked) -> Picture:
        if self.threads.count > 1:
            (made,) = await self._rendered([asked])
        else:
            made = await self._in_batch(asked)
        if isinstance(made, Exception):
            raise made
        return made

    async def _in_batch(self, asked: _Asked) -> _Made:
        future: asyncio.Future[_Made] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, future))
        if self._busy is None or self._busy.done():
            self._busy = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            made = await self._rendered([asked for asked, _ in batch])
            for (_, future), one in zip(batch, made, strict=True):
                if not future.cancelled():
                    future.set_result(one)

    async def _rendered(self, batch: list[_Asked]) -> list[_Made]:
        done = self.threads.submit("batch", partial(self._render, batch))
        return await asyncio.wrap_future(done)

    def _render(self, batch: list[_Asked]) -> list[_Made]:
        began = self._clock()
        for asked in batch:
            self._metrics.stage("wait", began - asked.at)
        works = [asked.work for asked in batch]
        if pictures := sum(work.frame is not None for work in works):
            self._metrics.batch.observe(pictures)
        outcomes: list[_Made] = [RuntimeError("no picture")] * len(works)
        jobs: list[tuple[int, FrameJob]] = []
        for at, heard in self._heard(list(enumerate(works))):
            if isinstance(heard, Exception):
                outcomes[at] = heard
                continue
            work = works[at]
            work.segment.features.extend(heard)
            if work.frame is None:
                outcomes[at] = _NO_PICTURE
                continue
            audio = work.segment.audio_window(work.frame)
            jobs.append((at, FrameJob(work.avatar, work.background, audio)))
        for at, picture in _each(jobs, partial(self._told, self._pictures)):
            outcomes[at] = picture
        for_pictures = [
            o for work, o in zip(works, outcomes, strict=True) if work.frame is not None
        ]
        failed = sum(isinstance(one, Exception) for one in for_pictures)
        self.failures = 0 if failed < pictures else self.failures + failed
        return outcomes

    def _heard(self, works: list[tuple[int, Work]]) -> Iterator[tuple[int, Features | Exception]]:
        """The fresh features of every work, one batch an avatar."""
        for avatar in dict.fromkeys(work.avatar for _, work in works):
            mine = [(at, work) for at, work in works if work.avatar is avatar]
            yield from _each(mine, partial(self._told, partial(self._features, avatar)))

    def _features(self, avatar: Avatar, works: Sequence[Work]) -> list[Features]:
        windows = [window for work in works for window in work.windows]
        began = self._clock()
        made = iter(self.engine.encode(avatar, windows))
        self._metrics.stage("features", self._clock() - began)
        return [[next(made) for _ in work.windows] for work in works]

    def _pictures(self, jobs: Sequence[FrameJob]) -> list[Picture]:
        began = self._clock()
        made = self.engine.render(jobs)
        self._metrics.stage("render", self._clock() - began)
        timing = getattr(self.engine, "last_timing", None)
        if isinstance(timing, Timing):
            self._metrics.stage("network", timing.network_s)
            self._metrics.stage("composition", timing.composition_s)
        self.lost = None
        return made

    def _told(self, function: Callable[..., T], *given: Any) -> T:
        """What ``function`` makes; an error that the device does not survive is kept."""
        try:
            return function(*given)
        except Exception as error:
            if is_lost(error):
                self.lost = f"{type(error).__name__}: {error}"[:300]
            raise

    def close(self, limit_s: float = _CLOSE_LIMIT_S) -> bool:
        """Waits for the running batch; nothing more is rendered. False if it never came back."""
        self._loader.shutdown(wait=False, cancel_futures=True)
        return self.threads.close(self.engine.close, limit_s)


def _step_back() -> None:
    """Loading leaves the cores to the streams, where the system lets a thread be nice."""
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)


def _each(
    items: list[tuple[int, S]], batch: Callable[[Sequence[S]], list[T]]
) -> Iterator[tuple[int, T | Exception]]:
    """What ``batch`` makes of each; where the batch fails, each is tried alone: one session's bad
    frame must not cost the others theirs."""
    if not items:
        return
    try:
        made = batch([item for _, item in items])
    except Exception as error:  # noqa: BLE001 - handed to the sessions it belongs to
        if len(items) == 1 or is_lost(error):
            yield from ((at, error) for at, _ in items)
            return
        _log.warning("a batch failed; its jobs are tried one by one", exc_info=True)
        for item in items:
            yield from _each([item], batch)
        return
    yield from ((at, one) for (at, _), one in zip(items, made, strict=True))
