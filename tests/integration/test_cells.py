"""Two whole cells from the real template behind the local edge, without workers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from ops.cell.cells import Cells
from ops.cell.supervisor import PartError

IN_PARIS = {"CloudFront-Viewer-Latitude": "48.9", "CloudFront-Viewer-Longitude": "2.4"}


@pytest.fixture(scope="module")
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cells")


@pytest.fixture(scope="module")
def cells(state_dir: Path) -> Iterator[Cells]:
    with Cells(("us-east-1", "eu-central-1"), workers=0, state_dir=state_dir) as running:
        yield running


def test_one_pair_of_keys_opens_every_cell(cells: Cells) -> None:
    headers = {"Authorization": f"Bearer {cells.operator_key}"}
    for name, cell in cells.cells.items():
        answer = httpx.get(f"{cell.url}/api/v1/fleet", headers=headers)
        assert answer.json()["cell"] == name


def test_the_first_cell_keeps_the_records_and_what_is_announced_at_any(cells: Cells) -> None:
    assert [name for name, cell in cells.cells.items() if "postgres" in cell.parts] == ["us-east-1"]
    headers = {"Authorization": f"Bearer {cells.client_key}"}
    begins = datetime.now(UTC) + timedelta(hours=2)
    planned = {
        "class_id": "math-7b", "start": begins.isoformat(), "duration_minutes": 45, "expected": 24,
    }  # fmt: skip
    url = f"{cells.cells['eu-central-1'].url}/api/v1/timetable"
    httpx.put(url, headers=headers, json={"classes": [planned]}).raise_for_status()

    for cell in cells.cells.values():
        answer = httpx.get(f"{cell.url}/api/v1/timetable", headers=headers)
        assert [one["class_id"] for one in answer.json()["classes"]] == ["math-7b"]


def test_the_edge_sends_a_viewer_to_the_nearest_cell(cells: Cells) -> None:
    assert httpx.get(f"{cells.edge.url}/health", headers=IN_PARIS).json()["cell"] == "eu-central-1"
    assert httpx.get(f"{cells.edge.url}/health").json()["cell"] == "us-east-1"


def test_their_state_is_private_and_names_the_edge_and_every_cell(
    cells: Cells, state_dir: Path
) -> None:
    path = state_dir / "edge" / "cell.json"
    state = json.loads(path.read_text())
    assert path.stat().st_mode & 0o077 == 0
    assert state["url"] == cells.edge.url
    assert set(state["cells"]) == {"us-east-1", "eu-central-1"}


@pytest.mark.parametrize("regions", [("us-east-1", "us-east-1"), ("us-east-1", "moon-1")])
def test_regions_that_are_not_different_or_not_known_are_refused(
    regions: tuple[str, ...], tmp_path: Path
) -> None:
    with pytest.raises(PartError, match="name different regions out of"):
        Cells(regions, state_dir=tmp_path).__enter__()


def test_a_lost_cell_gets_nothing_and_the_others_go_on(cells: Cells) -> None:
    cells.cells["eu-central-1"].kill("valkey")
    while httpx.get(f"{cells.edge.url}/health", headers=IN_PARIS).json()["cell"] != "us-east-1":
        assert not cells.broken
    assert cells.cells["eu-central-1"].broken.wait(10)
    assert not cells.broken
