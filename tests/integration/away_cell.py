"""A cell that is not home, whose functions run in the test's own process."""

from __future__ import annotations

import json
import secrets
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from botocore.credentials import Credentials
from chalice.config import Config
from chalice.local import LocalGateway

from app import app
from control import bootstrap
from control.adapters.home_records import HomeRecords
from control.adapters.peer_calls import HttpPeerCalls
from control.adapters.store import ValkeyStore
from control.domain.geography import REGIONS
from control.services.peer_ports import Peer
from ops.cell.cell import Cell
from ops.cell.links import CellLink
from ops.cell.wires import Wire

EAST, WEST = "us-east-1", "us-west-2"
LINK = CellLink.make(WEST, WEST, "http://127.0.0.1:1")
"""The home cell, in the east, is to have it among its peers."""


class AwayCell:
    """A cell in the west; ``wire`` is its way to the home cell, ``key`` what calls show."""

    def __init__(self, home: Cell, wire: Wire, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.key = key
        self.wire = wire
        peer = Peer(home.name, EAST, REGIONS[EAST], wire.url)
        calls = HttpPeerCalls(lambda: Credentials(LINK.access_key, LINK.secret))
        self.store = ValkeyStore(home.store_url, "west" + secrets.token_hex(4), WEST)
        cell: Any = SimpleNamespace(
            name=WEST,
            region=WEST,
            home=home.name,
            edge_key="",
            store=self.store,
            records=HomeRecords(peer, calls),
            announcements=None,
            costs=None,
            peers=(peer,),
            peer_calls=calls,
        )
        self.cell = cell
        monkeypatch.setattr(bootstrap, "cell", lambda: cell)

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        sent = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        data = b"" if body is None else json.dumps(body).encode()
        answer = LocalGateway(app, Config()).handle_request(method, path, sent | headers, data)
        told = {name: str(value) for name, value in answer["headers"].items()}
        return httpx.Response(answer["statusCode"], headers=told, content=answer["body"])
