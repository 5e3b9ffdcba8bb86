"""Where an edge is, clients come through it; operators, workers, cells, health checks need not."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest
from chalice.config import Config
from chalice.local import LocalGateway

from app import app
from control import bootstrap
from control.services import access, forwarding
from control.services.forwarding import forward
from control.services.peer_ports import Peer, PeerAnswer
from control.services.ports import Cell

KEY, OPERATORS = access.new_key(), access.new_key()


class Store:
    """Knows two keys, and the sessions' page is empty."""

    def key(self, digest: str) -> dict[str, Any]:
        roles = {access.digest(KEY): "client", access.digest(OPERATORS): "operator"}
        return {"tenant": "school", "role": roles[digest]} if digest in roles else {}

    def page(self, *_: object) -> tuple[list[Any], None]:
        return [], None


@pytest.fixture
def edge_key(monkeypatch: pytest.MonkeyPatch) -> str:
    cell = SimpleNamespace(name="here", edge_key="of the edge", store=Store(), peers=())
    monkeypatch.setattr(bootstrap, "cell", lambda: cell)
    return cell.edge_key


def get(path: str, **headers: str) -> Any:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return LocalGateway(app, Config()).handle_request("GET", path, sent, b"")


def test_a_client_that_comes_through_the_edge_is_served(edge_key: str) -> None:
    answer = get("/api/v1/sessions", authorization=f"Bearer {KEY}", x_rapido_edge=edge_key)

    assert answer["statusCode"] == 200


@pytest.mark.usefixtures("edge_key")
@pytest.mark.parametrize("shown", [{}, {"x_rapido_edge": "guessed"}, {"x_rapido_edge": "ö"}])
def test_a_client_that_calls_past_the_edge_is_sent_to_the_public_address(
    shown: dict[str, str],
) -> None:
    answer = get("/api/v1/sessions", authorization=f"Bearer {KEY}", **shown)

    problem = json.loads(answer["body"])
    assert (answer["statusCode"], problem["type"]) == (403, "urn:rapido:problem:forbidden")
    assert "public address" in problem["detail"]


@pytest.mark.usefixtures("edge_key")
def test_an_operator_reaches_the_cell_that_is_meant() -> None:
    answer = get("/api/v1/sessions", authorization=f"Bearer {OPERATORS}")

    assert answer["statusCode"] == 200


@pytest.mark.usefixtures("edge_key")
def test_a_health_check_needs_no_edge() -> None:
    assert get("/health")["statusCode"] == 200


def test_a_call_that_is_passed_on_still_shows_that_it_came_through_the_edge() -> None:
    seen: dict[str, Any] = {}

    def call(*args: Any, **more: Any) -> PeerAnswer:
        seen.update(args[4])
        return PeerAnswer(200, {}, {})

    peer = cast(Peer, SimpleNamespace(cell="there"))
    here = cast(
        Cell, SimpleNamespace(name="here", peers=(peer,), peer_calls=SimpleNamespace(call=call))
    )
    session_id = "s-there-0123456789abcdef"

    forward(here, session_id, "GET", f"/api/v1/sessions/{session_id}", b"", {"x-rapido-edge": "k"})

    assert seen[forwarding.EDGE] == "k"
