"""A cell without a free slot plans at once; whoever asked for one waits for nothing more."""

from __future__ import annotations

from dataclasses import replace

import pytest

from control.contracts.session import CreateSession
from control.domain.errors import RapidoError
from control.services import sessions
from control.services.ports import Caller
from tests.fleet_desk import OD, FleetDesk

SCHOOL = Caller("school", "client")


@pytest.fixture
def desk(valkey_url: str) -> FleetDesk:
    return FleetDesk(valkey_url)


def ask(desk: FleetDesk, lesson: str, *, wait: bool) -> str:
    room = {"url": "wss://own.example.com", "token": "t" * 20, "agent_identity": "agent"}
    body = CreateSession.model_validate({"lesson_id": lesson, "room": room, "wait": wait})
    session, _ = sessions.create(desk.cell, SCHOOL, body, None, None, None)
    return session.status


def nudges(desk: FleetDesk) -> list[str]:
    return [given["reason"] for name, given in desk.workflows.started.items() if "nudge" in name]


def test_a_session_that_gets_a_slot_nudges_nobody(desk: FleetDesk) -> None:
    desk.boot(OD)

    assert ask(desk, "one", wait=True) == "starting"
    assert nudges(desk) == []


def test_a_session_that_waits_has_the_fleet_planned_once_for_all_that_wait(
    desk: FleetDesk,
) -> None:
    desk.boot(OD, slots=1)
    ask(desk, "one", wait=True)

    assert [ask(desk, lesson, wait=True) for lesson in ("two", "three")] == ["queued"] * 2
    assert nudges(desk) == ["a session is queued"]
    assert desk.fleet().queued == 2


def test_a_session_that_is_refused_has_the_fleet_planned_as_well(desk: FleetDesk) -> None:
    desk.boot(OD, slots=1)
    ask(desk, "one", wait=True)

    with pytest.raises(RapidoError, match="Every slot of this cell is taken"):
        ask(desk, "two", wait=False)

    assert nudges(desk) == ["a session is full"]


def test_a_cell_without_pools_refuses_and_starts_nothing(desk: FleetDesk) -> None:
    desk.boot(OD, slots=1)
    ask(desk, "one", wait=True)
    desk.cell = replace(desk.cell, scaling=None)

    assert ask(desk, "two", wait=True) == "queued"
    assert nudges(desk) == []
