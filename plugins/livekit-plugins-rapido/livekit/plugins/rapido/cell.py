"""A client of one Rapido cell: the few calls that an agent needs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp

from .errors import RapidoError, refusal
from .log import logger

_SESSIONS = "/api/v1/sessions"
_RETRY_S = (0.5, 4.0)  # the first wait, doubled up to the last
T = TypeVar("T")


@dataclass(frozen=True)
class Placed:
    """An answer to the wish for a session; ``position`` is its place in the queue, if it waits.

    ``found``: the lesson had this session before, with whatever token it was asked with.
    """

    session_id: str
    found: bool = False
    position: int | None = None


@dataclass(frozen=True)
class State:
    """Where a session stands, and why it ended if it did."""

    status: str
    reason: str

    @property
    def over(self) -> bool:
        """Will it never show an avatar again?"""
        return self.status in ("ended", "failed")


class Cell:
    """``http`` is the caller's own to close; without one the client makes and closes its own."""

    def __init__(
        self, url: str, key: str, *, timeout_s: float, http: aiohttp.ClientSession | None = None
    ) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}"}
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._given = http
        self._own: aiohttp.ClientSession | None = None

    async def place(self, body: Mapping[str, Any], key: str, limit_s: float) -> Placed:
        """Asks for a session; asks again under the same key while the cell is away.

        Raises RapidoError when the cell refuses, or is still away after ``limit_s``.
        """

        async def ask() -> Placed:
            headers = {"Idempotency-Key": key}
            status, answer = await self._call("POST", _SESSIONS, body, headers)
            if status == 202:
                return Placed(str(answer["ticket"]), position=int(answer["position"]))
            return Placed(str(answer["session_id"]), found=status == 200)

        return await _persist(ask, limit_s)

    async def queued(self, ticket: str) -> int | None:
        """The ticket's place in the queue, and keeps it; None once it has left the queue."""
        status, answer = await self._call("GET", f"/api/v1/queue/{ticket}")
        return None if status == 303 else int(answer["position"])

    async def leave_queue(self, ticket: str, limit_s: float) -> None:
        """Gives the place away; again is the same."""
        await _persist(lambda: self._call("DELETE", f"/api/v1/queue/{ticket}"), limit_s)

    async def session(self, session_id: str) -> State:
        """Where the session stands now."""
        _, answer = await self._call("GET", f"{_SESSIONS}/{session_id}")
        return State(str(answer["status"]), str(answer.get("reason") or ""))

    async def end(self, session_id: str, limit_s: float) -> None:
        """Ends the session; again is the same."""
        await _persist(lambda: self._call("DELETE", f"{_SESSIONS}/{session_id}"), limit_s)

    async def aclose(self) -> None:
        """Closes what it opened."""
        if self._own is not None:
            await self._own.close()
            self._own = None

    async def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Any]:
        if self._given is None and self._own is None:
            self._own = aiohttp.ClientSession(trust_env=True)
        http = self._given or self._own
        assert http is not None
        what = f"{method} {self._url}{path}"
        try:
            async with http.request(
                method,
                self._url + path,
                json=body,
                headers={**self._headers, **(headers or {})},
                timeout=self._timeout,
                allow_redirects=False,
            ) as answer:
                text = await answer.text()
                found = await answer.json(content_type=None) if text else None
        except (aiohttp.ClientError, TimeoutError) as error:
            why = str(error) or type(error).__name__
            detail = f"the cell does not answer ({why}); check api_url, or RAPIDO_URL"
            raise RapidoError(what, "unreachable", detail) from error
        except ValueError:
            found = None
        if answer.status >= 400 or (found is None and answer.status not in (204, 303)):
            raise refusal(what, answer.status, answer.headers, found)
        return answer.status, found


async def _persist(call: Callable[[], Awaitable[T]], limit_s: float) -> T:
    """Calls again, for so long, while the cell is away or asks to wait."""
    deadline = time.monotonic() + limit_s
    pause_s, longest_s = _RETRY_S
    while True:
        try:
            return await call()
        except RapidoError as error:
            wait_s = max(pause_s, error.retry_after_s)
            pause_s = min(2 * pause_s, longest_s)
            if not error.retryable or time.monotonic() + wait_s > deadline:
                raise
            logger.warning("%s; asking again in %g s", error, wait_s)
            await asyncio.sleep(wait_s)
