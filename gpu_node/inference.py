"""One thread drives the engine: what the sessions ask for while it is busy becomes one batch.

Another one loads avatars into it.
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
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from gpu_node.avatars.package import Avatar
from gpu_node.compositor import Compositor
from gpu_node.engine import Engine, FrameJob
from gpu_node.metrics import Metrics
from gpu_node.segment import Segment

Picture = npt.NDArray[np.uint8]
Features = list[npt.NDArray[np.float32]]
S = TypeVar("S")
T = TypeVar("T")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Work:
    """One picture: the mouth of ``segment`` at ``frame``, over ``background`` of the avatar."""

    avatar: Avatar
    background: int
    segment: Segment
    frame: int
    windows: list[npt.NDArray[np.float32]]


class Inference:
    """Everything that touches the engine goes through here: in one thread and in order, but for
    loading."""

    def __init__(self, engine: Engine, metrics: Metrics) -> None:
        self.engine = engine
        self._metrics = metrics
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._loader = ThreadPoolExecutor(1, "loader", initializer=_step_back)
        self._waiting: list[tuple[Work, asyncio.Future[Picture]]] = []
        self._busy: asyncio.Task[None] | None = None

    async def prepare(self, avatar: Avatar, compositor: Compositor) -> None:
        """Loads the avatar into the engine, in a thread of its own: streams go on meanwhile."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._loader, self.engine.prepare, avatar, compositor)

    async def forget(self, avatar: Avatar) -> None:
        """Lets go of it after the running batch."""
        await self.call(lambda: self.engine.forget(avatar))

    async def call(self, function: Callable[[], T]) -> T:
        """Runs ``function`` in the engine's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)

    async def picture(self, work: Work) -> Picture:
        """uint8 (h * 3 / 2, w), I420. Raises what the engine raised for this one."""
        future: asyncio.Future[Picture] = asyncio.get_running_loop().create_future()
        began = time.monotonic()
        self._waiting.append((work, future))
        if self._busy is None or self._busy.done():
            self._busy = asyncio.create_task(self._run())
        picture = await future
        self._metrics.render.observe(time.monotonic() - began)
        return picture

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting, []
            works = [work for work, _ in batch]
            outcomes = await loop.run_in_executor(self._thread, self._render, works)
            for (_, future), outcome in zip(batch, outcomes, strict=True):
                if future.cancelled():
                    continue
                if isinstance(outcome, Exception):
                    future.set_exception(outcome)
                else:
                    future.set_result(outcome)

    def _render(self, works: list[Work]) -> list[Picture | Exception]:
        outcomes: list[Picture | Exception] = [RuntimeError("no picture")] * len(works)
        jobs: list[tuple[int, FrameJob]] = []
        for at, heard in self._heard(list(enumerate(works))):
            if isinstance(heard, Exception):
                outcomes[at] = heard
                continue
            work = works[at]
            work.segment.features.extend(heard)
            audio = work.segment.audio_window(work.frame)
            jobs.append((at, FrameJob(work.avatar, work.background, audio)))
        for at, picture in _each(jobs, self.engine.render):
            outcomes[at] = picture
        return outcomes

    def _heard(self, works: list[tuple[int, Work]]) -> Iterator[tuple[int, Features | Exception]]:
        """The fresh features of every work, one batch an avatar."""
        for avatar in dict.fromkeys(work.avatar for _, work in works):
            mine = [(at, work) for at, work in works if work.avatar is avatar]
            yield from _each(mine, partial(self._features, avatar))

    def _features(self, avatar: Avatar, works: Sequence[Work]) -> list[Features]:
        windows = [window for work in works for window in work.windows]
        made = iter(self.engine.encode(avatar, windows))
        return [[next(made) for _ in work.windows] for work in works]

    def close(self) -> None:
        """Waits for the running batch; nothing more is rendered."""
        self._loader.shutdown(wait=True, cancel_futures=True)
        self._thread.shutdown(wait=True, cancel_futures=True)
        self.engine.close()


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
        if len(items) == 1:
            yield items[0][0], error
            return
        _log.warning("a batch failed; its jobs are tried one by one", exc_info=True)
        for item in items:
            yield from _each([item], batch)
        return
    yield from ((at, one) for (at, _), one in zip(items, made, strict=True))
