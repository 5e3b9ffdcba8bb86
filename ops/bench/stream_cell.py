"""A cell of one worker for ``rapido bench stream``: it takes its word, and gives it rooms.

Only what is around the worker is small here; the worker is ``python -m gpu_node`` as it ships.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
import sys
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import jwt
import uvicorn
from fastapi import FastAPI, Request, Response
from livekit import api

from control.contracts.worker import (
    Heartbeat,
    HeartbeatReply,
    Register,
    Registered,
    RoomAccess,
    StreamEvent,
    WorkerState,
)
from ops.cell.files import ROOT, own_environment
from ops.cell.livekit import LiveKit, start_livekit
from ops.cell.ports import free_ports
from ops.cell.supervisor import Death, Supervisor

_INTERVAL_S = 1.0
_BOOT_S = 60.0
_TOKEN_S = 7200
_PROBES = 8
_WORKER = "bench-w1"


class StreamCell:
    """``with``: LiveKit, the cell's API and one worker; all is stopped at the end.

    Raises PartError where a part does not start.
    """

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.warm_rooms = 0
        self.slots = 0
        self.state = ""
        self.warm: tuple[str, ...] = ()
        self._folder = folder
        self._say = say
        self._key = secrets.token_bytes(32)
        self._warm: list[str] = []
        self._shown: dict[str, float] = {}
        self._gone: dict[str, str] = {}
        self._worker_url = ""
        self._http = httpx.Client(timeout=5.0)
        self._supervisor = Supervisor(folder, self._died)
        self._livekit: LiveKit | None = None
        self._server: uvicorn.Server | None = None

    def __enter__(self) -> StreamCell:
        port, hooks = free_ports(2)
        self._livekit = start_livekit(self._supervisor, self._folder, f"http://127.0.0.1:{hooks}/")
        config = uvicorn.Config(self._app(), port=port, log_level="error")
        self._server = uvicorn.Server(config)
        threading.Thread(target=self._server.run, daemon=True).start()
        self._url = f"http://127.0.0.1:{port}"
        return self

    def __exit__(self, *_: object) -> None:
        self._supervisor.stop_all()
        if self._server is not None:
            self._server.should_exit = True

    def start_worker(self, environment: Mapping[str, str]) -> float:
        """A worker of its own settings; returns the seconds until it announced its slots."""
        self.slots, self.state = 0, ""
        began = time.monotonic()
        self._supervisor.start(
            _WORKER,
            [sys.executable, "-m", "gpu_node"],
            {
                **own_environment(),
                "AWS_ACCESS_KEY_ID": "bench",
                "AWS_SECRET_ACCESS_KEY": "bench",
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_EC2_METADATA_DISABLED": "true",
                "RAPIDO_WORKER_ID": _WORKER,
                "RAPIDO_CELL_URLS": self._url,
                "RAPIDO_REGION": "us-east-1",
                "RAPIDO_DRAIN_LIMIT_S": "0",
                **environment,
            },
            lambda: self.state == WorkerState.READY,
            _BOOT_S,
            cwd=ROOT,
        )
        return time.monotonic() - began

    def stop_worker(self) -> None:
        """In order."""
        self._supervisor.stop(_WORKER)

    @property
    def pid(self) -> int:
        """Of the worker."""
        return self._supervisor[_WORKER].pid

    @property
    def livekit_url(self) -> str:
        """Of the room server."""
        assert self._livekit is not None
        return self._livekit.url

    def token(self, identity: str, room: str, *, voice: bool = False, avatar: bool = False) -> str:
        """For one room, as a cell makes them."""
        assert self._livekit is not None
        made = api.AccessToken(self._livekit.key, self._livekit.secret).with_identity(identity)
        made = made.with_ttl(timedelta(seconds=_TOKEN_S))
        if voice:
            made = made.with_attributes({"rapido.voice": "true"})
        if avatar:
            made = made.with_kind("agent")
        return made.with_grants(api.VideoGrants(room_join=True, room=room)).to_jwt()

    def start(self, session_id: str) -> None:
        """Asks the worker for a stream in the room of that name. Raises httpx.HTTPError."""
        self._warm = [name for name in self._warm if name != session_id]
        at = datetime.now(UTC) + timedelta(seconds=_TOKEN_S)
        body = {
            "session_id": session_id,
            "generation": 1,
            "avatar": "demo",
            "room": self._access(session_id).model_dump(),
            "expires_at": at.isoformat(),
        }
        self._call("POST", "/v1/sessions", session_id, json=body)

    def end(self, session_id: str) -> None:
        """Ends the stream."""
        self._call("DELETE", f"/v1/sessions/{session_id}", session_id)

    def frames(self) -> dict[str, int]:
        """Published so far, by session."""
        told = self._call("GET", "/v1/sessions", None).json()["sessions"]
        return {one["session_id"]: one["frames"] for one in told}

    def metrics(self) -> str:
        """The worker's exposition."""
        return self._http.get(f"{self._worker_url}/metrics").raise_for_status().text

    def shown(self) -> dict[str, float]:
        """When the worker's first frame was told, Unix time, by session."""
        return dict(self._shown)

    def ended(self) -> dict[str, str]:
        """Reasons by session, of those whose end was told."""
        return dict(self._gone)

    def _access(self, room: str) -> RoomAccess:
        token = self.token(f"avatar-{room}", room, avatar=True)
        return RoomAccess(url=self.livekit_url, room=room, token=token)

    def _call(self, method: str, path: str, session: str | None, **more: Any) -> httpx.Response:
        claims = {"aud": _WORKER, "exp": int(time.time()) + 60, "sub": session, "generation": 1}
        token = jwt.encode(
            {k: v for k, v in claims.items() if v is not None}, self._key, algorithm="HS256"
        )
        headers = {"Authorization": f"Bearer {token}"}
        return self._http.request(
            method, self._worker_url + path, headers=headers, **more
        ).raise_for_status()

    def _app(self) -> FastAPI:
        app = FastAPI()

        @app.post("/api/v1/workers", status_code=201)
        async def register(request: Request) -> Registered:
            ask = Register.model_validate_json(await request.body())
            self._worker_url = ask.url
            return Registered(
                registration=1,
                key=base64.urlsafe_b64encode(self._key).decode(),
                heartbeat_interval_s=_INTERVAL_S,
                dead_after_s=3 * _INTERVAL_S,
                probe=tuple(self._access(f"probe-{secrets.token_hex(4)}") for _ in range(_PROBES)),
            )

        @app.post("/api/v1/workers/{worker_id}/heartbeat")
        async def heartbeat(worker_id: str, request: Request) -> HeartbeatReply:
            del worker_id
            beat = Heartbeat.model_validate_json(await request.body())
            self.slots, self.state = beat.slots, beat.state
            running = {one.session_id for one in beat.running}
            told = {one.session_id for one in beat.warm}
            self.warm = tuple(one.session_id for one in beat.warm if one.ready)
            self._warm = [name for name in self._warm if name not in running]
            self._warm = [n for n in self._warm if n in told] if told else self._warm
            while len(self._warm) < self.warm_rooms:
                self._warm.append(f"s-bench-{secrets.token_hex(8)}")
            return HeartbeatReply(
                desired_state=WorkerState.READY,
                heartbeat_interval_s=_INTERVAL_S,
                warm=tuple(self._access(name) for name in self._warm[: self.warm_rooms]),
            )

        @app.post("/api/v1/workers/{worker_id}/events", status_code=204)
        async def event(worker_id: str, request: Request) -> Response:
            del worker_id
            said = StreamEvent.model_validate_json(await request.body())
            if said.type == "first_frame":
                self._shown[said.session_id] = time.time()
            else:
                self._gone[said.session_id] = said.reason
            return Response(status_code=204)

        @app.delete("/api/v1/workers/{worker_id}", status_code=204)
        async def deregister(worker_id: str) -> Response:
            del worker_id
            return Response(status_code=204)

        return app

    def _died(self, death: Death) -> None:
        self._say(death.describe())


async def until(condition: Callable[[], bool], limit_s: float) -> None:
    """Looks again and again. Raises TimeoutError."""
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110 - another thread's or process' doing
            await asyncio.sleep(0.02)
