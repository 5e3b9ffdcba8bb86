"""The headline load's clients: they ask, wait, join, leave, ask again, and tell what they got."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from control.domain.geography import REGIONS

ASK_TIMEOUT_S = 12.0
PATIENCE_S = 30.0
"""A client that got no answer that makes sense for so long was told nothing."""
_TICKET_EVERY_S = 12.0
_LESSON_LOOK_EVERY_S = 15.0
_STARTING_EVERY_S = 1.0
_RETRY_S = 1.0


@dataclass(frozen=True)
class Plan:
    """One process' share. Times are ``time.monotonic()``, durations seconds."""

    edge_url: str
    key: str
    clients: int
    ends: float
    ramp_s: float
    lesson_s: tuple[float, float]
    regions: tuple[str, ...]
    seed: int


@dataclass
class Told:
    """What became of the lessons, and what was heard on the way."""

    served: int = 0
    """Lessons that were live."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Lessons that failed or ended otherwise, by the reason told."""
    waiting: int = 0
    """Had a place in the queue, or were starting, when time was up."""
    untold: list[str] = field(default_factory=list)
    """Lessons of which nobody could say what became of them, and what was heard last."""
    answers_s: list[float] = field(default_factory=list)
    """Of sessions that were asked for once all had come."""
    refused: Counter[str] = field(default_factory=Counter)
    """Answers after which the same was asked again."""

    def add(self, other: Told) -> None:
        """Sums."""
        self.served += other.served
        self.reasons += other.reasons
        self.waiting += other.waiting
        self.untold += other.untold
        self.answers_s += other.answers_s
        self.refused += other.refused


class _TimeIsUp(Exception):
    """The bench ends."""


class _Untold(Exception):
    """No answer that makes sense came for PATIENCE_S."""


def run(plan: Plan) -> Told:
    """All clients of this process, until the time is up."""
    return asyncio.run(_run(plan))


async def _run(plan: Plan) -> Told:
    told = Told()
    limits = httpx.Limits(max_connections=64, max_keepalive_connections=64)
    headers = {"Authorization": f"Bearer {plan.key}"}
    async with httpx.AsyncClient(
        base_url=plan.edge_url, headers=headers, timeout=ASK_TIMEOUT_S, limits=limits
    ) as http:
        clients = (_Client(plan, number, http, told) for number in range(plan.clients))
        await asyncio.gather(*(client.live() for client in clients))
    return told


class _Client:
    def __init__(self, plan: Plan, number: int, http: httpx.AsyncClient, told: Told) -> None:
        self._plan = plan
        self._name = f"learner-{plan.seed}-{number}"
        self._chance = random.Random(f"{plan.seed} {number}")  # noqa: S311 - no secret
        region = REGIONS[self._chance.choice(plan.regions)]
        self._near = {
            "CloudFront-Viewer-Latitude": str(region.latitude),
            "CloudFront-Viewer-Longitude": str(region.longitude),
        }
        self._http = http
        self._told = told
        self._all_came = time.monotonic() + 2 * plan.ramp_s

    async def live(self) -> None:
        """One lesson after the other."""
        try:
            await self._sleep(self._chance.uniform(0.0, self._plan.ramp_s))
            for turn in range(1_000_000):
                await self._lesson(f"{self._name}-{turn}")
                await self._sleep(self._chance.uniform(0.5, 2.0))
        except _TimeIsUp:
            return

    async def _lesson(self, lesson: str) -> None:
        session_id = ""
        try:
            session_id, placed = await self._ask(lesson)
            found = await self._until_live(session_id, placed)
            if found["status"] == "live":
                self._told.served += 1
                found = await self._learn(session_id)
            if found["status"] == "live":
                await self._leave(session_id)
            else:
                self._tell_end(lesson, found)
        except _Untold as heard:
            self._told.untold.append(f"{lesson} {session_id}: {heard}")
        except _TimeIsUp:
            if session_id:
                self._told.waiting += 1
                await self._leave(session_id)
            raise

    def _tell_end(self, lesson: str, found: dict[str, Any]) -> None:
        reason = str(found.get("reason") or "")
        if reason:
            self._told.reasons[reason] += 1
        else:
            self._told.untold.append(f"{lesson}: {found['status']} without a reason")

    async def _ask(self, lesson: str) -> tuple[str, bool]:
        """The session and whether it got a slot at once."""
        body = {"lesson_id": lesson}
        async for answer in self._tries("POST", "/api/v1/sessions", body):
            said = answer.json()
            if answer.status_code == 202:
                return str(said["ticket"]), False
            if answer.status_code in (200, 201):
                return str(said["session_id"]), True
        raise _TimeIsUp

    async def _until_live(self, session_id: str, placed: bool) -> dict[str, Any]:
        """The session once it is live or over."""
        if placed:
            await self._sleep(_STARTING_EVERY_S)
        while not placed:
            answer = await self._look(f"/api/v1/queue/{session_id}")
            placed = answer.status_code != 200
            if not placed:
                await self._sleep(_TICKET_EVERY_S * self._chance.uniform(0.8, 1.2))
        while (found := await self._show(session_id))["status"] not in ("live", "ended", "failed"):
            await self._sleep(_STARTING_EVERY_S)
        return found

    async def _learn(self, session_id: str) -> dict[str, Any]:
        """Stays for a lesson; the session as it was when it was over or to be left."""
        ends = time.monotonic() + self._chance.uniform(*self._plan.lesson_s)
        while True:
            left_s = ends - time.monotonic()
            await self._sleep(min(max(0.0, left_s), _LESSON_LOOK_EVERY_S))
            found = await self._show(session_id)
            if found["status"] != "live" or left_s <= _LESSON_LOOK_EVERY_S:
                return found

    async def _leave(self, session_id: str) -> None:
        async for answer in self._tries("DELETE", f"/api/v1/sessions/{session_id}", late=True):
            if answer.status_code in (204, 404):
                return

    async def _show(self, session_id: str) -> dict[str, Any]:
        answer = await self._look(f"/api/v1/sessions/{session_id}")
        return dict(answer.json())

    async def _look(self, path: str) -> httpx.Response:
        async for answer in self._tries("GET", path):
            if answer.status_code in (200, 303):
                return answer
            if answer.status_code == 404:
                raise _Untold("404, nobody knows it")
        raise _TimeIsUp

    async def _tries(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, late: bool = False
    ) -> AsyncIterator[httpx.Response]:
        """Answers, one a try, until the caller has one that it takes; raises _Untold.

        A refusal that says when to come again is an answer; ``late``: after the time is up as well.
        """
        heard, since = "nothing", time.monotonic()
        while late or time.monotonic() < self._plan.ends:
            pause_s = _RETRY_S
            try:
                began = time.monotonic()
                answer = await self._http.request(method, path, json=body, headers=self._near)
            except httpx.TransportError as error:
                heard = type(error).__name__
            else:
                if method == "POST" and answer.is_success and began > self._all_came:
                    self._told.answers_s.append(time.monotonic() - began)
                yield answer
                heard = _heard(answer)
                if "retry-after" in answer.headers:
                    pause_s, since = float(answer.headers["retry-after"]), time.monotonic()
            self._told.refused[heard] += 1
            if time.monotonic() - since > PATIENCE_S:
                raise _Untold(heard)
            await asyncio.sleep(pause_s * self._chance.uniform(0.8, 1.4))

    async def _sleep(self, seconds: float) -> None:
        """Raises _TimeIsUp where that is before."""
        left_s = self._plan.ends - time.monotonic()
        await asyncio.sleep(max(0.0, min(seconds, left_s)))
        if left_s <= seconds:
            raise _TimeIsUp


def _heard(answer: httpx.Response) -> str:
    try:
        return f"{answer.status_code} {answer.json().get('type', '')}"
    except ValueError:
        return f"{answer.status_code}"
