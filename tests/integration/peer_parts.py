"""A peer that is played, for the tests of peers."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from ops.cell.cell import Cell
from ops.cell.links import CellLink

Answerer = Callable[[BaseHTTPRequestHandler], None]


class PlayedPeer:
    """A cell that is none: it signs what it likes, and answers hand-overs as it is told."""

    def __init__(self, cell: str, region: str) -> None:
        peer = self
        self.asked: list[dict[str, Any]] = []
        self.answer: Answerer = unavailable
        self.released = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                self._body()
                send(self, 200, {"sequence": 10**12})

            def do_POST(self) -> None:
                peer.asked.append(self._body())
                peer.answer(self)

            def _body(self) -> dict[str, Any]:
                return dict(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.link = CellLink.make(cell, region, f"http://127.0.0.1:{self._server.server_port}")

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()

    def summary(self, **changes: Any) -> dict[str, Any]:
        """That it has much to give and nothing new."""
        return {
            "cell": self.link.cell,
            "region": self.link.region,
            "free_slots": 1000,
            "best_score": 0.6,
            "accepting": True,
            "since": 0,
            "sequence": 0,
            "sent_at": datetime.now(UTC).isoformat(),
        } | changes

    def tell(self, to: Cell, path: str | None = None, **changes: Any) -> httpx.Response:
        """A signed summary."""
        path = path or f"/api/v1/cell/peers/{self.link.cell}"
        return self.call(to, "PUT", path, self.summary(**changes))

    def call(
        self, to: Cell, method: str, path: str, body: Any, secret: str | None = None
    ) -> httpx.Response:
        """A call signed as this one, or with a wrong ``secret``."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        url = to.url + path
        request = AWSRequest(method, url, {"Content-Type": "application/json"}, data)
        credentials = Credentials(self.link.access_key, secret or self.link.secret)
        SigV4Auth(credentials, "execute-api", to.region).add_auth(request)
        headers = dict(request.headers)
        return httpx.request(method, url, content=data, headers=headers, timeout=10)


def send(handler: BaseHTTPRequestHandler, status: int, body: Any) -> None:
    """A whole answer."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)


def unavailable(handler: BaseHTTPRequestHandler) -> None:
    """It has no slot, whatever it said."""
    problem = {"type": "urn:rapido:problem:no-capacity", "title": "x", "status": 503, "detail": "x"}
    send(handler, 503, problem)
