"""Looks at the engine, the GPU and every session twice a second, and acts on what it sees.

A broken session is told to the cell as failed, and the others go on. A sick engine or GPU announces
no slots; when that lasts, its sessions fail, so that they are placed elsewhere, and in the end the
process gives way to a new one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from gpu_node.agent import Agent, Unwell
from gpu_node.gpu import Gpu
from gpu_node.inference import Inference
from gpu_node.metrics import Metrics
from gpu_node.sessions import Sessions
from gpu_node.verdict import Fault, GivenUp, Limits, Look, Memory, StreamLook, Verdict, decide

_EVERY_S = 0.5
_log = logging.getLogger(__name__)


class Watchdog:
    """``inference`` gives None until the engine is there; ``clock`` is also the engine's.

    ``trial`` makes one picture that is no session's, and raises what the engine raises. Where the
    sessions' pictures all fail it tells a sick engine from a bad avatar, and a recovery.
    """

    def __init__(
        self,
        inference: Callable[[], Inference | None],
        sessions: Sessions,
        agent: Agent,
        metrics: Metrics,
        trial: Callable[[], Awaitable[None]],
        gpu: Gpu | None = None,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inference = inference
        self._sessions = sessions
        self._agent = agent
        self._metrics = metrics
        self._trial = trial
        self._trying: asyncio.Task[None] | None = None
        self._trial_failed: str | None = None
        self._gpu = gpu
        self._limits = limits or Limits()
        self._clock = clock
        self._memory = Memory()
        for what in ("engine", "gpu"):
            metrics.unhealthy.labels(what).set(0)

    async def run(self) -> None:
        """Until cancelled. Raises Unwell when only a new process helps."""
        try:
            while True:
                self.look()
                await asyncio.sleep(_EVERY_S)
        finally:
            if self._trying is not None:
                self._trying.cancel()

    def look(self) -> None:
        """Looks once, and acts. Raises Unwell."""
        verdict, memory = decide(self._seen(), self._memory, self._limits)
        self._tell(self._memory.fault, verdict.fault)
        self._memory = memory
        self._act(verdict)

    def _seen(self) -> Look:
        inference = self._inference()
        dead = {lease.session_id for lease in self._sessions.dead()}
        look = Look(
            at=self._clock(),
            running=inference.threads.running if inference is not None else None,
            beat_since=inference.threads.beat_since if inference is not None else None,
            engine_lost=inference.lost if inference is not None else None,
            failures=inference.failures if inference is not None else 0,
            trial_failed=self._trial_failed,
            gpu_fault=self._gpu.fault() if self._gpu is not None else None,
            streams=tuple(
                StreamLook(
                    view.session_id,
                    view.generation,
                    view.state == "live",
                    view.frames,
                    view.session_id in dead,
                )
                for view in self._sessions.views()
            ),
        )
        if inference is not None:
            inference.threads.beat()
        return look

    def _tell(self, before: Fault | None, now: Fault | None) -> None:
        for what in ("engine", "gpu"):
            self._metrics.unhealthy.labels(what).set(now is not None and now.what == what)
        if now is not None and before is None:
            _log.error("unwell: %s", now.reason, extra={"what": now.what})
        elif now is None and before is not None:
            _log.warning("well again; the slots come back", extra={"what": before.what})

    def _act(self, verdict: Verdict) -> None:
        self._agent.stand(verdict.fault.reason if verdict.fault is not None else None)
        for one in verdict.given_up:
            self._give_up(one)
        if not verdict.trial:
            self._trial_failed = None
        elif self._trying is None:
            self._trying = asyncio.create_task(self._try())
        if verdict.exit and verdict.fault is not None:
            raise Unwell(verdict.fault.reason)

    async def _try(self) -> None:
        try:
            await self._trial()
        except Exception as error:  # noqa: BLE001 - whatever it is, there is no picture
            self._trial_failed = f"{type(error).__name__}: {error}"[:300]
        else:
            self._trial_failed = None
        finally:
            self._trying = None

    def _give_up(self, one: GivenUp) -> None:
        if self._sessions.fail(one.session_id, one.generation, one.reason):
            self._metrics.given_up.labels(one.why).inc()
            _log.error("session given up: %s", one.reason, extra={"session_id": one.session_id})
