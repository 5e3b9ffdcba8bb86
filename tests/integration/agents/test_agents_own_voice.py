"""An agent whose avatar is gone speaks with its own voice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from control.contracts.worker import RoomAccess
from gpu_node.session import AvatarStream, Limits
from ops.cell.cell import Cell
from tests.integration.agents.parts import (
    Act,
    AgentAct,
    Learner,
    access,
    call,
    is_heard,
    start,
    state,
)
from tests.integration.worker_room import make_studio, start_stream, token

pytestmark = pytest.mark.alone


@asynccontextmanager
async def standing_in(url: str, agent: AgentAct, identity: str) -> AsyncIterator[None]:
    """A successor plays the avatar: same room, same identity."""
    studio = make_studio(Limits())
    ask = start_stream(url, "successor", agent=agent.identity)
    made = token(identity, agent.room, kind="agent")
    room = RoomAccess(url=url, room=agent.room, token=made)
    stream = AvatarStream(ask.model_copy(update={"room": room}), studio, lambda: None)
    running = asyncio.create_task(stream.run())
    try:
        yield
    finally:
        stream.stop("the act is over")
        await asyncio.wait({running}, timeout=10)
        studio.inference.close()


def test_an_agent_whose_avatar_dies_speaks_with_its_own_voice(
    cell: Cell, play: Callable[[Act], None]
) -> None:
    async def act(agent: AgentAct, learner: Learner) -> None:
        got = await start(agent, cell)
        began = time.monotonic()
        await agent.do("say", name="cut off", seconds=20.0, pace=50)
        await learner.until(lambda: learner.loud_s(got["identity"]) > 0.5)

        worker = state(cell, got["session_id"])["worker_id"]
        cell.kill(worker)
        died_at = time.monotonic()
        adding = asyncio.create_task(asyncio.to_thread(cell.add_worker))
        await agent.until("lost", why="it did not answer for 4 s")  # LiveKit would take twenty
        (cut,) = await agent.until("said", name="cut off")
        (finished,) = await agent.until("finished")

        assert cut["interrupted"] is True
        assert finished["interrupted"] is True
        assert 0.0 <= finished["position"] < died_at - began
        await agent.do("say", name="own voice", seconds=1.0)
        await learner.until(lambda: learner.loud_s(agent.identity) > 0.5)
        await agent.until("said", name="own voice", interrupted=False)
        _, own = await agent.until("finished", 2)
        assert own["position"] == pytest.approx(1.0, abs=0.05)
        await adding

    play(act)


def test_an_avatar_that_comes_back_speaks_for_the_agent_again(
    cell: Cell, play: Callable[[Act], None], livekit_url: str
) -> None:
    async def act(agent: AgentAct, learner: Learner) -> None:
        got = await start(agent, cell)
        cell.kill(state(cell, got["session_id"])["worker_id"])
        adding = asyncio.create_task(asyncio.to_thread(cell.add_worker))
        await agent.until("lost")

        async with standing_in(livekit_url, agent, got["identity"]):
            await agent.until("returned")
            await is_heard(agent, learner, got["identity"], "hello again")
            assert learner.loud_s(agent.identity) == 0.0
        await adding

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
        await is_heard(agent, learner, agent.identity, "own voice")

    play(act)
