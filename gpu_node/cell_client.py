"""Calls to this worker's cell, each signed (SigV4) with the worker's own AWS credentials."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from typing import Any

import httpx
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.session import Session as BotoSession

from control.contracts.problem import TYPE_PREFIX
from control.contracts.worker import (
    Heartbeat,
    HeartbeatReply,
    Register,
    Registered,
    StreamEvent,
)

CALL_TIMEOUT_S = 3.0
"""For each step of a call: what the cell does before it answers must take less."""
_SERVICE = "execute-api"
_log = logging.getLogger(__name__)


class CellUnreachable(Exception):
    """None of the cell's addresses gave an answer; it may do so later."""


class CellRefused(Exception):
    """The cell answered with a refusal (4xx); the same call again gets the same."""

    def __init__(self, status: int, slug: str, detail: str) -> None:
        super().__init__(f"{status} {slug}: {detail}")
        self.status = status
        self.slug = slug


class Backoff:
    """Waits twice as long each time, with chance in it, so that a fleet does not call as one."""

    def __init__(self, first_s: float = 0.25, most_s: float = 3.0) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._times = 0

    def reset(self) -> None:
        """It worked."""
        self._times = 0

    async def wait(self) -> None:
        """Before the next try."""
        limit = min(self._most_s, self._first_s * 2.0**self._times)
        self._times = min(self._times + 1, 20)
        await asyncio.sleep(random.uniform(limit / 2, limit))  # noqa: S311 - no secret


class CellClient:
    """Tries the address that answered last, then the others in turn."""

    def __init__(
        self,
        urls: tuple[str, ...],
        region: str,
        http: httpx.AsyncClient,
        credentials: Credentials | None = None,
    ) -> None:
        self._urls = urls
        self._region = region
        self._http = http
        self._credentials = credentials
        self._at = 0

    async def register(self, ask: Register) -> Registered:
        """Raises CellUnreachable or CellRefused, as all calls here."""
        body = await self._call("POST", "/api/v1/workers", ask.model_dump(mode="json"))
        return Registered.model_validate_json(body)

    async def heartbeat(self, worker_id: str, beat: Heartbeat) -> HeartbeatReply:
        """What the cell wants this worker to be."""
        path = f"/api/v1/workers/{worker_id}/heartbeat"
        body = await self._call("POST", path, beat.model_dump(mode="json"))
        return HeartbeatReply.model_validate_json(body)

    async def event(self, worker_id: str, event: StreamEvent) -> None:
        """Something happened to a stream."""
        path = f"/api/v1/workers/{worker_id}/events"
        await self._call("POST", path, event.model_dump(mode="json", exclude_none=True))

    async def deregister(self, worker_id: str, registration: int) -> None:
        """This worker is gone."""
        await self._call("DELETE", f"/api/v1/workers/{worker_id}?registration={registration}", None)

    async def _call(self, method: str, path: str, body: dict[str, Any] | None) -> bytes:
        content = json.dumps(body).encode() if body is not None else b""
        fault = ""
        for _ in self._urls:
            url = self._urls[self._at % len(self._urls)] + path
            try:
                headers = await asyncio.to_thread(self._signed, method, url, content)
                answer = await self._http.request(method, url, content=content, headers=headers)
            except httpx.HTTPError as error:
                fault = f"{type(error).__name__}: {error}"
            else:
                if answer.is_success:
                    return answer.content
                if answer.status_code < 500 and answer.status_code != 429:
                    raise _refusal(answer)
                fault = f"it answered {answer.status_code}"
            self._at += 1
        raise CellUnreachable(f"no address of the cell serves {method} {path}: {fault}")

    def _signed(self, method: str, url: str, content: bytes) -> dict[str, str]:
        request = AWSRequest(
            method=method, url=url, data=content, headers={"Content-Type": "application/json"}
        )
        SigV4Auth(self._frozen(), _SERVICE, self._region).add_auth(request)
        return dict(request.headers.items())

    def _frozen(self) -> Any:
        if self._credentials is None:
            self._credentials = BotoSession().get_credentials()
        if self._credentials is None:
            raise CellUnreachable(
                "there are no AWS credentials to sign with; give the instance a role, or set "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        return self._credentials.get_frozen_credentials()


def _refusal(answer: httpx.Response) -> CellRefused:
    try:
        said = answer.json()
    except ValueError:
        said = {}
    if not isinstance(said, dict):
        said = {}
    slug = str(said.get("type", "unknown")).removeprefix(TYPE_PREFIX)
    return CellRefused(answer.status_code, slug, str(said.get("detail", answer.text))[:500])
