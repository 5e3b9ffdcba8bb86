"""Every minute's upkeep where a part of it fails."""

from __future__ import annotations

import pytest

from control import bootstrap
from control.entrypoints import events
from control.services import timetable_copy, upkeep
from control.services.ports import Cell
from tests.fleet_desk import OD, FleetDesk


@pytest.fixture
def desk(valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> FleetDesk:
    """A cell with a lesson that its records have not heard of."""
    found = FleetDesk(valkey_url)
    monkeypatch.setattr(bootstrap, "cell", lambda: found.cell)
    monkeypatch.setattr(timetable_copy, "refresh", lambda cell, now_s: "")
    found.boot(OD)
    found.lesson()
    return found


class NoWorkflows(Exception):
    """Step Functions' answer to any call."""


def test_a_part_that_fails_keeps_no_other_from_its_work_and_fails_the_tick(
    desk: FleetDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(cell: Cell) -> int:
        raise NoWorkflows

    monkeypatch.setattr(upkeep, "reap", fails)

    with pytest.raises(ExceptionGroup) as told:
        events.tick({}, None)

    assert [type(one) for one in told.value.exceptions] == [NoWorkflows]
    assert [one["status"] for one in desk.sent] == ["starting"]


def test_a_records_queue_that_is_away_fails_no_tick(desk: FleetDesk) -> None:
    desk.queue_away = True
    assert events.tick({}, None) == {"driven": 0, "held": 0, "learnt": 0, "recorded": None}
