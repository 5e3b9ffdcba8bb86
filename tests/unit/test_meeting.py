"""What is due of the classes at a moment."""

from __future__ import annotations

from dataclasses import replace

import pytest

from control.domain.fleet.meeting import HOLD_BEFORE_S, LEARN_AFTER_S, held_now, to_learn
from control.domain.fleet.timetable import PlannedClass

START_S = 1_800_000_000.0
MATH = PlannedClass("school", "math", START_S, 2700.0, 24.0, hold=10, hold_s=600.0)


@pytest.mark.parametrize(
    ("at_s", "held"),
    [
        (START_S - HOLD_BEFORE_S - 1, False),
        (START_S - HOLD_BEFORE_S, True),
        (START_S + 599, True),
        (START_S + 600, False),
    ],
)
def test_slots_are_held_from_shortly_before_the_start_until_the_hold_ends(
    at_s: float, held: bool
) -> None:
    assert (held_now([MATH], at_s) == (MATH,)) is held


def test_nothing_is_held_for_a_class_that_did_not_ask_for_it() -> None:
    assert held_now([replace(MATH, hold=0)], START_S) == ()


def test_the_earliest_class_is_served_first() -> None:
    later = replace(MATH, class_id="art", start_s=START_S + 60)

    assert held_now([later, MATH], START_S) == (MATH, later)


def test_who_came_is_counted_twenty_minutes_after_the_start() -> None:
    assert to_learn([MATH], START_S + LEARN_AFTER_S - 1) == ()
    assert to_learn([MATH], START_S + LEARN_AFTER_S) == (MATH,)
