"""The local edge: plays Route 53 for cells on one machine."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from control.domain.geography import Point, distance_km
from ops.cell.gateway import MAX_BODY_BYTES, Refused
from ops.cell.http_server import Requests, Server
from ops.cell.ports import free_port

PROBE_EVERY_S = 1.0
_CALL_TIMEOUT_S = 30.0
_OF_THE_CONNECTION = {"connection", "keep-alive", "transfer-encoding", "content-length"}


@dataclass(frozen=True)
class EdgeCell:
    """A cell, where it is, its address."""

    name: str
    at: Point
    url: str


def choose(
    cells: Sequence[EdgeCell], healthy: frozenset[str], headers: Mapping[str, str]
) -> EdgeCell:
    """The nearest healthy cell to where CloudFront saw the viewer, else the first healthy one.

    With none healthy every cell counts as healthy, as Route 53 does.
    """
    able = [one for one in cells if one.name in healthy] or list(cells)
    try:
        viewer = Point(
            float(headers["cloudfront-viewer-latitude"]),
            float(headers["cloudfront-viewer-longitude"]),
        )
    except (KeyError, ValueError):
        return able[0]
    return min(able, key=lambda one: distance_km(viewer, one.at))


class Edge:
    """A context manager; ``healthy`` are the cells whose ``/health/ready`` said 200 last."""

    def __init__(self, port: int, cells: Sequence[EdgeCell]) -> None:
        self._cells = tuple(cells)
        self.healthy = frozenset(one.name for one in cells)
        self._stop = threading.Event()
        self._client = httpx.Client(
            timeout=_CALL_TIMEOUT_S,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
        )
        self._server = Server(port or free_port(), EdgeRequests, edge=self)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Edge:
        for run in (self._server.serve_forever, self._probe):
            threading.Thread(target=run, name=f"edge-{run.__name__}", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._server.shutdown()
        self._server.server_close()
        self._client.close()

    def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Any:
        """The chosen cell's answer. Raises httpx.TransportError."""
        lower = {name.lower(): value for name, value in headers.items()}
        cell = choose(self._cells, self.healthy, lower)
        passed = {name: v for name, v in lower.items() if name not in _OF_THE_CONNECTION}
        return self._client.request(method, cell.url + path, headers=passed, content=body)

    def _probe(self) -> None:
        while not self._stop.is_set():
            self.healthy = frozenset(one.name for one in self._cells if self._ready(one))
            self._stop.wait(PROBE_EVERY_S)

    def _ready(self, cell: EdgeCell) -> bool:
        try:
            return self._client.get(f"{cell.url}/health/ready", timeout=PROBE_EVERY_S).is_success
        except (httpx.TransportError, RuntimeError):  # RuntimeError: closed meanwhile
            return False


class EdgeRequests(Requests):
    """Passes each request on, and the answer back."""

    def _serve(self) -> None:
        body = self.body(MAX_BODY_BYTES)
        if body is None:
            return
        edge: Edge = self.server.served["edge"]
        try:
            answer = edge.send(self.command, self.path, dict(self.headers), body)
        except httpx.TransportError:
            detail = "The nearest cell does not answer; ask again in a second for another one."
            self.refuse(Refused(502, "gateway", "Bad gateway", detail))
            return
        headers = {
            name: value
            for name, value in answer.headers.items()
            if name.lower() not in _OF_THE_CONNECTION | {"date", "server", "content-encoding"}
        }
        self.answer(answer.status_code, headers, answer.content)

    do_GET = do_POST = do_PUT = _serve  # noqa: N815 (the base class's form)
    do_DELETE = do_PATCH = _serve  # noqa: N815
    do_HEAD = do_OPTIONS = _serve  # noqa: N815
