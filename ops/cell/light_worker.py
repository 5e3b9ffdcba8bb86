"""A worker without engine and room, for trials of the fleet around it.

Run as ``python -m ops.cell.light_worker``, with the environment of ``python -m gpu_node``. Agent,
API and the bookkeeping of sessions are the real worker's; a stream is a timer.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from collections.abc import Callable, Sequence
from typing import Literal

import httpx

from control.contracts.worker import Register, RoomAccess, StartStream
from gpu_node import hardware
from gpu_node.__main__ import main
from gpu_node.agent import Agent
from gpu_node.api import make_app
from gpu_node.cell_client import CellClient
from gpu_node.metrics import Metrics
from gpu_node.sessions import Sessions
from gpu_node.settings import Settings

AVATARS = ("demo",)
FIRST_FRAME_S = 0.4
"""About what a room takes to join and to show something (docs/benches.md)."""
_SLOTS = 10
_LESSON_S = float(os.environ.get("RAPIDO_LIGHT_LESSON_S", "3600"))
"""After that a stream takes its learner to be gone; to some none ever came: its answer was lost."""
_CALL_TIMEOUT_S = 3.0


class TimedStream:
    """Live after FIRST_FRAME_S, with one learner, until it is stopped or its lesson is over."""

    def __init__(self, ask: StartStream, on_first_frame: Callable[[], None]) -> None:
        self.ask = ask
        self.state: Literal["joining", "live", "ending"] = "joining"
        self.frames = 0
        self.speaking = False
        self._on_first_frame = on_first_frame
        self._stop: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    @property
    def learners(self) -> int:
        """One, once there is something to see."""
        return int(self.state == "live")

    def stop(self, reason: str) -> None:
        """``run`` returns that reason."""
        self.state = "ending"
        if not self._stop.done():
            self._stop.set_result(reason)

    async def run(self) -> str:
        """Why it ended."""
        await asyncio.wait({self._stop}, timeout=FIRST_FRAME_S)
        if not self._stop.done():
            self.state, self.frames = "live", 1
            self._on_first_frame()
        await asyncio.wait({self._stop}, timeout=_LESSON_S)
        self.state = "ending"
        return self._stop.result() if self._stop.done() else "Nobody was in the room."


class LightWorker:
    """As ``gpu_node.worker.Worker``; RAPIDO_SLOTS says how many streams it claims to hold."""

    def __init__(self, settings: Settings, url: str) -> None:
        self._settings = settings
        self._url = url
        self._http = httpx.AsyncClient(timeout=_CALL_TIMEOUT_S, trust_env=False)
        metrics = Metrics()
        cell = CellClient(settings.cell_urls, settings.region, self._http)
        self.agent = Agent(settings.worker_id, cell, metrics, self._boot, self._measure)
        self.sessions = Sessions(TimedStream, lambda: AVATARS, self.agent.tell, metrics)
        self.agent.serve(self.sessions)
        self.app = make_app(self.agent, self.sessions, metrics)

    async def close(self) -> None:
        """Lets go of the cell."""
        await self._http.aclose()

    async def _boot(self) -> Register:
        settings = self._settings
        return Register(
            worker_id=settings.worker_id,
            url=self._url,
            region=settings.region,
            zone=settings.zone,
            instance_type=settings.instance_type,
            market=settings.market,
            version="light",
            hardware=hardware.detect("timer"),
            avatars=AVATARS,
            boot=secrets.token_hex(8),
        )

    async def _measure(self, _: Sequence[RoomAccess]) -> int:
        return _SLOTS if self._settings.slots is None else self._settings.slots


if __name__ == "__main__":
    sys.exit(main(LightWorker))
