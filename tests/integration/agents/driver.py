"""A LiveKit agent on a leash: JSON commands in, a line each, and what happens to it out.

Run by the python of ``venv``: it alone has livekit-agents, with our plugin.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
from livekit import rtc
from livekit.agents import Agent, AgentSession
from livekit.agents.voice.io import AudioOutput, PlaybackFinishedEvent
from livekit.plugins import rapido

RATE_HZ = 24_000
FRAME = RATE_HZ // 50


def tell(**words: Any) -> None:
    """One line out; ``at`` is the moment, in seconds of the machine's clock."""
    sys.stdout.write(json.dumps({"at": time.monotonic(), **words}) + "\n")
    sys.stdout.flush()


async def tone(seconds: float, pace: float) -> AsyncIterator[rtc.AudioFrame]:
    """20 ms a frame, ``pace`` times as fast as life."""
    at = np.arange(FRAME)
    for number in range(round(seconds * 50)):
        wave = np.sin(2 * np.pi * 440 * (at + number * FRAME) / RATE_HZ) * 16_000
        yield rtc.AudioFrame(wave.astype(np.int16).tobytes(), RATE_HZ, 1, FRAME)
        await asyncio.sleep(0.02 / pace)


class Told(logging.Handler):
    """What the plugin logs is a line out as well."""

    def emit(self, record: logging.LogRecord) -> None:
        """One line."""
        tell(log=record.getMessage(), level=record.levelname)


class Lesson:
    """One agent in one room."""

    def __init__(self) -> None:
        self.room = rtc.Room()
        self.session: AgentSession[Any] = AgentSession(turn_handling={"turn_detection": "manual"})
        self.avatar: rapido.AvatarSession | None = None
        self._ears: set[AudioOutput] = set()
        self._kept: set[asyncio.Task[None]] = set()

    async def join(self, url: str, token: str) -> dict[str, Any]:
        """Joins the room as LiveKit's dispatch would let it."""
        await self.room.connect(url, token)
        return {}

    async def begin(self) -> dict[str, Any]:
        """Starts the agent's session."""
        await self.session.start(Agent(instructions="tutor"), room=self.room)
        return {}

    async def get_avatar(self, room: dict[str, str], options: dict[str, Any]) -> dict[str, Any]:
        """Starts the avatar."""
        self.avatar = rapido.AvatarSession(**options)
        self.avatar.on("avatar_lost", lambda why: tell(event="lost", why=why))
        self.avatar.on("avatar_returned", lambda: tell(event="returned"))
        await self.avatar.start(self.session, self.room, **room)
        return {"identity": self.avatar.avatar_identity, "session_id": self.avatar.session_id}

    async def say(self, name: str, seconds: float, pace: float = 8.0) -> dict[str, Any]:
        """Says a tone; an event tells when it is over."""
        self._listen()
        handle = self.session.say(name, audio=tone(seconds, pace))

        async def over() -> None:
            await handle.wait_for_playout()
            tell(event="said", name=name, interrupted=handle.interrupted)

        self._kept.add(asyncio.create_task(over()))
        return {}

    async def interrupt(self) -> dict[str, Any]:
        """As a learner who begins to speak."""
        await self.session.interrupt()
        return {}

    async def end_avatar(self) -> dict[str, Any]:
        """Only the avatar goes."""
        assert self.avatar is not None
        await self.avatar.aclose()
        return {}

    async def end_session(self) -> dict[str, Any]:
        """The agent's session closes."""
        await self.session.aclose()
        return {}

    async def leave(self) -> dict[str, Any]:
        """The agent leaves the room."""
        await self.room.disconnect()
        return {}

    def _listen(self) -> None:
        """To the very output that AgentSession waits for."""
        output = self.session.output.audio
        if output is None or output in self._ears:
            return
        self._ears.add(output)

        def finished(event: PlaybackFinishedEvent) -> None:
            tell(event="finished", position=event.playback_position, interrupted=event.interrupted)

        output.on("playback_started", lambda _: tell(event="started"))
        output.on("playback_finished", finished)


async def main() -> None:
    """Obeys until the input ends."""
    lessons: dict[str, Lesson] = {}
    loop = asyncio.get_running_loop()
    lines: asyncio.StreamReader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    tell(event="ready")
    obeying: set[asyncio.Task[None]] = set()
    while line := await lines.readline():
        command = json.loads(line)
        lesson = lessons.setdefault(command.pop("lesson"), Lesson())
        obeying.add(asyncio.create_task(obey(lesson, **command)))


async def obey(lesson: Lesson, do: str, **words: Any) -> None:
    """One command, and what came of it."""
    try:
        tell(done=do, **await getattr(lesson, do)(**words))
    except rapido.RapidoError as error:
        said = {"status": error.status, "type": error.type, "detail": error.detail}
        tell(done=do, error=str(error), **said)
    except Exception as error:
        logging.exception("%s failed", do)
        tell(done=do, error=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("livekit.plugins.rapido").addHandler(Told())
    asyncio.run(main())
