"""A cell's own demand: noted each minute, learnt from each day, and what is to be expected.

Imports the forecast, whose package only PlanFunction carries; how good the forecast was is in
services/foresight.py, which needs none.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from control.domain.fleet import forecast
from control.domain.fleet.forecast import BIN_S, WEEK_BINS, Now, Profile, bin_of
from control.domain.fleet.state import Fleet, Outlook
from control.domain.geography import hours_from_utc
from control.services.demand_ports import Bin
from control.services.foresight import AHEAD_BINS, EPOCH_S
from control.services.planner_ports import Observed
from control.services.ports import Cell
from control.services.upkeep import BATCH, DEMAND

KEPT_BINS = 5 * WEEK_BINS
LEARNT_EVERY_S = 86_400.0
_UNSENT_BINS = WEEK_BINS
"""Older ones, that the queue did not take in a week, are not sent."""
YOUNG_S, YOUNG_EVERY_S = 14 * 86_400.0, 3600.0
"""A cell that young learns anew each hour."""
BINS = 13
"""An hour, and the bin that now is in."""


def outlook_for(cell: Cell, fleet: Fleet, seen: Observed, quantile: float) -> Outlook:
    """What is to be expected, and notes what is. One planner a cell calls it at a time.

    Without a past of two days the present is taken for the future, with a wide margin; without a
    timetable there are no classes. Raises StoreAway.
    """
    number = bin_of(fleet.now_s)
    classes = [one for one in cell.store.timetable() if one.known_s <= fleet.now_s]
    here = {(one.tenant, one.class_id): one.open for one in seen.classes if one.open}
    live = float(fleet.live + fleet.queued)
    known = {(one.tenant, one.class_id) for one in classes}
    other = max(0.0, live - sum(n for key, n in here.items() if key in known))
    before = cell.store.demand(number - 1, number)
    cell.store.note_demand(number, Bin(live, other), number - KEPT_BINS)
    last = before.get(number - 1)
    now = Now(fleet.now_s, live, here, last.other if last else None)
    profile = _profile(cell, number, fleet.now_s, quantile)
    outlook = forecast.outlook(profile, now, classes, cell.store.attendances(), BINS)
    cell.store.foresee(number + AHEAD_BINS, outlook.mean[AHEAD_BINS])
    return outlook


def archive(cell: Cell, now_s: float) -> int:
    """Hands whole bins to the records' queue, ten at most; how many. Those that it did not take
    stay to be sent. Raises unavailable, StoreAway.
    """
    number = bin_of(now_s)
    last = cell.store.archived()
    first = number - _UNSENT_BINS if last is None else max(last + 1, number - _UNSENT_BINS)
    whole = dict(sorted(cell.store.demand(first, number - 1).items())[:BATCH])
    if whole:
        cell.queue.send([_row(cell, n, seen) for n, seen in whole.items()])
        cell.store.put_archived(max(whole))
    return len(whole)


def _row(cell: Cell, number: int, seen: Bin) -> str:
    start_s = number * BIN_S - EPOCH_S
    row = {"kind": DEMAND, "cell": cell.name, "region": cell.region, "start_s": start_s,
           "live": seen.live, "other": seen.other}  # fmt: skip
    return json.dumps(row)


def _profile(cell: Cell, number: int, now_s: float, quantile: float) -> Profile | None:
    """The one that was learnt last, or a new one where that is old; None where none can be."""
    kept = cell.store.profile()
    if kept is not None and kept["quantile"] == quantile and now_s < kept["until_s"]:
        return _read(kept)
    known = cell.store.demand(number - KEPT_BINS, number - 1)
    first = min(known, default=number)
    past = [known[n].other if n in known else np.nan for n in range(first, number)]
    learnt = forecast.learn(past, first, hours_from_utc(cell.at), quantile)
    young = (number - first) * BIN_S < YOUNG_S
    until_s = now_s + (YOUNG_EVERY_S if young else LEARNT_EVERY_S)
    cell.store.put_profile(_text(learnt, quantile) | {"until_s": until_s})
    return learnt


def _text(profile: Profile | None, quantile: float) -> dict[str, Any]:
    if profile is None:
        return {"quantile": quantile, "level": None}
    return {
        "quantile": quantile,
        "level": profile.level.round(3).tolist(),
        "carry": profile.carry.round(4).tolist(),
        "spread": profile.spread.round(4).tolist(),
    }


def _read(kept: Any) -> Profile | None:
    if kept["level"] is None:
        return None
    level, carry, spread = (np.asarray(kept[name], float) for name in ("level", "carry", "spread"))
    return Profile(level, carry, spread, float(kept["quantile"]))
