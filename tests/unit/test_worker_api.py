"""The worker's API: each call that cannot be obeyed has its own clear answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import jwt
import pytest

from control.contracts.worker import LeaseRef, StartStream
from gpu_node import sessions
from gpu_node.api import make_app
from gpu_node.metrics import Metrics
from gpu_node.sessions import Sessions, StreamFailed

KEY = b"k" * 32
SESSION = "s-use1-abcdefgh12"


class Standing:
    """A worker that is ready."""

    worker_id = "w-1"
    key: bytes | None = KEY
    unready: str | None = None
    unwell: str | None = None

    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions

    def drain(self) -> None:
        self.sessions.draining = True


class FakeStream:
    """Runs until it is stopped, or breaks as it is told."""

    def __init__(self, ask: StartStream, first_frame: Callable[[], None]) -> None:
        self.ask, self.state, self.frames = ask, "live", 7
        self.learners, self.speaking = 1, False
        self.over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.first_frame = first_frame

    def stop(self, reason: str) -> None:
        self.state = "ending"
        if not self.over.done():
            self.over.set_result(reason)

    async def run(self) -> str:
        self.first_frame()
        return await self.over


class Bench:
    """The API over fake streams, and what the cell was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, str]] = []
        self.failed = asyncio.Event()
        self.streams: list[FakeStream] = []
        metrics = Metrics()
        self.sessions = Sessions(self._make, lambda: ["demo"], self._tell, metrics)
        self.sessions.slots = 2
        self.standing = Standing(self.sessions)
        app = make_app(self.standing, self.sessions, metrics)
        transport = httpx.ASGITransport(app=app)
        self.http = httpx.AsyncClient(transport=transport, base_url="http://worker")

    def _make(self, ask: StartStream, first_frame: Callable[[], None]) -> FakeStream:
        self.streams.append(FakeStream(ask, first_frame))
        return self.streams[-1]

    async def _tell(self, kind: str, ask: StartStream, reason: str) -> None:
        self.told.append((kind, ask.session_id, reason))
        if kind == "failed":
            self.failed.set()

    async def start(
        self, generation: int = 1, session: str = SESSION, **changes: Any
    ) -> httpx.Response:
        body = {**order(session, generation), **changes}
        headers = bearer(sub=session, generation=generation)
        return await self.http.post("/v1/sessions", json=body, headers=headers)

    async def delete(self, generation: int = 1) -> httpx.Response:
        headers = bearer(sub=SESSION, generation=generation)
        return await self.http.delete(f"/v1/sessions/{SESSION}", headers=headers)


def order(session: str = SESSION, generation: int = 1) -> dict[str, Any]:
    return {
        "session_id": session,
        "generation": generation,
        "avatar": "demo",
        "room": {"url": "ws://127.0.0.1:1", "room": session, "token": "t"},
        "expires_at": (datetime.now(UTC) + timedelta(hours=1)).isoformat(),
    }


def bearer(key: bytes = KEY, **claims: Any) -> dict[str, str]:
    whole = {"aud": "w-1", "exp": int(time.time()) + 50, **claims}
    return {"Authorization": f"Bearer {jwt.encode(whole, key, algorithm='HS256')}"}


def scene(play: Callable[[Bench], Awaitable[None]]) -> None:
    async def run() -> None:
        bench = Bench()
        try:
            await play(bench)
        finally:
            await bench.sessions.close("over", revoked=True)

    asyncio.run(run())


def assert_problem(answer: httpx.Response, status: int, slug: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == f"urn:rapido:problem:{slug}"
    assert answer.json()["detail"]


def test_a_session_starts_shows_and_ends() -> None:
    async def play(bench: Bench) -> None:
        assert (await bench.start()).status_code == 202
        shown = await bench.http.get("/v1/sessions", headers=bearer())
        assert shown.json()["sessions"][0]["session_id"] == SESSION

        assert (await bench.delete()).status_code == 204
        await bench.sessions.empty()
        assert (await bench.delete()).status_code == 204

        assert [kind for kind, _, _ in bench.told] == ["first_frame", "ended"]

    scene(play)


def test_the_same_generation_again_changes_nothing() -> None:
    async def play(bench: Bench) -> None:
        await bench.start()
        assert (await bench.start()).status_code == 202
        assert len(bench.streams) == 1

    scene(play)


def test_an_older_generation_is_refused_also_after_the_end() -> None:
    async def play(bench: Bench) -> None:
        await bench.start(generation=5)
        assert_problem(await bench.start(generation=4), 409, "stale-generation")
        assert_problem(await bench.delete(generation=4), 409, "stale-generation")
        await bench.delete(generation=5)
        await bench.sessions.empty()
        assert_problem(await bench.start(generation=5), 409, "stale-generation")

    scene(play)


def test_a_newer_generation_takes_the_place_of_the_older() -> None:
    async def play(bench: Bench) -> None:
        bench.sessions.slots = 1
        await bench.start(generation=1)
        assert (await bench.start(generation=2)).status_code == 202
        assert bench.streams[0].state == "ending"
        assert [one.generation for one in bench.sessions.running()] == [2]

    scene(play)


def test_no_more_sessions_than_slots() -> None:
    async def play(bench: Bench) -> None:
        bench.sessions.slots = 1
        await bench.start()
        again = await bench.start(session="s-use1-zzzzzzzz99")
        assert_problem(again, 409, "no-slot")

    scene(play)


def test_a_draining_worker_takes_no_session_and_lets_the_live_ones_be() -> None:
    async def play(bench: Bench) -> None:
        await bench.start()
        assert (await bench.http.post("/v1/drain", headers=bearer())).status_code == 204
        assert_problem(await bench.start(session="s-use1-zzzzzzzz99"), 409, "draining")
        assert bench.streams[0].state == "live"

    scene(play)


def test_an_avatar_that_is_not_here() -> None:
    async def play(bench: Bench) -> None:
        answer = await bench.start(avatar="nobody")
        assert_problem(answer, 422, "unknown-avatar")
        assert "demo" in answer.json()["detail"]

    scene(play)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"expires_at": "2027-01-01T00:00:00"}, "expires_at"),
        ({"colour": "blue"}, "colour"),
        ({"room": {"url": "ws://x", "room": "r"}}, "room.token"),
        ({"avatar": "../../etc"}, "avatar"),
    ],
)
def test_a_wrong_body_is_told_field_by_field(change: dict[str, Any], field: str) -> None:
    async def play(bench: Bench) -> None:
        answer = await bench.start(**change)
        assert_problem(answer, 422, "invalid-request")
        assert field in [one["field"] for one in answer.json()["errors"]]

    scene(play)


@pytest.mark.parametrize(
    ("body", "status"), [(b"{", 422), (b"", 422), (b"[]", 422), (b"x" * 70_000, 413)]
)
def test_a_body_that_is_no_order(body: bytes, status: int) -> None:
    async def play(bench: Bench) -> None:
        headers = bearer(sub=SESSION, generation=1)
        answer = await bench.http.post("/v1/sessions", content=body, headers=headers)
        assert_problem(answer, status, "invalid-request")

    scene(play)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Basic abc"},
        {"Authorization": "Bearer abc"},
        bearer(b"another key, of the same length.", sub=SESSION, generation=1),
        bearer(aud="w-2", sub=SESSION, generation=1),
        bearer(exp=1, sub=SESSION, generation=1),
        bearer(exp=int(time.time()) + 3600, sub=SESSION, generation=1),
        bearer(sub="s-use1-zzzzzzzz99", generation=1),
        bearer(sub=SESSION, generation=2),
        bearer(),
    ],
)
def test_a_token_that_is_missing_wrong_or_for_something_else(headers: dict[str, str]) -> None:
    async def play(bench: Bench) -> None:
        answer = await bench.http.post("/v1/sessions", json=order(), headers=headers)
        assert_problem(answer, 401, "unauthorized")
        assert bench.streams == []

    scene(play)


def test_every_call_of_the_cell_needs_its_token() -> None:
    async def play(bench: Bench) -> None:
        for method, path in (
            ("GET", "/v1/sessions"),
            ("DELETE", f"/v1/sessions/{SESSION}"),
            ("POST", "/v1/drain"),
        ):
            assert_problem(await bench.http.request(method, path), 401, "unauthorized")
        bench.standing.key = None
        assert_problem(await bench.start(), 401, "unauthorized")

    scene(play)


def test_probes_need_none() -> None:
    async def play(bench: Bench) -> None:
        assert (await bench.http.get("/health")).json()["status"] == "ok"
        assert (await bench.http.get("/ready")).status_code == 200
        assert "rapido_slots" in (await bench.http.get("/metrics")).text
        bench.standing.unready = "The engine is warming up."
        assert_problem(await bench.http.get("/ready"), 503, "unready")
        assert_problem(await bench.http.get("/nothing"), 404, "not-found")

    scene(play)


def test_a_sick_worker_says_why_to_its_probes() -> None:
    async def play(bench: Bench) -> None:
        bench.standing.unwell = "A batch has run for over 2 s."
        answer = await bench.http.get("/health")
        assert_problem(answer, 503, "unwell")
        assert answer.json()["detail"] == "A batch has run for over 2 s."

    scene(play)


def test_the_metrics_count_sessions_by_their_present_state() -> None:
    async def play(bench: Bench) -> None:
        await bench.start()
        assert 'rapido_sessions{state="live"} 1.0' in (await bench.http.get("/metrics")).text
        bench.streams[0].state = "ending"
        text = (await bench.http.get("/metrics")).text
        assert 'rapido_sessions{state="live"} 0.0' in text
        assert 'rapido_sessions{state="ending"} 1.0' in text
        assert "rapido_learners 1.0" in text

    scene(play)


@pytest.mark.parametrize("error", [StreamFailed("The room is gone."), ZeroDivisionError()])
def test_a_failing_session_is_told_and_harms_no_other(error: Exception) -> None:
    async def play(bench: Bench) -> None:
        await bench.start()
        await bench.start(session="s-use1-zzzzzzzz99")

        bench.streams[0].over.set_exception(error)
        async with asyncio.timeout(10):
            await bench.failed.wait()

        assert [one.session_id for one in bench.sessions.running()] == ["s-use1-zzzzzzzz99"]
        assert ("failed", SESSION) in [(kind, session) for kind, session, _ in bench.told]

    scene(play)


def test_a_session_that_does_not_leave_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "_LEAVE_LIMIT_S", 0.01)

    async def play(bench: Bench) -> None:
        await bench.start()
        bench.streams[0].stop = lambda _: None

        assert (await bench.delete()).status_code == 204

        async with asyncio.timeout(10):
            await bench.sessions.empty()
            await bench.failed.wait()
        assert bench.told[-1] == ("failed", SESSION, "The stream was cut off.")

    scene(play)


def test_a_revoked_lease_is_left_without_a_word() -> None:
    async def play(bench: Bench) -> None:
        await bench.start()
        bench.sessions.revoke([LeaseRef(session_id=SESSION, generation=1)])
        await bench.sessions.empty()
        assert "ended" not in [kind for kind, _, _ in bench.told]

    scene(play)
