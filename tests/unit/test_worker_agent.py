"""The worker towards its cell: it registers, beats, obeys, and outlives a cell that is away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from botocore.credentials import Credentials

from control.contracts.worker import (
    LeaseRef,
    Register,
    RoomAccess,
    StartStream,
    WarmRoom,
    WorkerState,
)
from gpu_node.agent import Agent, Superseded
from gpu_node.cell_client import CellClient, CellRefused, CellUnreachable
from gpu_node.metrics import Metrics
from gpu_node.sessions import Refused, Sessions
from tests.unit.worker_parts import REGISTER, ROOM, FakeCell, FakeStream, Quick


class FakeWarm:
    """Joins at once what it is told to keep."""

    def __init__(self) -> None:
        self.rooms: tuple[RoomAccess, ...] = ()

    def told(self) -> tuple[WarmRoom, ...]:
        return tuple(WarmRoom(session_id=one.room, ready=True) for one in self.rooms)

    def keep(self, rooms: Sequence[RoomAccess]) -> None:
        self.rooms = tuple(rooms)


class Scene:
    """An agent with its sessions before a fake cell."""

    def __init__(self) -> None:
        self.cell = FakeCell()
        metrics = Metrics()
        self.may_measure = asyncio.Event()
        self.may_measure.set()
        self.warm = FakeWarm()
        self.loaded: tuple[str, ...] = ()
        self.agent = Agent(
            "w-1",
            self.cell,
            metrics,
            self._boot,
            self._measure,
            lambda: self.warm,
            ready=lambda: self.loaded,
            backoff=Quick,
        )
        self.sessions = Sessions(FakeStream, lambda: ["demo", "fox"], self.agent.tell, metrics)
        self.agent.serve(self.sessions)

    async def _boot(self) -> Register:
        return REGISTER

    async def _measure(self, _: RoomAccess) -> int:
        await self.may_measure.wait()
        return 2

    async def ready(self) -> None:
        await self.cell.until(lambda: any(b.slots == 2 for b in self.cell.beats))

    def start(self, session: str = "s-use1-abcdefgh12") -> StartStream:
        ask = StartStream(
            session_id=session,
            generation=4,
            avatar="demo",
            room=ROOM,
            expires_at=datetime.now(UTC) + timedelta(hours=1),
        )
        self.sessions.start(ask)
        return ask


def play(act: Callable[[Scene], Awaitable[None]]) -> None:
    async def run() -> None:
        scene = Scene()
        running = asyncio.create_task(scene.agent.run())
        try:
            await act(scene)
        finally:
            await scene.sessions.close("over", revoked=True)
            running.cancel()
            await asyncio.wait({running})

    asyncio.run(run())


def test_it_registers_as_warming_and_is_ready_once_it_measured() -> None:
    async def act(scene: Scene) -> None:
        scene.may_measure.clear()
        await scene.cell.until(lambda: bool(scene.cell.beats))
        assert (scene.cell.beats[0].state, scene.cell.beats[0].slots) == (WorkerState.WARMING, 0)
        assert scene.agent.unready is not None

        scene.may_measure.set()
        await scene.ready()

        assert scene.cell.beats[-1].state == WorkerState.READY
        assert scene.cell.beats[-1].registration == 3
        assert scene.agent.unready is None
        assert scene.agent.key == b"key"

    play(act)


def test_it_tries_to_register_until_the_cell_takes_it() -> None:
    async def act(scene: Scene) -> None:
        scene.cell.fault = CellUnreachable("away")
        await scene.cell.until(lambda: scene.cell.calls >= 3)
        scene.cell.fault = CellRefused(403, "forbidden", "not you")
        await scene.cell.until(lambda: scene.cell.calls >= 6)
        scene.cell.fault = None
        await scene.ready()

    play(act)


def test_the_heartbeat_says_what_runs() -> None:
    async def act(scene: Scene) -> None:
        await scene.ready()
        scene.start()
        await scene.cell.until(lambda: bool(scene.cell.beats[-1].running))
        running = scene.cell.beats[-1].running[0]
        assert (running.session_id, running.generation) == ("s-use1-abcdefgh12", 4)

    play(act)


def test_the_heartbeat_says_which_avatars_need_not_be_loaded() -> None:
    async def act(scene: Scene) -> None:
        await scene.ready()
        assert scene.cell.beats[-1].ready == ()
        scene.loaded = ("fox",)
        await scene.cell.until(lambda: scene.cell.beats[-1].ready == ("fox",))
        assert scene.cell.beats[-1].avatars == ("demo", "fox")

    play(act)


def test_it_sits_in_the_rooms_it_is_given_and_says_so() -> None:
    async def act(scene: Scene) -> None:
        await scene.ready()
        scene.cell.warm = (ROOM.model_copy(update={"room": "s-use1-warmwarm1"}),)
        await scene.cell.until(lambda: bool(scene.cell.beats[-1].warm))
        assert scene.cell.beats[-1].warm[0].session_id == "s-use1-warmwarm1"

        scene.cell.warm = ()
        await scene.cell.until(lambda: not scene.cell.beats[-1].warm)

    play(act)


def test_a_revoked_lease_is_left() -> None:
    async def act(scene: Scene) -> None:
        await scene.ready()
        ask = scene.start()
        scene.cell.revoked = (LeaseRef(session_id=ask.session_id, generation=4),)
        async with asyncio.timeout(10):
            await scene.sessions.empty()
        assert "ended" not in [event.type for event in scene.cell.events]

    play(act)


def test_an_older_revocation_does_not_touch_a_newer_lease() -> None:
    async def act(scene: Scene) -> None:
        await scene.ready()
        ask = scene.start()
        scene.sessions.revoke([LeaseRef(session_id=ask.session_id, generation=3)])
        assert scene.sessions.running()[0].state == "live"

    play(act)


def test_the_desired_state_is_obeyed_both_ways() -> None:
    async def act(scene: Scene) -> None:
        await scene.ready()
        scene.cell.desired = WorkerState.DRAINING
        await scene.cell.until(lambda: scene.cell.beats[-1].state == WorkerState.DRAINING)
        with pytest.raises(Refused, match="takes no new session"):
            scene.start()

        scene.cell.desired = WorkerState.READY
        await scene.cell.until(lambda: scene.cell.beats[-1].state == WorkerState.READY)
        scene.start()

    play(act)


def test_a_cell_that_is_away_costs_no_session() -> None:
    async def act(scene: Scene) -> None:
        await scene.ready()
        scene.start()
        calls = scene.cell.calls
        scene.cell.fault = CellUnreachable("away")
        await scene.cell.until(lambda: scene.cell.calls >= calls + 20)
        assert scene.sessions.running()[0].state == "live"

        scene.cell.fault = None
        beats = len(scene.cell.beats)
        await scene.cell.until(lambda: len(scene.cell.beats) > beats)
        await scene.cell.until(lambda: bool(scene.cell.events))
        assert scene.cell.events[0].type == "first_frame"

    play(act)


def test_a_first_frame_that_is_refused_ends_the_stream() -> None:
    async def act(scene: Scene) -> None:
        await scene.ready()
        scene.cell.fault = CellRefused(409, "stale-generation", "another holds it")
        scene.start()
        async with asyncio.timeout(10):
            await scene.sessions.empty()

    play(act)


def test_a_newer_instance_of_its_name_stops_it() -> None:
    async def run() -> None:
        scene = Scene()
        running = asyncio.create_task(scene.agent.run())
        await scene.ready()
        scene.cell.fault = CellRefused(409, "stale-registration", "a newer one")
        with pytest.raises(ExceptionGroup) as stopped:
            await running
        assert stopped.group_contains(Superseded)

    asyncio.run(run())


def test_a_cell_that_forgot_it_is_told_again_and_no_session_ends() -> None:
    async def act(scene: Scene) -> None:
        await scene.ready()
        scene.start()
        scene.cell.forgotten = True

        await scene.cell.until(lambda: len(scene.cell.registered) == 2)
        beats = len(scene.cell.beats)
        await scene.cell.until(lambda: len(scene.cell.beats) > beats)

        assert len({one.boot for one in scene.cell.registered}) == 1
        assert len(scene.cell.beats[-1].running) == 1

    play(act)


def test_leaving_drains_tells_and_deregisters() -> None:
    async def act(scene: Scene) -> None:
        await scene.ready()
        scene.start()

        await scene.agent.leave(0.0, asyncio.Event())

        assert scene.sessions.running() == ()
        told = [(event.type, event.reason) for event in scene.cell.events]
        assert ("failed", "The worker was stopped.") in told
        assert scene.cell.deregistered == [3]

    play(act)


def test_leaving_waits_for_the_sessions_that_end_by_themselves() -> None:
    async def act(scene: Scene) -> None:
        await scene.ready()
        ask = scene.start()
        leaving = asyncio.create_task(scene.agent.leave(10.0, asyncio.Event()))
        await scene.cell.until(lambda: scene.cell.beats[-1].state == WorkerState.DRAINING)
        scene.sessions.end(ask.session_id, 4, "The lesson ended.")
        await leaving
        assert "failed" not in [event.type for event in scene.cell.events]

    play(act)


def client(handler: Callable[[httpx.Request], httpx.Response]) -> CellClient:
    http = httpx.AsyncClient(transport=httpx.MockTransport(handler))
    urls = ("http://one.test", "http://two.test")
    return CellClient(urls, "us-east-1", http, Credentials("AKIDEXAMPLE", "secret"))


def test_calls_are_signed_and_go_to_the_next_address_when_one_is_away() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(502 if request.url.host == "one.test" else 204)

    asyncio.run(client(answer).deregister("w-1", 3))

    assert [request.url.host for request in seen] == ["one.test", "two.test"]
    assert seen[1].url.query == b"registration=3"
    assert "/us-east-1/execute-api/aws4_request" in seen[1].headers["authorization"]


def test_a_refusal_carries_its_problem() -> None:
    body = {"type": "urn:rapido:problem:stale-registration", "detail": "stop"}

    with pytest.raises(CellRefused) as refused:
        asyncio.run(client(lambda _: httpx.Response(409, json=body)).deregister("w-1", 3))

    assert (refused.value.status, refused.value.slug) == (409, "stale-registration")


def test_no_address_that_answers_is_unreachable() -> None:
    def away(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(CellUnreachable, match="ConnectError"):
        asyncio.run(client(away).deregister("w-1", 3))
