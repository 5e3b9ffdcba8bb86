"""What is due of the classes at a moment: slots to be held, attendance to be learnt."""

from __future__ import annotations

from collections.abc import Iterable

from control.domain.fleet.timetable import PlannedClass

HOLD_BEFORE_S = 120.0
"""Slots are held that long before a class begins: learners come early."""
LEARN_AFTER_S = 20 * 60.0
"""Who has not come by then does not come."""


def held_now(classes: Iterable[PlannedClass], now_s: float) -> tuple[PlannedClass, ...]:
    """Those that slots are to be held for, the earliest first."""
    due = (
        one
        for one in classes
        if one.hold > 0 and one.start_s - HOLD_BEFORE_S <= now_s < one.start_s + one.hold_s
    )
    return tuple(sorted(due, key=lambda one: (one.start_s, one.tenant, one.class_id)))


def to_learn(classes: Iterable[PlannedClass], now_s: float) -> tuple[PlannedClass, ...]:
    """Those whose learners are counted now, as far as it was not done yet."""
    return tuple(one for one in classes if one.start_s + LEARN_AFTER_S <= now_s)
