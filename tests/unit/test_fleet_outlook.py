"""What is expected of the next half hour, from what the cell's own store knows."""

from __future__ import annotations

import math

import pytest

from control.domain.fleet.forecast import BIN_S, bin_of
from control.domain.fleet.state import Outlook
from control.domain.fleet.timetable import FIRST_GUESS_ABSENT, PlannedClass
from control.services import outlooks, planner
from control.services.outlooks import WEEKS, outlook_for
from tests.fleet_desk import OD, FleetDesk, always


@pytest.fixture
def desk(valkey_url: str) -> FleetDesk:
    return FleetDesk(valkey_url)


def seen(desk: FleetDesk) -> Outlook:
    return outlook_for(desk.cell, desk.fleet(), 0.97)


def test_without_a_past_what_is_there_stays_and_a_margin_is_on_it(desk: FleetDesk) -> None:
    desk.boot(OD, slots=3)
    for _ in range(5):
        desk.lesson()

    found = seen(desk)

    assert (found.step_s, len(found.mean)) == (BIN_S, outlooks.BINS)
    assert set(found.mean) == {5.0}, "those that wait as well"
    assert min(found.high) > 5


def test_an_announced_class_is_expected_at_its_start_less_those_who_stay_away(
    desk: FleetDesk,
) -> None:
    desk.pools.make(OD)
    start_s = (math.floor(desk.now_s / BIN_S) + 3) * BIN_S
    planned = PlannedClass("school", "7b", start_s, 2700.0, 20.0, known_s=0.0)
    desk.store.put_timetable("1", [planned])

    found = seen(desk)

    assert found.mean[:2] == (0.0, 0.0)
    assert found.mean[3:] == (20.0 * (1 - FIRST_GUESS_ABSENT),) * (outlooks.BINS - 3)
    assert found.high[3] > found.mean[3]


def test_the_past_is_learnt_from_and_what_is_old_is_forgotten(desk: FleetDesk) -> None:
    desk.pools.make(OD)
    here = bin_of(desk.now_s)
    for back in range(1, 3 * 288):
        busy = (here - back) % 288 == (here + 4) % 288
        desk.store.note_demand(here - back, 30.0 if busy else 2.0)
    desk.store.note_demand(here - WEEKS * 2016 - 1, 500.0)

    found = seen(desk)

    assert found.mean[4] > 3 * found.mean[1], "as on the days before at this time"
    assert max(desk.store.demand(here - WEEKS * 2016).values()) == 30.0


def test_of_five_minutes_the_greatest_demand_is_noted(desk: FleetDesk) -> None:
    desk.boot(OD)
    desk.now_ms = int((math.floor(desk.now_s / BIN_S) * BIN_S + 1) * 1000)
    lessons = [desk.lesson() for _ in range(3)]
    planner.tick(desk.cell, always())
    for one in lessons[:2]:
        desk.end(one)
    desk.pass_s(60)

    planner.tick(desk.cell, always())

    here = bin_of(desk.now_s)
    assert desk.store.demand(0) == {here: 3.0}
    assert desk.store.note_demand(here + 1, 1.0) == 3.0
