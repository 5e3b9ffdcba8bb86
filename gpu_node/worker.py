"""Puts one worker together."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import httpx
from fastapi import FastAPI
from livekit import rtc

from control.contracts.worker import Register, RoomAccess, StartStream
from gpu_node import capacity, gpu, hardware
from gpu_node.agent import Agent
from gpu_node.api import make_app
from gpu_node.avatars.package import Avatar
from gpu_node.avatars.source import cache_folder, make_source
from gpu_node.cell_client import CALL_TIMEOUT_S, CellClient
from gpu_node.compositor import Compositor
from gpu_node.emf import Emf
from gpu_node.engine import make_engine
from gpu_node.inference import Inference
from gpu_node.metrics import Metrics
from gpu_node.probe import Probe, search
from gpu_node.promptness import answer_promptly
from gpu_node.session import AvatarStream, Studio
from gpu_node.sessions import Refused, Sessions, Stream
from gpu_node.settings import Settings
from gpu_node.shelf import Shelf
from gpu_node.verdict import Limits
from gpu_node.video import choose
from gpu_node.warm import WarmRooms
from gpu_node.watchdog import Watchdog

VERSION = "0.1.0"
_FIRST_SHARE = 0.6
"""Of what the costs alone promise, to begin with: it most likely holds, and tells what does."""
_log = logging.getLogger(__name__)


class Worker:
    """The agent, the API and the sessions; the engine comes with the boot."""

    def __init__(self, settings: Settings, url: str) -> None:
        self._settings = settings
        self._url = url
        self._studio: Studio | None = None
        self._held = AsyncExitStack()
        self._trial_avatar: Avatar | None = None
        """The one that the boot rendered, kept ready: whatever comes of the others, it is good."""
        self._remembered = capacity.Remembered()
        self._http = httpx.AsyncClient(timeout=CALL_TIMEOUT_S, trust_env=False)
        self.metrics = Metrics()
        self._gpu = gpu.find()
        self._video, why = choose(settings, self._gpu.codecs if self._gpu is not None else ())
        _log.info("video: %s, encoded by %s: %s", self._video.codec, self._video.encoder, why)
        cell = CellClient(settings.cell_urls, settings.region, self._http)
        self.agent = Agent(
            settings.worker_id,
            cell,
            self.metrics,
            self._boot,
            self._measure,
            self._warm,
            ready=lambda: self._studio.shelf.ready() if self._studio is not None else (),
        )
        self.sessions = Sessions(self._stream, self._avatars, self.agent.tell, self.metrics)
        self.agent.serve(self.sessions)
        self.agent.alongside(*self._guards())
        self.app: FastAPI = make_app(self.agent, self.sessions, self.metrics)

    async def close(self) -> None:
        """Lets go of the engine and of the cell."""
        await self._http.aclose()
        if self._studio is None:
            return
        await self._studio.warm.close()
        await self._held.aclose()
        if not await asyncio.to_thread(self._studio.inference.close):
            _log.error("the engine did not come back; it is left behind")

    def _guards(self) -> Iterable[Callable[[], Coroutine[Any, Any, None]]]:
        """The watchdog, and CloudWatch's lines where they are wanted."""
        settings, found = self._settings, self._gpu
        if found is not None:
            self.metrics.registry.register(gpu.GpuCollector(found))
        yield Watchdog(
            lambda: self._studio.inference if self._studio is not None else None,
            self.sessions,
            self.agent,
            self.metrics,
            self._trial,
            found,
            Limits(stuck_exit_s=settings.stuck_limit_s),
        ).run
        if settings.emf:
            dimensions = {"region": settings.region, "gpu": found.name if found else "none"}
            properties = {"worker_id": settings.worker_id, "zone": settings.zone}
            yield Emf(self.metrics.registry, dimensions, properties).run

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
        shelf = Shelf(inference, source, settings.avatar_cache_mib, settings.video_size_px)
        warm = WarmRooms(shelf, self._video, self.agent.beat_soon)
        self._studio = Studio(inference, shelf, self.metrics, warm, self._video)
        await shelf.refresh()
        self._trial_avatar, _ = await self._held.enter_async_context(shelf.lent(shelf.names()[0]))
        await self._cost(seconds=0.0)
        async with shelf.lent(shelf.names()[0]) as (avatar, _):
            self.metrics.video(self._video.codec, self._video.encoder, *avatar.size)
        return Register(
            worker_id=settings.worker_id,
            url=self._url,
            region=settings.region,
            zone=settings.zone,
            instance_type=settings.instance_type,
            market=settings.market,
            version=VERSION,
            hardware=hardware.detect(engine.name),
            avatars=shelf.names(),
            boot=secrets.token_hex(8),
        )

    async def _measure(self, rooms: Sequence[RoomAccess]) -> int:
        """As set; as found before on such a machine; by trial; or by the costs alone where the
        machine is shared with others, for then a trial would find the others out."""
        answer_promptly()
        settings = self._settings
        if settings.slots is not None:
            return settings.slots
        assert self._studio is not None
        shelf = self._studio.shelf
        async with shelf.lent(shelf.names()[0]) as (avatar, compositor):
            measured = await self._measured(rooms, avatar, compositor)
        capacity.tell(measured, measured.slots, _log)
        for name, streams in measured.limits.items():
            self.metrics.limit(name, streams)
        if measured.encode_ms is not None:
            self.metrics.encode(self._video.encoder, measured.encode_ms / 1e3)
        return measured.slots

    async def _measured(
        self, rooms: Sequence[RoomAccess], avatar: Avatar, compositor: Compositor
    ) -> capacity.Capacity:
        assert self._studio is not None
        hardware_text = hardware.detect(self._studio.inference.engine.name).model_dump_json()
        digests = json.dumps(avatar.manifest["files"], sort_keys=True)
        share = str(self._settings.cpu_share)
        key = capacity.key(
            hardware_text, digests, VERSION, share, str(self._video), str(avatar.size)
        )
        alone = self._settings.cpu_share >= 1.0
        available = hardware.available_bytes()
        measured = self._remembered.get(key) if alone else None
        if measured is None:
            measured = await self._cost(seconds=1.0)
            if alone:
                inference = self._studio.inference
                probe = Probe(rooms, avatar, compositor, inference, self._video, self._gpu)
                measured = await self._tried(probe, measured, key)
        return measured.within(available)

    async def _tried(
        self, probe: Probe, expected: capacity.Capacity, key: str
    ) -> capacity.Capacity:
        try:
            async with probe:
                first = max(1, int(_FIRST_SHARE * expected.slots))
                most = await search(first, probe.holds, lambda: self._room(probe))
        except (rtc.ConnectError, TimeoutError) as error:
            _log.warning("a probe room is away (%s): slots by costs alone", error)
            return expected
        if not probe.loads:
            return expected
        assert self._studio is not None
        on_gpu = self._studio.inference.engine.name == "torch"
        most = min(most, self._room(probe))
        found = capacity.tried(expected, most, probe.loads, probe.resident_bytes, on_gpu=on_gpu)
        self._remembered.put(key, found)
        return found

    @staticmethod
    def _room(probe: Probe) -> int:
        return capacity.room_in_cores(probe.loads, hardware.cores())

    async def _cost(self, seconds: float) -> capacity.Capacity:
        assert self._studio is not None
        inference, shelf = self._studio.inference, self._studio.shelf
        cores, share = hardware.cores(), self._settings.cpu_share
        async with shelf.lent(shelf.names()[0]) as (avatar, _):
            return await inference.call(
                lambda: capacity.measure(inference.engine, avatar, cores, share, seconds=seconds)
            )

    async def _trial(self) -> None:
        assert self._studio is not None
        assert self._trial_avatar is not None
        await self._studio.inference.trial(self._trial_avatar)

    def _avatars(self) -> Iterable[str]:
        return self._studio.shelf.names() if self._studio is not None else ()

    def _warm(self) -> WarmRooms | None:
        return self._studio.warm if self._studio is not None else None

    def _stream(self, ask: StartStream, on_first_frame: Callable[[], None]) -> Stream:
        if self._studio is None:
            raise Refused("no-slot", "The engine is still warming up; place it elsewhere.")
        return AvatarStream(ask, self._studio, on_first_frame)
