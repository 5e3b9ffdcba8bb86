"""A real worker whose avatar's mouth shows how loud it is: nothing to load, nothing to measure.

Run as ``python -m tests.integration.agents.loudness_worker``, with the environment of ``gpu_node``.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable

import httpx

from control.contracts.worker import Register, RoomAccess, StartStream
from gpu_node import hardware
from gpu_node.__main__ import main
from gpu_node.agent import Agent
from gpu_node.api import make_app
from gpu_node.cell_client import CellClient
from gpu_node.session import AvatarStream, Limits
from gpu_node.sessions import Sessions
from gpu_node.settings import Settings
from tests.integration.worker_room import make_studio

AVATARS = ("demo",)


class LoudnessWorker:
    """As ``gpu_node.worker.Worker``, with the engine and the avatar of the room's tests."""

    def __init__(self, settings: Settings, url: str) -> None:
        self._settings = settings
        self._url = url
        self._http = httpx.AsyncClient(timeout=3.0, trust_env=False)
        self._studio = make_studio(Limits(join_s=2.0))
        metrics = self._studio.metrics
        cell = CellClient(settings.cell_urls, settings.region, self._http)
        self.agent = Agent(settings.worker_id, cell, metrics, self._boot, self._measure)
        self.sessions = Sessions(self._stream, lambda: AVATARS, self.agent.tell, metrics)
        self.agent.serve(self.sessions)
        self.app = make_app(self.agent, self.sessions, metrics)

    async def close(self) -> None:
        """Lets go of the engine and of the cell."""
        await self._http.aclose()
        self._studio.inference.close()

    async def _boot(self) -> Register:
        return Register(
            worker_id=self._settings.worker_id,
            url=self._url,
            region=self._settings.region,
            zone=self._settings.zone,
            version="loudness",
            hardware=hardware.detect("loudness"),
            avatars=AVATARS,
            boot=secrets.token_hex(8),
        )

    async def _measure(self, _: RoomAccess) -> int:
        return self._settings.slots or 1

    def _stream(self, ask: StartStream, on_first_frame: Callable[[], None]) -> AvatarStream:
        return AvatarStream(ask, self._studio, on_first_frame)


if __name__ == "__main__":
    sys.exit(main(LoudnessWorker))
