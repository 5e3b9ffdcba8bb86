"""How good the forecast was a quarter of an hour ahead, against expecting what is now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from control.domain.fleet import forecast
from control.domain.fleet.forecast import Now, Profile
from control.domain.fleet.timetable import Attendances, PlannedClass
from ops.simulate.fleet.concurrency import SAMPLE_S, at_once
from ops.simulate.fleet.inputs import Inputs
from ops.simulate.fleet.scalers import MONDAY_S, as_planned
from ops.simulate.fleet.weeks import Announced, Lesson

AHEAD_BINS = 3
_EACH = int(forecast.BIN_S / SAMPLE_S)
_LONGEST_S = 7200.0


@dataclass(frozen=True)
class Errors:
    """Mean absolute errors, in sessions, and the mean that they are errors of."""

    forecast: float
    persistence: float
    level: float
    points: int


def errors(
    inputs: Inputs, region: str, profile: Profile | None, attendances: Attendances
) -> Errors:
    """At each bin's begin of the judged week, for the greatest number of sessions in the bin
    that lies
    15 minutes ahead; persistence takes the greatest of the last five minutes."""
    begin_s, end_s = inputs.judged
    mine = [one for one in inputs.lessons if one.region == region]
    announced = {one.class_id: one for one in inputs.classes if one.region == region}
    live = at_once(mine, begin_s, end_s)
    other = at_once([one for one in mine if one.class_id not in announced], begin_s, end_s)
    live_bins, other_bins = (part.reshape(-1, _EACH).max(axis=1) for part in (live, other))
    by_class = _open_by_class(mine, announced)
    planned = [as_planned(one) for one in announced.values()]
    missed, stayed = [], []
    for number in range(1, len(live_bins) - AHEAD_BINS):
        at_s = begin_s + number * forecast.BIN_S
        near = [one for one in planned if _near(one, at_s + MONDAY_S)]
        here = {("", one.class_id): _open(by_class.get(one.class_id, []), at_s) for one in near}
        now = Now(MONDAY_S + at_s, float(live[number * _EACH]), here, float(other_bins[number - 1]))
        seen = forecast.outlook(profile, now, near, attendances, AHEAD_BINS + 1)
        actual = live_bins[number + AHEAD_BINS]
        missed.append(abs(seen.mean[AHEAD_BINS] - actual))
        stayed.append(abs(live_bins[number - 1] - actual))
    return Errors(
        float(np.mean(missed)), float(np.mean(stayed)), float(live_bins.mean()), len(missed)
    )


def _near(one: PlannedClass, at_s: float) -> bool:
    ahead_s = (AHEAD_BINS + 1) * forecast.BIN_S + forecast.EARLY_S
    return one.known_s <= at_s and at_s - _LONGEST_S < one.start_s < at_s + ahead_s


def _open_by_class(
    lessons: Sequence[Lesson], announced: dict[str, Announced]
) -> dict[str, list[tuple[float, float]]]:
    spans: dict[str, list[tuple[float, float]]] = {}
    for one in lessons:
        if one.class_id in announced:
            spans.setdefault(one.class_id, []).append((one.start_s, one.start_s + one.duration_s))
    return spans


def _open(spans: Sequence[tuple[float, float]], at_s: float) -> int:
    return sum(begin <= at_s < end for begin, end in spans)
