"""How an avatar is asked for: refusals, the queue, and what others left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from ops.cell.cell import Cell
from tests.integration.agents.parts import (
    Act,
    AgentAct,
    Learner,
    access,
    call,
    is_heard,
    start,
    still_open,
)

pytestmark = pytest.mark.alone


@contextmanager
def slot_taken(cell: Cell) -> Iterator[str]:
    """Another lesson's session has the only slot."""
    other = call(cell, "POST", "sessions", json={"lesson_id": "in the way"}).json()["session_id"]
    try:
        yield other
    finally:
        call(cell, "DELETE", f"sessions/{other}")


def test_a_refusal_names_status_type_and_detail_and_the_agent_keeps_its_voice(
    cell: Cell, play: Callable[[Act], None]
) -> None:
    async def act(agent: AgentAct, learner: Learner) -> None:
        await agent.do("begin")

        got = await agent.get_avatar(**access(cell), avatar="nobody")

        assert (got["status"], got["type"]) == (422, "invalid-request")
        assert "422 urn:rapido:problem:invalid-request: Correct avatar" in got["error"]
        assert "avatar: is none that a worker of this cell has; name one" in got["error"]
        await is_heard(agent, learner, agent.identity, "own voice")

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
        with slot_taken(cell):
            starting = asyncio.create_task(agent.get_avatar(**access(cell)))
            await agent.logged("place 1 in the queue")

        got = await starting
        await agent.do("begin")
        await is_heard(agent, learner, got["identity"], "at last")

    play(act)


def test_an_agent_gives_its_place_in_the_queue_up_after_its_time(
    cell: Cell, play: Callable[[Act], None]
) -> None:
    async def act(agent: AgentAct, learner: Learner) -> None:
        with slot_taken(cell) as other:
            got = await agent.get_avatar(**access(cell), queue_timeout_s=0.5)

            assert got["type"] == "queue-timeout"
            assert still_open(cell) == [other]

    play(act)


def test_an_avatar_that_is_closed_while_it_waits_leaves_no_session_behind(
    cell: Cell, play: Callable[[Act], None]
) -> None:
    async def act(agent: AgentAct, learner: Learner) -> None:
        with slot_taken(cell) as other:
            starting = asyncio.create_task(agent.get_avatar(**access(cell)))
            await agent.logged("place 1 in the queue")

            await agent.do("end_avatar")

            assert (await starting)["type"] == "avatar-failed"
            assert still_open(cell) == [other]

    play(act)


def test_what_an_earlier_agent_of_the_lesson_left_behind_is_replaced(
    cell: Cell, play: Callable[[Act], None]
) -> None:
    async def act(agent: AgentAct, learner: Learner) -> None:
        left = call(cell, "POST", "sessions", json={"lesson_id": agent.room}).json()

        got = await start(agent, cell)

        assert got["session_id"] != left["session_id"]
        assert still_open(cell) == [got["session_id"]]
        await is_heard(agent, learner, got["identity"], "mine")

    play(act)
