"""`chalice local` serves the app as it stands in the folder."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ops.cell.aws import aws_environment
from ops.cell.cell import Cell
from ops.cell.files import ROOT, own_environment
from ops.cell.http_server import listening
from ops.cell.ports import free_port
from ops.cell.supervisor import Supervisor
from ops.cell.template import Function
from tests.integration.package.conftest import EVENTS, Stage

CREATE = EVENTS / "ApiFunction" / "create_session.json"


@pytest.fixture
def url(cell: Cell, functions: dict[str, Function], tmp_path: Path) -> Iterator[str]:
    port = free_port()
    supervisor = Supervisor(tmp_path / "logs", lambda death: None)
    environment = {
        **own_environment(),
        **functions["ApiFunction"].environment,
        **aws_environment(cell.aws_url, cell.region),
    }
    chalice = [str(Path(sys.executable).with_name("chalice")), "local", "--no-autoreload"]
    argv = [*chalice, "--port", str(port)]
    supervisor.start("chalice", argv, environment, lambda: listening(port), cwd=ROOT)
    yield f"http://127.0.0.1:{port}"
    supervisor.stop_all()


def test_a_lesson_asked_of_chalice_local_becomes_a_session(url: str, stage: Stage) -> None:
    event = stage.live(json.loads(CREATE.read_text()))
    headers = {"Authorization": event["headers"]["Authorization"]}

    answer = httpx.post(f"{url}{event['path']}", json={"lesson_id": "by-chalice"}, headers=headers)

    assert answer.status_code == 201, answer.text
    assert answer.json()["livekit"]["token"]
