"""Puts one worker together."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterable

import httpx
from fastapi import FastAPI

from control.contracts.worker import Register, StartStream
from gpu_node import capacity, hardware
from gpu_node.agent import Agent
from gpu_node.api import make_app
from gpu_node.avatars.source import cache_folder, make_source
from gpu_node.cell_client import CellClient
from gpu_node.engine import make_engine
from gpu_node.inference import Inference
from gpu_node.metrics import Metrics
from gpu_node.session import AvatarStream, Studio
from gpu_node.sessions import Refused, Sessions, Stream
from gpu_node.settings import Settings
from gpu_node.shelf import Shelf

VERSION = "0.1.0"
_CALL_TIMEOUT_S = 3.0
_log = logging.getLogger(__name__)


class Worker:
    """The agent, the API and the sessions; the engine comes with the boot."""

    def __init__(self, settings: Settings, url: str) -> None:
        self._settings = settings
        self._url = url
        self._studio: Studio | None = None
        self._http = httpx.AsyncClient(timeout=_CALL_TIMEOUT_S, trust_env=False)
        self.metrics = Metrics()
        cell = CellClient(settings.cell_urls, settings.region, self._http)
        self.agent = Agent(settings.worker_id, cell, self.metrics, self._boot, self._measure)
        self.sessions = Sessions(self._stream, self._avatars, self.agent.tell, self.metrics)
        self.agent.serve(self.sessions)
        self.app: FastAPI = make_app(self.agent, self.sessions, self.metrics)

    async def close(self) -> None:
        """Lets go of the engine and of the cell."""
        await self._http.aclose()
        if self._studio is not None:
            await asyncio.to_thread(self._studio.inference.close)

    async def _boot(self) -> Register:
        """Loads the engine and renders one frame. Raises AvatarError where there is no avatar."""
        settings = self._settings
        source = await asyncio.to_thread(
            make_source,
            settings.avatars,
            settings.region,
            settings.avatar_cache_mib,
            cache_folder(settings.worker_id),
        )
        threads = max(1, round(hardware.cores() * settings.cpu_share))
        engine = await asyncio.to_thread(make_engine, settings.device, threads)
        inference = Inference(engine, self.metrics)
        shelf = Shelf(inference, source, settings.avatar_cache_mib)
        self._studio = Studio(inference, shelf, self.metrics)
        await shelf.refresh()
        await self._cost(seconds=0.0)
        return Register(
            worker_id=settings.worker_id,
            url=self._url,
            region=settings.region,
            zone=settings.zone,
            version=VERSION,
            hardware=hardware.detect(engine.name),
            avatars=shelf.names(),
            boot=secrets.token_hex(8),
        )

    async def _measure(self) -> int:
        measured = await self._cost(seconds=1.0)
        slots = measured.slots if self._settings.slots is None else self._settings.slots
        capacity.tell(measured, slots, _log)
        return slots

    async def _cost(self, seconds: float) -> capacity.Capacity:
        assert self._studio is not None
        inference, shelf = self._studio.inference, self._studio.shelf
        cores, share = hardware.cores(), self._settings.cpu_share
        async with shelf.lent(shelf.names()[0]) as (avatar, _):
            return await inference.call(
                lambda: capacity.measure(inference.engine, avatar, cores, share, seconds=seconds)
            )

    def _avatars(self) -> Iterable[str]:
        return self._studio.shelf.names() if self._studio is not None else ()

    def _stream(self, ask: StartStream, on_first_frame: Callable[[], None]) -> Stream:
        if self._studio is None:
            raise Refused("no-slot", "The engine is still warming up; place it elsewhere.")
        return AvatarStream(ask, self._studio, on_first_frame)
