"""One thread drives the engine: what the sessions ask for while it is busy becomes one batch."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from gpu_node.avatars.package import Avatar
from gpu_node.compositor import Compositor
from gpu_node.engine import Engine, MouthJob
from gpu_node.metrics import Metrics
from gpu_node.segment import Segment

Picture = npt.NDArray[np.uint8]
T = TypeVar("T")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Work:
    """One picture: the mouth of ``segment`` at ``frame``, over ``background`` of the avatar."""

    avatar: Avatar
    compositor: Compositor
    background: int
    segment: Segment
    frame: int
    windows: list[npt.NDArray[np.float32]]


class Inference:
    """Everything that touches the engine goes through here, in one thread and in order."""

    def __init__(self, engine: Engine, metrics: Metrics) -> None:
        self.engine = engine
        self._metrics = metrics
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._waiting: list[tuple[Work, asyncio.Future[Picture]]] = []
        self._busy: asyncio.Task[None] | None = None

    async def prepare(self, avatar: Avatar) -> None:
        """Loads the avatar into the engine."""
        await self.call(lambda: self.engine.prepare(avatar))

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
        outcomes: list[Picture | Exception | None] = [None] * len(works)
        jobs: list[tuple[int, MouthJob]] = []
        for at, work in enumerate(works):
            try:
                work.segment.features.extend(
                    self.engine.encode(work.avatar, w) for w in work.windows
                )
                audio = work.segment.audio_window(work.frame)
                jobs.append((at, MouthJob(work.avatar, work.background, audio)))
            except Exception as error:  # noqa: BLE001 - belongs to this session alone
                outcomes[at] = error
        for at, mouth in self._mouths(jobs):
            if isinstance(mouth, Exception):
                outcomes[at] = mouth
            else:
                outcomes[at] = works[at].compositor.compose(works[at].background, mouth)
        return [one if one is not None else RuntimeError("no picture") for one in outcomes]

    def _mouths(self, jobs: list[tuple[int, MouthJob]]) -> list[tuple[int, Picture | Exception]]:
        if not jobs:
            return []
        try:
            mouths = self.engine.render([job for _, job in jobs])
            return [(at, mouth) for (at, _), mouth in zip(jobs, mouths, strict=True)]
        except Exception as error:  # noqa: BLE001 - handed to the sessions it belongs to
            if len(jobs) == 1:
                return [(jobs[0][0], error)]
            # one bad job must not cost the others their frame
            _log.warning("a batch failed; its jobs are tried one by one", exc_info=True)
            return [outcome for job in jobs for outcome in self._mouths([job])]

    def close(self) -> None:
        """Waits for the running batch; nothing more is rendered."""
        self._thread.shutdown(wait=True, cancel_futures=True)
