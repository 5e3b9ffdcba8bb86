"""What is to be expected: the cell's own past, its timetable, and who is there now."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from control.domain.fleet import forecast
from control.domain.fleet.forecast import BIN_S, EARLY_S, WEEK_BINS, Now, Profile
from control.domain.fleet.state import Fleet, Outlook
from control.domain.fleet.timetable import PlannedClass
from control.domain.geography import hours_from_utc
from control.services.ports import Cell

BINS = 7
"""Looked ahead, the one that now is in among them."""
WEEKS = 5
"""Of the cell's past that are kept and learnt from."""
LEARNT_EVERY_S = 3600.0

_learnt: dict[str, tuple[int, Profile | None]] = {}
"""By cell: the hour it was learnt in. A warm function learns once an hour, not once a plan."""


def outlook_for(cell: Cell, fleet: Fleet, quantile: float) -> Outlook:
    """Sessions a bin from now on; what is seen now becomes part of the past. Raises StoreAway."""
    near = _near(cell.store.timetable(), fleet.now_s)
    there = {(one.tenant, one.class_id): one.open for one in cell.store.observe().classes}
    announced = {(one.tenant, one.class_id) for one in near}
    live = float(fleet.live + fleet.queued)
    other = max(0.0, live - sum(there.get(one, 0) for one in announced))
    here = forecast.bin_of(fleet.now_s)
    last = cell.store.note_demand(here, other)
    now = Now(fleet.now_s, live, there, last)
    profile = _profile(cell, fleet.now_s, quantile)
    return forecast.outlook(profile, now, near, cell.store.attendances(), BINS)


def _near(classes: Sequence[PlannedClass], now_s: float) -> list[PlannedClass]:
    """Those that run, ended a moment ago, or begin before the outlook ends."""
    until_s = now_s + BINS * BIN_S + EARLY_S
    return [one for one in classes if one.start_s < until_s and one.end_s > now_s - BIN_S]


def _profile(cell: Cell, now_s: float, quantile: float) -> Profile | None:
    hour = math.floor(now_s / LEARNT_EVERY_S)
    known = _learnt.get(cell.name)
    if known is None or known[0] != hour:
        here = forecast.bin_of(now_s)
        past = cell.store.demand(here - WEEKS * WEEK_BINS)
        known = hour, learn(past, here, hours_from_utc(cell.at), quantile)
        _learnt[cell.name] = known
    return known[1]


def learn(past: Mapping[int, float], here: int, offset_h: float, quantile: float) -> Profile | None:
    """From what was noted before the bin that now is in; None of too short a past."""
    first = min(past, default=here)
    values = [past.get(one, math.nan) for one in range(first, here)]
    return forecast.learn(values, first, offset_h, quantile)
