"""How many sessions will be live: a weekly profile, corrected by now, with quantiles.

Demand falls in two. What the timetable announces is known by class; the rest (walk-ins, classes
that nobody announced) has a profile of bins of five minutes over a week, learnt from weeks past:
each bin's own values and, weighing as much as ``_POOL_WEIGHS`` of them, those of the same time on
like days. The forecast k bins ahead is the profile there plus a share, learnt for each k, of how
far the last bin was off. What weeks past were off by then, in units of sqrt(level + 1) since counts
spread so, gives the quantiles; half-hours begin unlike they go on, so each sixth of one has its
own. A bin's value is the greatest number of sessions in it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from control.domain.fleet.state import Outlook
from control.domain.fleet.timetable import Attendances, PlannedClass

BIN_S = 300.0
WEEK_BINS = 2016
_DAY_BINS = 288
_PHASES = 6
"""Bins of a half-hour."""
MOST_AHEAD = 24
"""Bins whose share of the last error is learnt."""
_POOL_WEIGHS = 4.0
_LEAST_DAYS = 2
EARLY_S, LATE_S = 60.0, 180.0
"""Learners of a class come that long before its start, and until that long after."""
_UNKNOWN_SPREAD = 3.0
"""Of what nothing is learnt about: errors in units of sqrt(level + 1)."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Profile:
    """Learnt of one region; ``spread[q]`` is (ahead, phase) of errors at that quantile."""

    level: Values
    """(2016,) sessions, Monday 00:00 UTC first."""
    carry: Values
    """(MOST_AHEAD,) share of the last bin's error that is left so many bins later, one first."""
    spread: Values
    """(MOST_AHEAD, 6) error that is not exceeded at the quantile, in units of sqrt(level + 1)."""
    quantile: float


def bin_of(at_s: float) -> int:
    """Bins since Monday 00:00 UTC of the week of the Unix epoch."""
    return math.floor((at_s + 3 * 86_400) / BIN_S)


def learn(
    values: Sequence[float], first_bin: int, offset_h: float, quantile: float
) -> Profile | None:
    """From a bin's value each since ``first_bin``, NaN where nothing is known.

    ``offset_h``: the region's hours from UTC, which say where its weekends are. None of fewer than
    two days: too little to tell a profile from.
    """
    known: Values = np.asarray(values, dtype=np.float64)
    if np.isfinite(known).sum() < _LEAST_DAYS * _DAY_BINS:
        return None
    weeks = _by_week(known, first_bin)
    level = _level(weeks, offset_h)
    errors = _errors_unseen(weeks, offset_h, level)
    carry = _carry(errors)
    return Profile(level, carry, _spread(errors, level, carry, quantile), quantile)


def _by_week(values: Values, first_bin: int) -> Values:
    """(weeks, 2016), NaN where nothing is known."""
    before = first_bin % WEEK_BINS
    after = -(before + len(values)) % WEEK_BINS
    return np.pad(values, (before, after), constant_values=np.nan).reshape(-1, WEEK_BINS)


def _level(weeks: Values, offset_h: float) -> Values:
    """(2016,) the weighted mean of a bin's own values and of like days'."""
    there = np.isfinite(weeks)
    own_n = there.sum(axis=0)
    own = np.where(there, weeks, 0.0).sum(axis=0)
    days = ((np.arange(WEEK_BINS) + round(offset_h * 12)) // _DAY_BINS) % 7
    pooled = np.empty(WEEK_BINS)
    for like in (days < 5, days >= 5):
        sums, counts = (
            np.bincount(np.arange(WEEK_BINS)[like] % _DAY_BINS, part[like], _DAY_BINS)
            for part in (own, own_n)
        )
        everywhere = own.sum() / max(1, own_n.sum())
        mean = np.where(counts > 0, sums / np.maximum(1, counts), everywhere)
        pooled[like] = mean[np.arange(WEEK_BINS)[like] % _DAY_BINS]
    level: Values = (own + _POOL_WEIGHS * pooled) / (own_n + _POOL_WEIGHS)
    return level


def _errors_unseen(weeks: Values, offset_h: float, level: Values) -> Values:
    """What each week was off a profile that was learnt without it; of one week, with it."""
    if len(weeks) < 2:
        return weeks - level
    others = (np.delete(weeks, one, axis=0) for one in range(len(weeks)))
    return np.stack(
        [week - _level(rest, offset_h) for week, rest in zip(weeks, others, strict=True)]
    )


def _carry(errors: Values) -> Values:
    """By least squares through zero, each distance for itself."""
    flat = errors.ravel()
    shares = np.zeros(MOST_AHEAD)
    for ahead in range(1, MOST_AHEAD + 1):
        before, after = flat[:-ahead], flat[ahead:]
        both = np.isfinite(before) & np.isfinite(after)
        square = float((before[both] ** 2).sum())
        if square > 0:
            shares[ahead - 1] = min(
                1.0, max(0.0, float((before[both] * after[both]).sum()) / square)
            )
    return shares


def _spread(errors: Values, level: Values, carry: Values, quantile: float) -> Values:
    flat = errors.ravel()
    scale = np.sqrt(np.tile(level, len(errors)) + 1.0)
    phases = np.arange(len(flat)) % _PHASES
    spread = np.full((MOST_AHEAD, _PHASES), _UNKNOWN_SPREAD)
    for ahead in range(1, MOST_AHEAD + 1):
        missed = (flat[ahead:] - carry[ahead - 1] * flat[:-ahead]) / scale[ahead:]
        for phase in range(_PHASES):
            there = missed[(phases[ahead:] == phase) & np.isfinite(missed)]
            if len(there):
                spread[ahead - 1, phase] = max(0.0, float(np.quantile(there, quantile)))
    return spread


@dataclass(frozen=True)
class Now:
    """What is known at a moment: ``here`` maps (tenant, class) to its open sessions."""

    at_s: float
    live: float
    """All of them, and those that wait for a slot."""
    here: Mapping[tuple[str, str], int]
    last_other: float | None
    """The rest's value in the last whole bin; None where it is not known."""


def outlook(
    profile: Profile | None,
    now: Now,
    classes: Sequence[PlannedClass],
    attendances: Attendances,
    bins: int,
) -> Outlook:
    """``bins`` from the one that now is in; ``classes`` are those of this region, any time.

    Who is there long before a class or stays when it is over counts with the rest.
    """
    announced, spread = _announced(now, classes, attendances, bins)
    begin_s = _begin_s(now.at_s)
    known = {
        (one.tenant, one.class_id)
        for one in classes
        if one.start_s - EARLY_S < begin_s + BIN_S and begin_s <= one.end_s
    }
    other_now = max(0.0, now.live - sum(n for key, n in now.here.items() if key in known))
    rest, margin = _rest(profile, now, other_now, bins)
    mean = rest + announced
    sure = 2.33 if profile is None else _normal(profile.quantile)
    high = mean + np.sqrt(margin**2 + sure**2 * spread)
    return Outlook(BIN_S, tuple(mean.tolist()), tuple(high.tolist()))


def _begin_s(at_s: float) -> float:
    """Of the bin that a moment is in."""
    return math.floor(at_s / BIN_S) * BIN_S


def _normal(quantile: float) -> float:
    """Standard deviations of a normal distribution at a quantile."""
    from statistics import NormalDist

    return max(0.0, NormalDist().inv_cdf(quantile))


def _rest(profile: Profile | None, now: Now, other_now: float, bins: int) -> tuple[Values, Values]:
    """(mean, margin up to the quantile) of what nobody announced."""
    if profile is None:
        mean = np.full(bins, other_now)
        return mean, _UNKNOWN_SPREAD * np.sqrt(mean + 1.0)
    first = bin_of(now.at_s)
    at = np.arange(first, first + bins)
    level = profile.level[at % WEEK_BINS]
    ahead = np.minimum(np.arange(bins), MOST_AHEAD - 1)
    off = other_now - level[0]
    if now.last_other is not None:
        before = profile.level[(first - 1) % WEEK_BINS]
        off = max(off, profile.carry[0] * (now.last_other - before))
    left = np.concatenate(([1.0], profile.carry))[ahead]
    mean = np.maximum(0.0, level + off * left)
    return mean, profile.spread[ahead, at % _PHASES] * np.sqrt(level + 1.0)


def _announced(
    now: Now, classes: Sequence[PlannedClass], attendances: Attendances, bins: int
) -> tuple[Values, Values]:
    """(mean, variance) of the classes' sessions a bin; one that began counts by who is there."""
    mean, variance = np.zeros(bins), np.zeros(bins)
    begin_s = _begin_s(now.at_s)
    for one in classes:
        low = math.floor((one.start_s - EARLY_S - begin_s) / BIN_S)
        high = math.floor((one.end_s - begin_s) / BIN_S) + 1
        if high <= 0 or low >= bins:
            continue
        there = now.here.get((one.tenant, one.class_id), 0)
        came = now.at_s > one.start_s + LATE_S
        count = there if came else max(there, attendances.expected(one))
        span = slice(max(0, low), min(bins, high))
        mean[span] += count
        if not came:
            share = min(1.0, count / one.expected) if one.expected > 0 else 1.0
            variance[span] += count * (1.0 - share)
    return mean, variance
