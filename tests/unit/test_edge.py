"""The local edge: the nearest cell that is well gets the request, and its answer comes back."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from control.domain.geography import REGIONS
from ops.edge import Edge, EdgeCell, choose

EAST = EdgeCell("us-east-1", REGIONS["us-east-1"], "http://east")
EUROPE = EdgeCell("eu-central-1", REGIONS["eu-central-1"], "http://europe")
BOTH = frozenset({EAST.name, EUROPE.name})
IN_PARIS = {"cloudfront-viewer-latitude": "48.9", "cloudfront-viewer-longitude": "2.4"}


def test_the_nearest_cell_is_chosen_by_where_cloudfront_saw_the_viewer() -> None:
    assert choose([EAST, EUROPE], BOTH, IN_PARIS) == EUROPE


@pytest.mark.parametrize("headers", [{}, {"cloudfront-viewer-latitude": "north"}])
def test_a_viewer_of_unknown_place_goes_to_the_first(headers: dict[str, str]) -> None:
    assert choose([EAST, EUROPE], BOTH, headers) == EAST


def test_an_ill_cell_gets_nothing_unless_all_are_ill() -> None:
    assert choose([EAST, EUROPE], frozenset({EAST.name}), IN_PARIS) == EAST
    assert choose([EAST, EUROPE], frozenset(), IN_PARIS) == EUROPE


class PlayedCell:
    """Answers what it was asked; ``probed`` is set at each look at its health."""

    def __init__(self) -> None:
        cell = self
        self.ready = True
        self.probed = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/health/ready":
                    status = 200 if cell.ready else 503
                    self._send(status, {})
                    cell.probed.set()
                else:
                    self._send(200, {"path": self.path, "body": ""})

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                seen = {"path": self.path, "body": body, "key": self.headers["Authorization"]}
                self._send(201, seen)

            def _send(self, status: int, body: dict[str, str]) -> None:
                data = json.dumps(body | {"served_by": cell.url}).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.send_header("X-Own", "kept")
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def two() -> Iterator[tuple[PlayedCell, PlayedCell]]:
    cells = PlayedCell(), PlayedCell()
    yield cells
    for cell in cells:
        cell.server.shutdown()
        cell.server.server_close()


def _edge(two: tuple[PlayedCell, PlayedCell]) -> Edge:
    east, europe = two
    return Edge(
        0,
        [
            EdgeCell("us-east-1", REGIONS["us-east-1"], east.url),
            EdgeCell("eu-central-1", REGIONS["eu-central-1"], europe.url),
        ],
    )


def test_a_request_passes_unchanged_and_so_does_its_answer(
    two: tuple[PlayedCell, PlayedCell],
) -> None:
    with _edge(two) as edge:
        headers = {"Authorization": "Bearer x"} | IN_PARIS
        answer = httpx.post(f"{edge.url}/a?b=c", content="{}", headers=headers)
    assert answer.status_code == 201
    assert answer.headers["x-own"] == "kept"
    assert answer.json() == {
        "path": "/a?b=c", "body": "{}", "key": "Bearer x", "served_by": two[1].url,
    }  # fmt: skip


def test_a_cell_that_says_it_is_not_ready_is_left_out(two: tuple[PlayedCell, PlayedCell]) -> None:
    east, _ = two
    east.ready = False
    with _edge(two) as edge:
        while "us-east-1" in edge.healthy:
            east.probed.clear()
            assert east.probed.wait(10)
        assert httpx.get(f"{edge.url}/a").json()["served_by"] == two[1].url


def test_a_cell_that_does_not_answer_is_told_as_a_problem(
    two: tuple[PlayedCell, PlayedCell],
) -> None:
    for cell in two:
        cell.server.shutdown()
        cell.server.server_close()
    with _edge(two) as edge:
        answer = httpx.get(f"{edge.url}/a")
    assert answer.status_code == 502
    assert answer.headers["content-type"] == "application/problem+json"
