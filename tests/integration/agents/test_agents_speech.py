"""An agent speaks through its avatar."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from livekit import rtc

from ops.cell.cell import Cell
from tests.integration.agents.parts import (
    Act,
    AgentAct,
    Learner,
    start,
    state,
)

pytestmark = pytest.mark.alone

BRIGHT = 190


def test_the_avatar_speaks_for_the_agent(cell: Cell, play: Callable[[Act], None]) -> None:
    async def act(agent: AgentAct, learner: Learner) -> None:
        got = await start(agent, cell)

        await agent.do("say", name="hello", seconds=1.0)
        (finished,) = await agent.until("finished")
        await learner.until(lambda: learner.loud_s(got["identity"]) > 0.5)
        await learner.until(lambda: learner.pictures[-1].number < 0)

        assert finished["position"] == pytest.approx(1.0, abs=0.05)
        assert finished["interrupted"] is False
        # how many of the 25 come is up to the machine's load; those at the edges may show either
        said = [one.mouth > BRIGHT for one in learner.pictures if 2 <= one.number < 23]
        idle = [one.mouth > BRIGHT for one in learner.pictures if one.number < 0]
        assert sum(said) > 0.5 * len(said)
        assert sum(idle) < 0.1 * len(idle)
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

        events = [one["event"] for one in agent.lines if "event" in one]
        kinds = [one for one in events if one in ("started", "finished")]
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
        began = time.monotonic()
        await agent.do("say", name="long", seconds=20.0, pace=50)
        await learner.until(lambda: learner.loud_s(got["identity"]) > 1.0)

        await agent.do("interrupt")
        (finished,) = await agent.until("finished")
        await agent.until("said", name="long", interrupted=True)

        assert finished["interrupted"] is True
        assert 0.8 < finished["position"] < time.monotonic() - began
        assert learner.loud_s(got["identity"]) < finished["position"] + 0.5

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
