"""A cell's own demand: noted by each plan, learnt from, foreseen, and sent to the records."""

from __future__ import annotations

import pytest

from control.domain.errors import RapidoError
from control.domain.fleet.forecast import BIN_S, WEEK_BINS, bin_of
from control.domain.fleet.state import Outlook
from control.domain.fleet.timetable import PlannedClass
from control.services import demand, foresight
from control.services.demand_ports import Bin
from control.services.fleet import look
from tests.fleet_desk import OD, FleetDesk

MINUTE_S = 60.0


@pytest.fixture
def desk(valkey_url: str) -> FleetDesk:
    return FleetDesk(valkey_url)


def outlook(desk: FleetDesk) -> Outlook:
    seen = look(desk.cell)
    return demand.outlook_for(desk.cell, seen.fleet, seen.observed, 0.98)


def past(desk: FleetDesk, days: int, live: float) -> None:
    """So many days of the same demand, up to the last whole bin."""
    number = bin_of(desk.now_s)
    for one in range(number - days * 288, number):
        desk.store._call("hset", desk.store._prefix + "demand", str(one), f"{live:g}|{live:g}")


def test_a_bin_keeps_the_greatest_number_of_sessions_that_plans_saw_in_it(desk: FleetDesk) -> None:
    desk.boot(OD)
    lessons = [desk.lesson() for _ in range(5)]
    outlook(desk)
    number = bin_of(desk.now_s)
    for one in lessons[:4]:
        desk.end(one)

    outlook(desk)

    assert desk.store.demand(number, number) == {number: Bin(5.0, 5.0)}


def test_without_a_past_the_present_is_expected_with_a_wide_margin(desk: FleetDesk) -> None:
    desk.boot(OD)
    for _ in range(4):
        desk.lesson()

    seen = outlook(desk)

    assert len(seen.mean) == demand.BINS
    assert set(seen.mean) == {4.0}
    assert min(seen.high) > 8.0


def test_what_days_past_were_like_is_expected_again(desk: FleetDesk) -> None:
    desk.boot(OD)
    past(desk, 3, 30.0)

    seen = outlook(desk)

    assert seen.mean[-1] > 15.0, "nobody is there now, and thirty were at this time of every day"


def test_a_profile_stands_for_an_hour_in_a_young_cell(desk: FleetDesk) -> None:
    desk.boot(OD)
    past(desk, 3, 30.0)
    first = outlook(desk)
    kept = desk.store.profile()
    past(desk, 3, 60.0)

    assert outlook(desk).mean == first.mean
    desk.now_ms += 3_600_000
    outlook(desk)

    assert desk.store.profile() != kept


def test_another_quantile_is_learnt_at_once(desk: FleetDesk) -> None:
    desk.boot(OD)
    past(desk, 3, 30.0)
    outlook(desk)
    seen = look(desk.cell)

    demand.outlook_for(desk.cell, seen.fleet, seen.observed, 0.9)

    kept = desk.store.profile()
    assert kept is not None
    assert kept["quantile"] == 0.9


def test_an_announced_class_is_expected_from_when_it_is_known(desk: FleetDesk) -> None:
    desk.boot(OD)
    planned = PlannedClass("school", "7b", desk.now_s + 1200, 2700, 100, desk.now_s + 60)
    desk.store.put_timetable("1", [planned])

    before = outlook(desk)
    desk.pass_s(2 * MINUTE_S)
    after = outlook(desk)

    assert max(before.mean) < 1.0
    assert max(after.mean) == pytest.approx(85.0)
    assert after.mean[0] < 1.0


def test_only_five_weeks_are_kept(desk: FleetDesk) -> None:
    desk.boot(OD)
    old = bin_of(desk.now_s) - 5 * WEEK_BINS
    desk.store.note_demand(old, Bin(1.0, 1.0), 0)
    desk.store.foresee(old, 2.0)

    outlook(desk)

    assert desk.store.demand(old, old) == {}
    assert desk.store.foreseen(old, old) == {}


def test_whole_bins_go_to_the_records_once(desk: FleetDesk) -> None:
    desk.boot(OD)
    desk.lesson()
    outlook(desk)
    number = bin_of(desk.now_s)
    assert demand.archive(desk.cell, desk.now_s) == 0, "the bin is not over"
    desk.pass_s(BIN_S)

    assert demand.archive(desk.cell, desk.now_s) == 1
    assert demand.archive(desk.cell, desk.now_s) == 0

    (row,) = desk.sent
    assert row["kind"] == "demand"
    assert bin_of(row["start_s"]) == number
    assert (row["live"], row["other"]) == (1.0, 1.0)


def test_a_queue_that_is_away_gets_the_bins_later(desk: FleetDesk) -> None:
    desk.boot(OD)
    outlook(desk)
    desk.pass_s(BIN_S)
    desk.queue_away = True
    with pytest.raises(RapidoError):
        demand.archive(desk.cell, desk.now_s)
    desk.queue_away = False

    assert demand.archive(desk.cell, desk.now_s) == 1


def test_the_forecasts_quality_is_told_against_persistence(desk: FleetDesk) -> None:
    desk.boot(OD)
    number = bin_of(desk.now_s)
    for back in range(1, 9):
        desk.store.note_demand(number - back, Bin(10.0 * back, 0.0), 0)
        desk.store.foresee(number - back, 10.0 * back + 1.0)

    found = foresight.quality(desk.cell, 1)

    assert found is not None
    assert found.bins == 4, "of the others nobody knows what was before"
    assert found.forecast == pytest.approx(1.0)
    assert found.persistence == pytest.approx(40.0)
    assert found.ratio == pytest.approx(1 / 40)


def test_nothing_foreseen_has_no_quality(desk: FleetDesk) -> None:
    desk.boot(OD)
    assert foresight.quality(desk.cell, 7) is None
