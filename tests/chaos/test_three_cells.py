"""Three whole cells behind the local edge: one filled, one killed with -9, one cut off."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import psycopg
import pytest

from control.adapters.store import ValkeyStore
from control.domain.geography import REGIONS
from control.domain.session import cell_of
from ops.cell.cells import Cells
from ops.cell.prepare import TENANT

pytestmark = pytest.mark.alone

EAST, WEST, EUROPE = "us-east-1", "us-west-2", "eu-central-1"
SLOTS = 6
SERVED_WITHIN_S = 30.0


class Learners:
    """Ask at the edge, each from near a region."""

    def __init__(self, cells: Cells) -> None:
        self._numbers = itertools.count()
        headers = {"Authorization": f"Bearer {cells.client_key}"}
        self.http = httpx.Client(base_url=cells.edge.url, headers=headers, timeout=15)

    def ask(self, near: str, lesson: str = "", **more: Any) -> httpx.Response:
        """One request for a new lesson, or for that one."""
        lesson = lesson or f"lesson-{next(self._numbers)}"
        body = {"lesson_id": lesson, "wait": False} | more
        return self.http.post("/api/v1/sessions", json=body, headers=viewer(near))

    def served(self, near: str, lesson: str = "") -> str:
        """The session of a lesson that is live within the time, asked for again and again."""
        lesson = lesson or f"lesson-{next(self._numbers)}"

        def live() -> str | None:
            answer = self.ask(near, lesson)
            if answer.status_code not in (200, 201):
                return None
            return self.live(answer.json()["session_id"], near)

        return until(live, f"{lesson}, asked for near {near}, was not served")

    def live(self, session_id: str, near: str = "") -> str | None:
        """The session, if it is live; looked at from near its own cell, or that one."""
        headers = viewer(near or cell_of(session_id))
        answer = self.http.get(f"/api/v1/sessions/{session_id}", headers=headers)
        return session_id if answer.json().get("status") == "live" else None

    def end(self, session_id: str) -> None:
        """Ends the lesson."""
        assert self.http.delete(f"/api/v1/sessions/{session_id}").status_code == 204


def viewer(near: str) -> dict[str, str]:
    at = REGIONS[near]
    return {
        "CloudFront-Viewer-Latitude": str(at.latitude),
        "CloudFront-Viewer-Longitude": str(at.longitude),
    }


def until(found: Callable[[], str | None], fault: str, within_s: float = SERVED_WITHIN_S) -> str:
    deadline = time.monotonic() + within_s
    while (answer := found()) is None:
        assert time.monotonic() < deadline, f"{fault} within {within_s:g} s"
        time.sleep(0.1)
    return answer


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cells]:
    with Cells(
        (EAST, WEST, EUROPE),
        workers=2,
        worker_module="ops.cell.light_worker",
        worker_env={"RAPIDO_SLOTS": str(SLOTS // 2)},
        cuttable=True,
        state_dir=tmp_path_factory.mktemp("cells"),
    ) as running:
        yield running


@pytest.fixture(scope="module")
def learners(cells: Cells) -> Iterator[Learners]:
    found = Learners(cells)
    with found.http:
        yield found


def test_a_filled_a_killed_and_a_cut_off_cell_cost_no_new_lesson(
    cells: Cells, learners: Learners
) -> None:
    shared = learners.served(EAST, "shared")
    for peer in (WEST, EUROPE):
        until(lambda at=peer: knows(cells, at, "shared"), f"{peer} did not hear of the lesson")
        assert learners.served(peer, "shared") == shared

    lessons = fill(learners, EAST)
    assert cell_of(learners.served(EAST)) != EAST

    cells.kill(WEST)
    assert cell_of(learners.served(WEST)) == EUROPE

    cells.cut(EUROPE)
    assert cell_of(learners.served(EUROPE)) == EUROPE
    waiting = learners.ask(EAST, wait=True)
    assert waiting.status_code == 202
    learners.end(lessons.pop())
    until(lambda: learners.live(waiting.json()["ticket"]), "the head of the queue was not served")
    learners.end(lessons.pop())
    double = {learners.served(near, "begun twice") for near in (EAST, EUROPE)}
    assert {cell_of(one) for one in double} == {EAST, EUROPE}

    assert EUROPE not in recorded(cells, "begun twice"), "a cell that is cut off has no way there"
    assert workers_alive(cells, EUROPE), "whose heartbeats do not wait for it"

    cells.mend(EUROPE)
    handed_on = learners.served(EAST, "after the cut")
    assert cell_of(handed_on) == EUROPE
    assert learners.served(EUROPE, "after the cut") == handed_on
    until(
        lambda: "yes" if recorded(cells, "begun twice") == {EAST, EUROPE} else None,
        "the records did not get what they missed",
    )
    # somebody is in either of the double, and nobody is cut off
    assert all(learners.live(one) for one in [*lessons, *double])


def knows(cells: Cells, cell: str, lesson: str) -> str | None:
    """The session of a lesson that a peer of the cell told of."""
    store = ValkeyStore(cells.cells[cell].store_url, cell, cell)
    owners = store.seek(TENANT, lesson, [one for one in cells.cells if one != cell]).owners
    return next((twin.session_id for twin in owners.values()), None)


def recorded(cells: Cells, lesson: str) -> set[str]:
    """The cells whose sessions of that lesson are in the home cell's records."""
    with psycopg.connect(cells.cells[EAST].database_url) as records:
        found = records.execute("SELECT session_id FROM sessions WHERE lesson_id = %s", [lesson])
        return {cell_of(str(one)) for (one,) in found}


def workers_alive(cells: Cells, cell: str) -> int:
    """As that cell's fleet has them."""
    headers = {"Authorization": f"Bearer {cells.operator_key}"}
    fleet = httpx.get(f"{cells.cells[cell].url}/api/v1/fleet", headers=headers).json()
    return int(fleet["workers_alive"])


def fill(learners: Learners, cell: str) -> list[str]:
    """Live lessons there, as many as make the cell full."""
    rtt_ms = {one: 1 if one == cell else 900 for one in (EAST, WEST, EUROPE)}
    found = []
    while (answer := learners.ask(cell, rtt_ms=rtt_ms)).status_code == 201:
        session_id = answer.json()["session_id"]
        if cell_of(session_id) != cell:
            break
        found.append(session_id)
    assert SLOTS - 1 <= len(found) <= SLOTS
    for session_id in found:
        until(lambda one=session_id: learners.live(one), f"{session_id} was not served")
    return found
