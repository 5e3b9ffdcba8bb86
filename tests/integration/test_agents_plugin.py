"""LiveKit Agents' own classes with our plugin, a whole cell, and a room of the agent's own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from livekit import rtc

from gpu_node.session import AvatarStream, Limits
from ops.cell.cell import Cell
from tests.integration.agents_parts import AgentAct, Driver, Learner
from tests.integration.agents_venv import agents_python
from tests.integration.worker_room import make_studio, running_livekit, start_stream, token

BRIGHT = 190
Act = Callable[[AgentAct, Learner], Awaitable[None]]


@pytest.fixture(scope="module")
def livekit_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The agent's LiveKit server; the cell has another one."""
    with running_livekit(tmp_path_factory.mktemp("livekit") / "server.log") as url:
        yield url


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cell]:
    """One worker with one slot: a session that is left behind is in the next one's way."""
    with Cell(
        workers=1,
        state_dir=tmp_path_factory.mktemp("cell"),
        worker_module="tests.integration.loudness_worker",
        worker_env={"RAPIDO_SLOTS": "1"},
    ) as running:
        yield running


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    log = tmp_path_factory.mktemp("agents") / "driver.log"
    running = Driver(agents_python(), log)
    try:
        yield running
    finally:
        running.stop()
        print(log.read_text())  # shown where a test failed


@pytest.fixture
def play(
    livekit_url: str, driver: Driver, request: pytest.FixtureRequest
) -> Callable[[Act], None]:
    """Plays the act with an agent and a learner in a room named after the test."""
    name = request.node.name.removeprefix("test_").replace("[", "-").rstrip("]")

    async def run(act: Act) -> None:
        agent = AgentAct(driver, livekit_url, name)
        learner = await Learner.join(livekit_url, name, "learner")
        try:
            await agent.join()
            await act(agent, learner)
        finally:
            await agent.ask("end_avatar")
            await agent.ask("end_session")
            await agent.ask("leave")
            await learner.leave()

    return lambda act: asyncio.run(run(act))


def access(cell: Cell) -> dict[str, str]:
    return {"api_url": cell.url, "api_key": cell.client_key}


def call(cell: Cell, method: str, path: str, **more: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {cell.client_key}"}
    return httpx.request(method, f"{cell.url}/api/v1/{path}", headers=headers, **more)


def state(cell: Cell, session_id: str) -> dict[str, Any]:
    found: dict[str, Any] = call(cell, "GET", f"sessions/{session_id}").json()
    return found


def still_open(cell: Cell) -> list[str]:
    """Ids of the sessions that are not over."""
    sessions = call(cell, "GET", "sessions").json()["sessions"]
    return [one["session_id"] for one in sessions if one["status"] not in ("ended", "failed")]


async def until_queued(cell: Cell) -> None:
    """Returns when a session waits in the cell's queue."""
    async with asyncio.timeout(10):
        while not call(cell, "GET", "sessions?status=queued").json()["sessions"]:
            await asyncio.sleep(0.1)


@asynccontextmanager
async def standing_in(url: str, agent: AgentAct, identity: str) -> AsyncIterator[None]:
    """A successor plays the avatar: same room, same identity."""
    studio = make_studio(Limits())
    ask = start_stream(url, agent.room, agent=agent.identity)
    made = token(identity, agent.room, kind="agent")
    room = ask.room.model_copy(update={"token": made})
    stream = AvatarStream(ask.model_copy(update={"room": room}), studio, lambda: None)
    running = asyncio.create_task(stream.run())
    try:
        yield
    finally:
        stream.stop("the act is over")
        await asyncio.wait({running}, timeout=10)
        studio.inference.close()


async def start(agent: AgentAct, cell: Cell, **options: Any) -> dict[str, Any]:
    """The usual order of LiveKit's examples: the avatar, then the session."""
    got = await agent.get_avatar(**access(cell), **options)
    assert "error" not in got, got["error"]
    await agent.do("begin")
    return got


def test_the_avatar_speaks_for_the_agent(cell: Cell, play: Callable[[Act], None]) -> None:
    async def act(agent: AgentAct, learner: Learner) -> None:
        got = await start(agent, cell)

        await agent.do("say", name="hello", seconds=1.0)
        (finished,) = await agent.until("finished")
        await learner.until(lambda: learner.loud_s(got["identity"]) > 0.8)

        assert finished["position"] == pytest.approx(1.0, abs=0.05)
        assert finished["interrupted"] is False
        assert sum(one.mouth > BRIGHT for one in learner.pictures) >= 15
        assert learner.loud_s(agent.identity) == 0.0
        avatar = learner.room.remote_participants[got["identity"]]
        assert avatar.kind == rtc.ParticipantKind.PARTICIPANT_KIND_AGENT
        assert avatar.attributes["lk.publish_on_behalf"] == agent.identity
        assert state(cell, got["session_id"])["status"] == "live"
        assert state(cell, got["session_id"])["lesson_id"] == agent.room

    play(act)


def test_segments_are_heard_in_order_each_with_its_start_and_end(
    cell: Cell, play: Callable[[Act], None]
) -> None:
    async def act(agent: AgentAct, learner: Learner) -> None:
        await start(agent, cell)

        for name, seconds in (("one", 0.6), ("two", 0.3), ("three", 0.9)):
            await agent.do("say", name=name, seconds=seconds)
        await agent.until("said", name="three", interrupted=False)

        kinds = [one["event"] for one in agent.events if one["event"] != "said"]
        assert kinds == ["started", "finished"] * 3
        ends = await agent.until("finished", 3)
        assert [one["position"] for one in ends] == pytest.approx([0.6, 0.3, 0.9], abs=0.05)
        assert not any(one["interrupted"] for one in ends)

    play(act)


def test_an_interruption_says_how_much_was_heard_and_the_next_segment_plays(
    cell: Cell, play: Callable[[Act], None]
) -> None:
    async def act(agent: AgentAct, learner: Learner) -> None:
        got = await start(agent, cell)
        await agent.do("say", name="long", seconds=20.0, pace=50)
        (started,) = await agent.until("started")
        await learner.until(lambda: learner.loud_s(got["identity"]) > 1.0)

        interrupted_at = time.monotonic()
        await agent.do("interrupt")
        (finished,) = await agent.until("finished")
        await agent.until("said", name="long", interrupted=True)

        assert finished["interrupted"] is True
        assert finished["position"] == pytest.approx(interrupted_at - started["at"], abs=0.3)
        heard_s = learner.loud_s(got["identity"])
        assert heard_s == pytest.approx(finished["position"], abs=0.5)

        await agent.do("say", name="next", seconds=0.5)
        _, again = await agent.until("finished", 2)
        assert again["interrupted"] is False
        assert again["position"] == pytest.approx(0.5, abs=0.05)

    play(act)


@pytest.mark.parametrize("how", ["end_avatar", "end_session", "leave"])
def test_the_session_ends_when_the_agent_is_done(
    cell: Cell, play: Callable[[Act], None], how: str
) -> None:
    async def act(agent: AgentAct, learner: Learner) -> None:
        got = await start(agent, cell)

        await agent.do(how)
        await learner.until(lambda: got["identity"] not in learner.room.remote_participants)

        assert state(cell, got["session_id"])["status"] == "ended"
        assert state(cell, got["session_id"])["reason"] == "Its client ended it."

    play(act)


def test_an_agent_whose_avatar_dies_speaks_with_its_own_voice(
    cell: Cell, play: Callable[[Act], None]
) -> None:
    async def act(agent: AgentAct, learner: Learner) -> None:
        got = await start(agent, cell)
        await agent.do("say", name="cut off", seconds=20.0, pace=50)
        await learner.until(lambda: learner.loud_s(got["identity"]) > 0.5)

        worker = state(cell, got["session_id"])["worker_id"]
        cell.kill(worker)
        died_at = time.monotonic()
        cell.add_worker()
        (lost,) = await agent.until("lost")
        (cut,) = await agent.until("said", name="cut off")
        (finished,) = await agent.until("finished")

        assert lost["at"] - died_at < 10.0  # LiveKit itself would take twenty
        assert cut["interrupted"] is True
        assert finished["interrupted"] is True
        await agent.do("say", name="own voice", seconds=1.0)
        await learner.until(lambda: learner.loud_s(agent.identity) > 0.8)
        await agent.until("said", name="own voice", interrupted=False)
        _, own = await agent.until("finished", 2)
        assert own["position"] == pytest.approx(1.0, abs=0.05)

    play(act)


def test_an_avatar_that_comes_back_speaks_for_the_agent_again(
    cell: Cell, play: Callable[[Act], None], livekit_url: str
) -> None:
    async def act(agent: AgentAct, learner: Learner) -> None:
        got = await start(agent, cell)
        cell.kill(state(cell, got["session_id"])["worker_id"])
        cell.add_worker()
        await agent.until("lost")

        async with standing_in(livekit_url, agent, got["identity"]):
            await agent.until("returned")
            began = time.monotonic()
            await agent.do("say", name="hello again", seconds=0.5)
            await agent.until("said", name="hello again", interrupted=False)
            await learner.until(lambda: learner.loud_s(got["identity"], began) > 0.3)
            assert learner.loud_s(agent.identity) == 0.0

    play(act)


def test_an_agent_whose_session_is_ended_elsewhere_gets_the_rooms_own_track_back(
    cell: Cell, play: Callable[[Act], None]
) -> None:
    async def act(agent: AgentAct, learner: Learner) -> None:
        await agent.do("begin")
        got = await agent.get_avatar(**access(cell))
        await agent.do("say", name="through the avatar", seconds=0.5)
        await agent.until("said", name="through the avatar", interrupted=False)
        assert learner.loud_s(agent.identity) == 0.0

        call(cell, "DELETE", f"sessions/{got['session_id']}")
        await agent.until("lost", why="it left the room")
        await agent.do("say", name="own voice", seconds=0.5)
        await agent.until("said", name="own voice", interrupted=False)
        await learner.until(lambda: learner.loud_s(agent.identity) > 0.3)

    play(act)


def test_a_refusal_names_status_type_and_detail_and_the_agent_keeps_its_voice(
    cell: Cell, play: Callable[[Act], None]
) -> None:
    async def act(agent: AgentAct, learner: Learner) -> None:
        await agent.do("begin")

        got = await agent.get_avatar(**access(cell), avatar="nobody")

        assert (got["status"], got["type"]) == (422, "invalid-request")
        assert "422 urn:rapido:problem:invalid-request: Correct avatar" in got["error"]
        assert "avatar: is none that a worker of this cell has; name one" in got["error"]
        await agent.do("say", name="own voice", seconds=0.5)
        await agent.until("said", name="own voice", interrupted=False)
        await learner.until(lambda: learner.loud_s(agent.identity) > 0.3)

    play(act)


def test_a_wrong_key_is_told_as_such(cell: Cell, play: Callable[[Act], None]) -> None:
    async def act(agent: AgentAct, learner: Learner) -> None:
        got = await agent.get_avatar(api_url=cell.url, api_key="rk_wrong")
        assert (got["status"], got["type"]) == (401, "unauthorized")

    play(act)


def test_a_cell_that_is_not_there_is_told_as_such(play: Callable[[Act], None]) -> None:
    async def act(agent: AgentAct, learner: Learner) -> None:
        nowhere = {"api_url": "http://127.0.0.1:9", "api_key": "rk_any"}
        got = await agent.get_avatar(**nowhere, start_timeout_s=0.0)
        assert (got["status"], got["type"]) == (None, "unreachable")
        assert "check api_url" in got["detail"]

    play(act)


def test_an_avatar_that_cannot_join_leaves_no_session_behind(
    cell: Cell, play: Callable[[Act], None]
) -> None:
    async def act(agent: AgentAct, learner: Learner) -> None:
        away = "ws://127.0.0.1:9"
        got = await agent.get_avatar(**access(cell), livekit_url=away, start_timeout_s=3.0)

        assert got["type"] in ("start-timeout", "avatar-failed")
        assert still_open(cell) == []

    play(act)


def test_an_agent_waits_in_the_queue_for_its_avatar(
    cell: Cell, play: Callable[[Act], None]
) -> None:
    async def act(agent: AgentAct, learner: Learner) -> None:
        other = call(cell, "POST", "sessions", json={"lesson_id": "in the way"}).json()
        starting = asyncio.create_task(agent.get_avatar(**access(cell)))
        await until_queued(cell)

        call(cell, "DELETE", f"sessions/{other['session_id']}")
        got = await starting
        await agent.do("begin")
        await agent.do("say", name="at last", seconds=0.5)
        await agent.until("said", name="at last", interrupted=False)
        await learner.until(lambda: learner.loud_s(got["identity"]) > 0.3)

    play(act)


def test_an_agent_gives_its_place_in_the_queue_up_after_its_time(
    cell: Cell, play: Callable[[Act], None]
) -> None:
    async def act(agent: AgentAct, learner: Learner) -> None:
        other = call(cell, "POST", "sessions", json={"lesson_id": "in the way"}).json()

        got = await agent.get_avatar(**access(cell), queue_timeout_s=0.5)

        assert got["type"] == "queue-timeout"
        assert still_open(cell) == [other["session_id"]]
        call(cell, "DELETE", f"sessions/{other['session_id']}")

    play(act)


def test_what_an_earlier_agent_of_the_lesson_left_behind_is_replaced(
    cell: Cell, play: Callable[[Act], None]
) -> None:
    async def act(agent: AgentAct, learner: Learner) -> None:
        left = call(cell, "POST", "sessions", json={"lesson_id": agent.room}).json()

        got = await start(agent, cell)

        assert got["session_id"] != left["session_id"]
        assert still_open(cell) == [got["session_id"]]
        await agent.do("say", name="mine", seconds=0.5)
        await agent.until("said", name="mine", interrupted=False)
        await learner.until(lambda: learner.loud_s(got["identity"]) > 0.3)

    play(act)
