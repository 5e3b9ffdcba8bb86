"""LiveKit Agents' own classes with our plugin, a whole cell, and a room of the agent's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from livekit import api

from ops.cell.cell import Cell
from tests.integration.agents.parts import Act, AgentAct, Driver, Learner
from tests.integration.agents.venv import agents_python
from tests.integration.worker_room import KEY, SECRET, running_livekit


@pytest.fixture(scope="package")
def livekit_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The agent's LiveKit server; the cell has another one."""
    with running_livekit(tmp_path_factory.mktemp("livekit") / "server.log") as url:
        yield url


@pytest.fixture(scope="package")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cell]:
    """One worker with one slot: a session that is left behind is in the next one's way."""
    with Cell(
        workers=1,
        state_dir=tmp_path_factory.mktemp("cell"),
        worker_module="tests.integration.agents.loudness_worker",
        worker_env={"RAPIDO_SLOTS": "1"},
    ) as running:
        yield running


@pytest.fixture(scope="package")
def python() -> Path:
    """The one that has LiveKit Agents and the plugin."""
    return agents_python()


@pytest.fixture(scope="package")
def driver(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    """A process that runs agents."""
    running = Driver(python, tmp_path_factory.mktemp("agents") / "driver.log")
    try:
        yield running
    finally:
        running.stop()


async def close_room(url: str, name: str) -> None:
    """LiveKit would keep a participant that was killed for twenty seconds, and so its server."""
    async with api.LiveKitAPI(url.replace("ws://", "http://"), KEY, SECRET) as server:
        await server.room.delete_room(api.DeleteRoomRequest(room=name))


@pytest.fixture
def play(livekit_url: str, driver: Driver, request: pytest.FixtureRequest) -> Callable[[Act], None]:
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
            await close_room(livekit_url, name)

    return lambda act: asyncio.run(run(act))
