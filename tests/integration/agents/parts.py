"""An agent in a process of its own, and a learner who knows whom it hears."""

from __future__ import annotations

import asyncio
import json
import queue
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from livekit import rtc

from ops.cell.cell import Cell
from ops.cell.files import ROOT
from tests.integration.worker_room import KEY, LOUD, SECRET, Guest, Heard, token

_ANSWER_S = 40.0


class Driver:
    """The process that runs ``driver``; lessons take turns in it."""

    def __init__(self, python: Path, log: Path) -> None:
        self._path = log
        self._log = log.open("wb")
        self._process = subprocess.Popen(
            [str(python), str(ROOT / "tests" / "integration" / "agents" / "driver.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            bufsize=1,
        )
        self.lines: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def send(self, **command: Any) -> None:
        """One command."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()

    def tail(self) -> str:
        """What it logged last."""
        return self._path.read_text()[-3000:]

    def stop(self) -> None:
        """Lets it go."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._log.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.put(json.loads(line))
        self.lines.put(None)


@dataclass
class AgentAct:
    """One agent of the driver, in one room of a LiveKit server of its own."""

    driver: Driver
    url: str
    room: str
    lines: list[dict[str, Any]] = field(default_factory=list)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def identity(self) -> str:
        """As LiveKit names the agents it dispatches."""
        return f"agent-{self.room}"

    async def join(self) -> None:
        """The agent joins its room."""
        made = token(self.identity, self.room, kind="agent")
        await self.do("join", url=self.url, token=made)

    async def get_avatar(self, *, livekit_url: str = "", **options: Any) -> dict[str, Any]:
        """Starts the avatar; what the driver answers, refusals included."""
        room = {
            "livekit_url": livekit_url or self.url,
            "livekit_api_key": KEY,
            "livekit_api_secret": SECRET,
        }
        return await self.ask("get_avatar", room=room, options=options)

    async def do(self, do: str, **words: Any) -> dict[str, Any]:
        """The answer to a command that must go well."""
        answer = await self.ask(do, **words)
        assert "error" not in answer, answer["error"]
        return answer

    async def ask(self, do: str, **words: Any) -> dict[str, Any]:
        """The answer to a command."""
        known = len(self.lines)
        self.driver.send(lesson=self.room, do=do, **words)
        return (await self._until(lambda: self._with(self.lines[known:], done=do), 1))[0]

    async def until(self, event: str, count: int = 1, **words: Any) -> list[dict[str, Any]]:
        """The events of that name so far, once there are so many (with those words)."""
        return await self._until(lambda: self._with(self.lines, event=event, **words), count)

    async def logged(self, words: str) -> None:
        """Returns when the plugin has logged a line with those words in it."""
        await self._until(lambda: [one for one in self.lines if words in one.get("log", "")], 1)

    @staticmethod
    def _with(lines: list[dict[str, Any]], **words: Any) -> list[dict[str, Any]]:
        return [one for one in lines if words.items() <= one.items()]

    async def _until(
        self, found: Callable[[], list[dict[str, Any]]], count: int
    ) -> list[dict[str, Any]]:
        """What is looked for, once there is so much of it; several may wait at once."""
        while len(found()) < count:
            async with self._turn:
                if len(found()) < count:
                    self.lines.append(await self._next())
        return found()

    async def _next(self) -> dict[str, Any]:
        try:
            line = await asyncio.to_thread(self.driver.lines.get, True, _ANSWER_S)
        except queue.Empty:
            said = f"nothing for {_ANSWER_S:g} s after {self.lines}: {self.driver.tail()}"
            raise AssertionError(said) from None
        assert line is not None, f"the driver ended: {self.driver.tail()}"
        return line


@dataclass
class Learner(Guest):
    """A guest that keeps what it hears by who is heard."""

    heard: dict[str, list[Heard]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.room.on("participant_disconnected", self._on_left)

    def _on_left(self, _: rtc.RemoteParticipant) -> None:
        self._tasks.append(asyncio.create_task(self._tell()))

    def _on_track(self, track: rtc.Track, *about: Any) -> None:
        if track.kind != rtc.TrackKind.KIND_AUDIO:
            super()._on_track(track, *about)
            return
        identity = about[1].identity
        self._tasks.append(asyncio.create_task(self._hear(track, identity)))

    async def _hear(self, track: rtc.Track, identity: str) -> None:
        stream = rtc.AudioStream(track, sample_rate=48_000, num_channels=1)
        self._streams.append(stream)
        async for event in stream:
            samples = np.frombuffer(event.frame.data, np.int16)
            level = float(np.abs(samples.astype(np.int32)).max()) / 32768
            self.heard.setdefault(identity, []).append(Heard(time.monotonic(), level))
            await self._tell()

    def loud_s(self, identity: str, since: float = 0.0) -> float:
        """Seconds of sound from that participant."""
        heard = self.heard.get(identity, ())
        return sum(one.level > LOUD and one.at > since for one in heard) / 100


Act = Callable[[AgentAct, Learner], Awaitable[None]]


def access(cell: Cell) -> dict[str, str]:
    """What a client of the cell needs."""
    return {"api_url": cell.url, "api_key": cell.client_key}


def call(cell: Cell, method: str, path: str, **more: Any) -> httpx.Response:
    """One call to the cell's API."""
    headers = {"Authorization": f"Bearer {cell.client_key}"}
    return httpx.request(method, f"{cell.url}/api/v1/{path}", headers=headers, **more)


def state(cell: Cell, session_id: str) -> dict[str, Any]:
    """A session, as the cell tells it."""
    found: dict[str, Any] = call(cell, "GET", f"sessions/{session_id}").json()
    return found


def still_open(cell: Cell) -> list[str]:
    """Ids of the sessions that are not over."""
    sessions = call(cell, "GET", "sessions").json()["sessions"]
    return [one["session_id"] for one in sessions if one["status"] not in ("ended", "failed")]


async def is_heard(agent: AgentAct, learner: Learner, identity: str, name: str) -> None:
    """The agent says half a second, and the learner hears it from ``identity``."""
    began = time.monotonic()
    await agent.do("say", name=name, seconds=0.5)
    await agent.until("said", name=name, interrupted=False)
    await learner.until(lambda: learner.loud_s(identity, began) > 0.3)


async def start(agent: AgentAct, cell: Cell, **options: Any) -> dict[str, Any]:
    """The usual order of LiveKit's examples: the avatar, then the session."""
    got = await agent.get_avatar(**access(cell), **options)
    assert "error" not in got, got["error"]
    await agent.do("begin")
    return got
