"""A whole cell from the real template, without workers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from control.adapters import records
from ops.cell.cell import Cell
from ops.cell.files import ROOT
from ops.cell.postgres import remove_outside_data
from ops.cell.supervisor import PartError
from tests.integration.test_cell_servers import gone


@pytest.fixture(scope="module")
def events() -> list[str]:
    return []


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory, events: list[str]) -> Iterator[Cell]:
    folder = tmp_path_factory.mktemp("desk")
    with Cell(name="desk", workers=0, state_dir=folder, on_event=events.append) as running:
        yield running


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_a_cell_is_ready_when_it_is_entered(cell: Cell) -> None:
    answer = httpx.get(f"{cell.url}/health/ready")
    assert answer.status_code == 200
    assert answer.json()["status"] == "ready"


def test_its_keys_open_what_their_role_may(cell: Cell) -> None:
    fleet = f"{cell.url}/api/v1/fleet"
    assert httpx.get(fleet, headers=bearer(cell.operator_key)).status_code == 200
    assert httpx.get(fleet, headers=bearer(cell.client_key)).status_code == 403
    assert httpx.get(fleet, headers=bearer("wrong")).status_code == 401


def test_the_schema_is_there(cell: Cell) -> None:
    with psycopg.connect(cell.database_url) as connection:
        query = "select count(*) from pg_tables where schemaname = 'public'"
        row = connection.execute(query).fetchone()
    assert row is not None
    assert row[0] > 0


def test_where_the_database_knows_iam_the_functions_user_writes_rows_and_changes_no_table(
    cell: Cell,
) -> None:
    with psycopg.connect(cell.database_url, autocommit=True) as owner:
        owner.execute("create role rds_iam")  # as RDS has it
        # the local owner has the name that the functions' user has there
        rights = (ROOT / "control/adapters/sql/rights.sql").read_text()
        for _ in range(2):
            owner.execute(rights.replace("rapido", "functions").encode())
        with psycopg.connect(cell.database_url, autocommit=True) as functions:
            functions.execute("set role functions")
            upsert = (ROOT / "control/adapters/sql/upsert_session.sql").read_text()
            row: dict[str, object] = dict.fromkeys(records._COLUMNS)
            row |= {"session_id": "s-desk-1", "tenant": "t", "lesson_id": "l", "avatar": "demo"}
            row |= {"status": "live", "region": "us-east-1", "created_ms": 1, "seq": 1}
            functions.execute(upsert, row)
            functions.execute(upsert, row | {"status": "ended", "seq": 2})
            functions.execute(records._ADD_KEY, ("d" * 64, "t", "client"))
            assert functions.execute(records._FIND_KEY, ("d" * 64,)).fetchone() is not None
            for change in ("drop table sessions", "delete from sessions", "create table x (a int)"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    functions.execute(change)
        owner.execute("drop owned by functions")
        owner.execute("drop role functions")
        owner.execute("drop role rds_iam")
        owner.execute("delete from sessions where session_id = 's-desk-1'")


def test_its_state_file_is_private_and_names_everything(cell: Cell) -> None:
    path = cell.directory / "cell.json"
    state = json.loads(path.read_text())
    assert path.stat().st_mode & 0o077 == 0
    assert state["url"] == cell.url
    assert state["operator_key"] == cell.operator_key


def test_a_second_cell_with_the_same_state_is_refused(cell: Cell) -> None:
    with pytest.raises(PartError, match="already runs"):
        Cell(name="desk", workers=0, state_dir=cell.directory).__enter__()
    assert httpx.get(f"{cell.url}/health").status_code == 200


def test_a_cell_beside_it_is_its_own_and_leaves_nothing(cell: Cell, tmp_path: Path) -> None:
    with Cell(name="other", workers=0, state_dir=tmp_path, region="eu-central-1") as other:
        assert httpx.get(f"{other.url}/health").json()["cell"] == "other"
        fleet = f"{other.url}/api/v1/fleet"
        assert httpx.get(fleet, headers=bearer(cell.operator_key)).status_code == 401
        parts = other.parts
    assert {"valkey", "postgres", "livekit", "aws", "functions"} <= set(parts)
    assert not (tmp_path / "cell.json").exists()
    assert httpx.get(f"{cell.url}/health").json()["cell"] == "desk"


def test_a_function_taken_out_of_the_template_stops_working(tmp_path: Path) -> None:
    # The very template of the cell, the app's function renamed to a type nobody runs.
    text = (ROOT / "template.yaml").read_text(encoding="utf-8")
    before, _, after = text.partition("  ApiFunction:\n    Type: AWS::Serverless::Function\n")
    assert after
    without = tmp_path / "template.yaml"
    without.write_text(f"{before}  ApiFunction:\n    Type: Custom::Removed\n{after}")
    shutil.copytree(ROOT / "statemachines", tmp_path / "statemachines")
    with pytest.raises(PartError, match="/health/ready does not say 200"):
        Cell(
            workers=0, state_dir=tmp_path / "state", template=without, ready_timeout_s=2.0
        ).__enter__()


def test_a_server_that_does_not_start_stops_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAPIDO_LIVEKIT_SERVER", "/bin/false")
    cell = Cell(workers=0, state_dir=tmp_path)
    with pytest.raises(PartError, match=r"livekit .* ended by exit code 1"):
        cell.__enter__()
    assert cell.parts == ()
    assert cell.deaths == []


def test_a_worker_that_cannot_work_stops_the_rest(tmp_path: Path) -> None:
    cell = Cell(workers=2, state_dir=tmp_path, worker_env={"RAPIDO_DEVICE": "abacus"})
    with pytest.raises(PartError, match=r"(?s)exit code 2.*RAPIDO_DEVICE"):
        cell.__enter__()
    assert cell.parts == ()


RUN_CELL = """
import sys, threading
from pathlib import Path
from ops.cell.cell import Cell
with Cell(workers=0, state_dir=Path(sys.argv[1]), on_event=lambda text: None) as cell:
    print(*(cell._supervisor[name].pid for name in cell.parts), flush=True)
    threading.Event().wait()
"""


def test_a_cell_killed_outright_leaves_no_process(tmp_path: Path) -> None:

    argv = [sys.executable, "-c", RUN_CELL, str(tmp_path)]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        os.kill(parent.pid, signal.SIGKILL)
    try:
        assert len(pids) == 5
        assert all(gone(pid) for pid in pids)
    finally:
        remove_outside_data(tmp_path)


def test_a_dead_part_is_told_with_its_name(cell: Cell, events: list[str]) -> None:
    cell.kill("livekit")
    assert cell.broken.wait(10)
    assert cell.deaths[0].name == "livekit"
    assert any("livekit" in event and "SIGKILL" in event for event in events)
