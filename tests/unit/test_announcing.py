"""Which classes are taken into the timetable, and what a region gets of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.domain.errors import Fault
from control.domain.fleet.announcing import FURTHEST_S, Announcement, divided, faults, in_region

NOW_S = datetime(2027, 1, 29, 12, tzinfo=UTC).timestamp()
HERE = {"us-east-1", "eu-central-1"}
HOUR_S = 3600.0
MATH = Announcement("math", NOW_S + HOUR_S, 2700.0, 24, {"us-east-1": 1.0}, 10, 600.0)


def found(
    *asked: Announcement, known: Mapping[str, Announcement] | None = None, now_s: float = NOW_S
) -> tuple[Fault, ...]:
    return faults(asked, known or {}, HERE, now_s)


def only(*asked: Announcement, **more: Mapping[str, Announcement]) -> Fault:
    (one,) = found(*asked, **more)
    assert one.remedy
    return one


def test_a_class_to_come_has_no_fault() -> None:
    assert found(MATH, replace(MATH, class_id="art")) == ()


def test_a_class_that_ended_is_refused_with_when() -> None:
    fault = only(MATH, replace(MATH, class_id="past", start_s=NOW_S - HOUR_S))

    assert fault.field == "classes.1.start"
    assert "ended at 2027-01-29T11:45:00Z" in fault.fault


def test_a_class_that_runs_may_be_changed() -> None:
    runs = replace(MATH, start_s=NOW_S - 600)

    assert found(replace(runs, expected=30), known={"math": runs}) == ()


def test_a_class_is_not_begun_after_its_start() -> None:
    fault = only(replace(MATH, start_s=NOW_S - 600))

    assert fault.field == "classes.0.start"
    assert "no class 'math' was announced" in fault.fault


@pytest.mark.parametrize("to_s", [NOW_S - 300, NOW_S + HOUR_S])
def test_a_class_that_runs_is_not_moved(to_s: float) -> None:
    runs = replace(MATH, start_s=NOW_S - 600)

    fault = only(replace(runs, start_s=to_s), known={"math": runs})

    assert fault.field == "classes.0.start"
    assert "runs since 2027-01-29T11:50:00Z" in fault.fault


def test_what_was_taken_is_taken_again_though_it_is_over() -> None:
    over = replace(MATH, start_s=NOW_S - HOUR_S)

    assert found(replace(over, known_s=1.0), known={"math": over}) == ()


def test_an_id_whose_class_is_over_may_be_used_anew() -> None:
    over = replace(MATH, start_s=NOW_S - HOUR_S)

    assert found(MATH, known={"math": over}) == ()


def test_a_class_id_twice_in_one_call_is_refused() -> None:
    fault = only(MATH, replace(MATH, start_s=NOW_S + 5 * HOUR_S))

    assert (fault.field, fault.fault) == ("classes.1.class_id", "is that of classes.0 too")


def test_overlapping_classes_of_one_id_are_told_as_such() -> None:
    fault = only(MATH, replace(MATH, start_s=MATH.start_s + 600))

    assert fault.field == "classes.1.class_id"
    assert "overlap" in fault.fault


def test_overlapping_classes_of_two_ids_are_two_classes() -> None:
    assert found(MATH, replace(MATH, class_id="art", start_s=MATH.start_s + 600)) == ()


def test_a_class_more_than_a_year_ahead_is_refused() -> None:
    fault = only(replace(MATH, start_s=NOW_S + FURTHEST_S + 1))

    assert fault.field == "classes.0.start"
    assert "more than a year ahead" in fault.fault


def test_a_region_without_a_cell_is_refused_with_those_that_have_one() -> None:
    fault = only(replace(MATH, shares={"us-east-1": 0.5, "ap-south-1": 0.5}))

    assert fault.field == "classes.0.regions.ap-south-1"
    assert fault.remedy == "use one of eu-central-1, us-east-1"


@pytest.mark.parametrize("shares", [(0.5, 0.4), (0.7, 0.7)])
def test_shares_that_do_not_sum_to_one_are_refused(shares: tuple[float, float]) -> None:
    fault = only(replace(MATH, shares=dict(zip(sorted(HERE), shares, strict=True))))

    assert fault.field == "classes.0.regions"
    assert f"sum to {sum(shares):g}" in fault.fault


def test_shares_that_miss_one_by_rounding_are_taken() -> None:
    assert found(replace(MATH, shares={"us-east-1": 0.333, "eu-central-1": 0.66})) == ()


def test_more_slots_held_than_learners_expected_are_refused() -> None:
    fault = only(replace(MATH, hold=25))

    assert (fault.field, fault.remedy) == ("classes.0.hold", "send at most 24")


def test_slots_are_not_held_beyond_the_class() -> None:
    fault = only(replace(MATH, hold_s=2760.0))

    assert (fault.field, fault.remedy) == ("classes.0.hold_minutes", "send at most 45")


def test_every_fault_is_told_at_once() -> None:
    wrong = replace(MATH, start_s=NOW_S - HOUR_S, hold=30, shares={"us-east-1": 0.2})

    assert {one.field for one in found(wrong)} == {
        "classes.0.start",
        "classes.0.hold",
        "classes.0.regions",
    }


def test_a_region_gets_its_share_of_learners_and_of_slots() -> None:
    split = replace(MATH, shares={"us-east-1": 0.75, "eu-central-1": 0.25}, hold=10)

    east, west = (in_region(split, "school", region) for region in split.shares)

    assert (east.expected, east.hold) == (18.0, 7)
    assert (west.expected, west.hold) == (6.0, 3)
    assert (east.tenant, east.class_id, east.end_s) == ("school", "math", MATH.end_s)


shares = st.dictionaries(st.text("abcdef", min_size=1), st.floats(0.01, 1), min_size=1, max_size=8)


@given(st.integers(0, 5000), shares)
def test_held_slots_are_divided_whole_and_none_is_lost(slots: int, parts: dict[str, float]) -> None:
    given_to = divided(slots, parts)

    assert sum(given_to.values()) == slots
    whole = sum(parts.values())
    assert all(abs(given_to[one] - slots * part / whole) < 1 for one, part in parts.items())
