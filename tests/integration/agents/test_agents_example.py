"""The example as it is started by hand: LiveKit dispatches it into the learner's room."""

from __future__ import annotations

import asyncio
import os
import subprocess
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ops.cell.cell import Cell
from tests.integration.agents.parts import Learner, call
from tests.integration.agents.venv import PLUGIN
from tests.integration.worker_room import KEY, RATE_HZ, SECRET, tone

pytestmark = pytest.mark.alone


@contextmanager
def running_tutor(python: Path, environment: dict[str, str], log: Path) -> Iterator[None]:
    """The example's server, once LiveKit knows it."""
    argv = [str(python), str(PLUGIN / "examples" / "tutor.py"), "dev", "--no-reload"]
    with (
        log.open("w") as kept,
        subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        ) as server,
    ):
        assert server.stdout is not None
        try:
            for line in server.stdout:
                kept.write(line)
                if "registered worker" in line:
                    break
            assert server.poll() is None, log.read_text()
            yield
        finally:
            server.terminate()
            kept.write(server.communicate(timeout=20)[0])


def test_the_example_teaches_whoever_joins_and_ends_with_the_lesson(
    cell: Cell, python: Path, livekit_url: str, tmp_path: Path
) -> None:
    recording = tmp_path / "lesson.wav"
    with wave.open(str(recording), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(tone(2.0))
    environment = {
        **os.environ,
        "LIVEKIT_URL": livekit_url,
        "LIVEKIT_API_KEY": KEY,
        "LIVEKIT_API_SECRET": SECRET,
        "RAPIDO_URL": cell.url,
        "RAPIDO_KEY": cell.client_key,
        "LESSON_FILE": str(recording),
    }

    async def act() -> None:
        learner = await Learner.join(livekit_url, "lesson-7", "learner")
        await learner.until(lambda: bool(avatars(learner)), 30)
        (avatar,) = avatars(learner)
        await learner.until(lambda: learner.loud_s(avatar) > 1.0, 30)
        observer = await Learner.join(livekit_url, "lesson-7", "observer", watch=False)
        await learner.leave()
        await observer.until(lambda: avatar not in observer.room.remote_participants)
        await observer.leave()

    with running_tutor(python, environment, tmp_path / "tutor.log"):
        asyncio.run(act())

    (session,) = [one for one in sessions(cell) if one["lesson_id"] == "lesson-7"]
    assert session["status"] == "ended"
    assert session["reason"] == "Its client ended it."


def avatars(learner: Learner) -> list[str]:
    """Who is here on an agent's behalf."""
    here = learner.room.remote_participants.values()
    return [one.identity for one in here if "lk.publish_on_behalf" in one.attributes]


def sessions(cell: Cell) -> list[dict[str, str]]:
    """What the cell knows of, newest first."""
    found: list[dict[str, str]] = call(cell, "GET", "sessions").json()["sessions"]
    return found
