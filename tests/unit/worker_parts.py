"""A cell, a stream and a back-off for trials of the worker's agent and its watchdog."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from control.contracts.worker import (
    Hardware,
    Heartbeat,
    HeartbeatReply,
    LeaseRef,
    Register,
    Registered,
    RoomAccess,
    StartStream,
    StreamEvent,
    WorkerState,
)
from gpu_node.cell_client import Backoff, CellRefused

ROOM = RoomAccess(url="ws://127.0.0.1:1", room="r", token="t")
REGISTER = Register(
    worker_id="w-1",
    url="http://127.0.0.1:9",
    region="us-east-1",
    zone="us-east-1a",
    version="0.1.0",
    hardware=Hardware(cpu="x", cores=2, memory_gib=4, engine="fake"),
    avatars=("demo",),
    boot="0123456789abcdef",
)


class FakeCell:
    """Answers as it is told, and remembers what it heard."""

    def __init__(self) -> None:
        self.fault: Exception | None = None
        self.forgotten = False
        self.desired = WorkerState.READY
        self.revoked: tuple[LeaseRef, ...] = ()
        self.warm: tuple[RoomAccess, ...] = ()
        self.beats: list[Heartbeat] = []
        self.events: list[StreamEvent] = []
        self.registered: list[Register] = []
        self.deregistered: list[int] = []
        self.calls = 0
        self.changed = asyncio.Condition()

    async def _heard(self) -> None:
        self.calls += 1
        async with self.changed:
            self.changed.notify_all()
        if self.fault is not None:
            raise self.fault

    async def register(self, ask: Register) -> Registered:
        await self._heard()
        self.registered.append(ask)
        self.forgotten = False
        return Registered(
            registration=3,
            key="a2V5",
            heartbeat_interval_s=0.05,
            dead_after_s=15,
            probe=(ROOM,),
        )

    async def heartbeat(self, worker_id: str, beat: Heartbeat) -> HeartbeatReply:
        await self._heard()
        if self.forgotten:
            raise CellRefused(409, "forgotten-registration", "the store was lost")
        self.beats.append(beat)
        return HeartbeatReply(
            desired_state=self.desired,
            heartbeat_interval_s=0.05,
            revoked=self.revoked,
            warm=self.warm,
        )

    async def event(self, worker_id: str, event: StreamEvent) -> None:
        await self._heard()
        self.events.append(event)

    async def deregister(self, worker_id: str, registration: int) -> None:
        await self._heard()
        self.deregistered.append(registration)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with self.changed, asyncio.timeout(10):
            await self.changed.wait_for(condition)


class FakeStream:
    """Live until it is stopped."""

    def __init__(self, ask: StartStream, first_frame: Callable[[], None]) -> None:
        self.ask, self.state, self.frames = ask, "live", 0
        self.learners, self.speaking = 1, False
        self.first_frame = first_frame
        self.over: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def stop(self, reason: str) -> None:
        self.state = "ending"
        if not self.over.done():
            self.over.set_result(reason)

    async def run(self) -> str:
        self.first_frame()
        return await self.over


class Quick(Backoff):
    """The same back-off, a thousand times faster."""

    def __init__(self) -> None:
        super().__init__(first_s=0.0005, most_s=0.01)
