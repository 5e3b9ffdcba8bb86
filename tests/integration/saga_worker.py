"""A worker without engine or room: it speaks the worker's protocol, and fails as it is told."""

from __future__ import annotations

import base64
import json
import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

import httpx
import jwt
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from control.contracts.problem import TYPE_PREFIX
from ops.cell.workers import WorkerIdentity

Behaviour = Literal["plays", "refuses", "silent", "fails"]


class SagaWorker:
    """Registers on entering; ``started`` holds the bodies of the streams it was asked for."""

    def __init__(
        self,
        url: str,
        identity: WorkerIdentity,
        behaviour: Behaviour = "plays",
        slots: int = 2,
        region: str = "us-east-1",
    ) -> None:
        self.url = url
        self.identity = identity
        self.name = identity.worker_id
        self.behaviour = behaviour
        self.slots = slots
        self.region = region
        self.started: list[dict[str, Any]] = []
        self.stopped: list[str] = []
        self.refused: list[str] = []
        self.asked_in_vain = threading.Event()
        self.deaf = False
        """Whether it goes on with streams that it is told to stop."""
        self.registration = 0
        self.key = b""

    def __enter__(self) -> SagaWorker:
        worker = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                worker.check(self.headers["Authorization"], body["session_id"])
                if len(worker.running()) >= worker.slots:
                    self._refuse("no-slot")
                    return
                if worker.behaviour == "refuses":
                    self._refuse("other")
                    return
                worker.started.append(body)
                self.send_response(202)
                self.end_headers()
                threading.Thread(target=worker.perform, args=(body,), daemon=True).start()

            def _refuse(self, slug: str) -> None:
                worker.refused.append(slug)
                worker.asked_in_vain.set()
                text = json.dumps({"type": TYPE_PREFIX + slug}).encode()
                self.send_response(409)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def do_DELETE(self) -> None:
                if not worker.deaf:
                    worker.stopped.append(self.path.rpartition("/")[2])
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.register()
        self.beat()
        return self

    def __exit__(self, *_: object) -> None:
        self.call("DELETE", f"/api/v1/workers/{self.name}?registration={self.registration}")
        self._server.shutdown()

    def check(self, authorization: str, session_id: str) -> None:
        """The cell's token is for this worker and this session."""
        claims = jwt.decode(
            authorization.removeprefix("Bearer "),
            self.key,
            algorithms=["HS256"],
            audience=self.name,
        )
        assert claims["sub"] == session_id

    def perform(self, body: dict[str, Any]) -> None:
        """What follows the acceptance of a stream."""
        if self.behaviour == "plays":
            self.say("first_frame", body)
        elif self.behaviour == "fails":
            self.say("failed", body, "the engine broke")

    def say(self, kind: str, body: dict[str, Any], reason: str = "") -> httpx.Response:
        """An event about a stream."""
        event = {
            "type": kind,
            "registration": self.registration,
            "session_id": body["session_id"],
            "generation": body["generation"],
            "reason": reason,
        }
        return self.call("POST", f"/api/v1/workers/{self.name}/events", event)

    def register(self, cores: int = 1) -> dict[str, Any]:
        """A new life; what the cell says to it."""
        body = {
            "worker_id": self.name,
            "url": f"http://127.0.0.1:{self._server.server_port}",
            "region": self.region,
            "zone": "a",
            "version": "1",
            "hardware": {"cpu": "x", "cores": cores, "memory_gib": 1.0, "engine": "none"},
            "avatars": ["demo"],
            "boot": secrets.token_hex(8),
        }
        answer = self.call("POST", "/api/v1/workers", body)
        assert answer.status_code == 201, answer.text
        told: dict[str, Any] = answer.json()
        self.registration = told["registration"]
        self.key = base64.urlsafe_b64decode(told["key"])
        return told

    def heartbeat(self, **changes: Any) -> dict[str, Any]:
        """The body of a heartbeat."""
        body = {
            "registration": self.registration,
            "state": "ready",
            "slots": self.slots,
            "avatars": ["demo"],
            "running": self.running(),
        }
        return body | changes

    def running(self) -> list[dict[str, Any]]:
        """What it was asked for, took, and was not told to stop."""
        if self.behaviour != "plays":
            return []
        return [
            {"session_id": one["session_id"], "generation": one["generation"], "state": "live"}
            for one in self.started
            if one["session_id"] not in self.stopped
        ]

    def beat(self, **changes: Any) -> httpx.Response:
        """A heartbeat."""
        path = f"/api/v1/workers/{self.name}/heartbeat"
        return self.call("POST", path, self.heartbeat(**changes))

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        """A signed call."""
        data = b"" if body is None else json.dumps(body).encode()
        request = AWSRequest(method, self.url + path, data=data)
        if data:
            request.headers["Content-Type"] = "application/json"
        credentials = Credentials(self.identity.access_key, self.identity.secret)
        SigV4Auth(credentials, "execute-api", self.region).add_auth(request)
        return httpx.request(
            method, self.url + path, content=data, headers=dict(request.headers), timeout=10
        )
