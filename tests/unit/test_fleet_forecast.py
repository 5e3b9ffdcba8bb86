"""How many sessions will be live: learnt weeks, announced classes, and how sure it is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.domain.fleet.forecast import (
    BIN_S,
    LATE_S,
    MOST_AHEAD,
    WEEK_BINS,
    Now,
    Profile,
    bin_of,
    learn,
    outlook,
)
from control.domain.fleet.state import Outlook
from control.domain.fleet.timetable import Attendance, Attendances, PlannedClass, hour_of

DAY_BINS = 288
MONDAY_S = 4 * 86_400.0
"""A Monday 00:00 UTC."""
NOBODY_STAYS_AWAY = Attendances(
    {("school", hour): Attendance(1e3, 2e3) for hour in range(24)}
)  # fmt: skip


def shape(first_bin: int, count: int, offset_h: float = 0.0) -> np.ndarray:
    """A school's demand: 40 at noon by local time, a quarter of it at weekends, 5 at night."""
    at = np.arange(first_bin, first_bin + count) + round(offset_h * 12)
    hour, day = at % DAY_BINS / 12, at // DAY_BINS % 7
    busy = np.exp(-(((hour - 12.0) / 3.0) ** 2)) * np.where(day >= 5, 0.25, 1.0)
    return 5.0 + 35.0 * busy


def weeks(count: int, seed: int, offset_h: float = 0.0, first_bin: int = 0) -> np.ndarray:
    """With noise that lasts for half an hour or so, as lessons do."""
    dice = np.random.default_rng(seed)
    mean = shape(first_bin, count * WEEK_BINS, offset_h)
    noise, last = np.empty(len(mean)), 0.0
    for number, shock in enumerate(dice.normal(0.0, 1.0, len(mean))):
        last = 0.8 * last + 0.6 * shock
        noise[number] = last
    return np.maximum(0.0, np.round(mean + noise * np.sqrt(mean)))


def learnt(values: Sequence[float] | np.ndarray, **other: float) -> Profile:
    asked = {"first_bin": 0, "offset_h": 0.0, "quantile": 0.95} | other
    profile = learn(list(values), **asked)  # type: ignore[arg-type]
    assert profile is not None
    return profile


def a_class(start_s: float, expected: float = 20.0, **more: object) -> PlannedClass:
    known = {"tenant": "school", "class_id": "math", "duration_s": 2700.0} | more
    return PlannedClass(start_s=start_s, expected=expected, **known)  # type: ignore[arg-type]


def seen(
    *classes: PlannedClass,
    at_s: float = MONDAY_S,
    live: float = 0.0,
    here: dict[tuple[str, str], int] | None = None,
    attendances: Attendances = NOBODY_STAYS_AWAY,
    profile: Profile | None = None,
    bins: int = 12,
) -> Outlook:
    return outlook(profile, Now(at_s, live, here or {}, None), classes, attendances, bins)


# ---- weeks past ---------------------------------------------------------------------------------


def test_bins_count_from_a_monday_in_utc() -> None:
    assert bin_of(MONDAY_S) % WEEK_BINS == 0
    assert bin_of(MONDAY_S - 0.1) % WEEK_BINS == WEEK_BINS - 1
    assert bin_of(MONDAY_S + 3600.0) % WEEK_BINS == 12


def test_the_profile_is_near_to_what_weeks_were_like() -> None:
    profile = learnt(weeks(4, seed=1))

    assert np.abs(profile.level - shape(0, WEEK_BINS)).mean() < 1.5


@pytest.mark.parametrize("offset_h", [-8.0, 0.0, 5.5])
def test_weekends_are_the_regions_own(offset_h: float) -> None:
    """Monday 03:00 UTC is Sunday evening in us-west-2: it is no day like the other Mondays'."""
    profile = learnt(weeks(1, seed=2, offset_h=offset_h), offset_h=offset_h)

    off = np.abs(profile.level - shape(0, WEEK_BINS, offset_h))
    assert off.mean() < 1.5
    wrong = learnt(weeks(1, seed=2, offset_h=offset_h), offset_h=offset_h + 12)
    assert off.mean() < 0.8 * np.abs(wrong.level - shape(0, WEEK_BINS, offset_h)).mean()


def test_weeks_that_began_at_any_time_are_laid_upon_each_other() -> None:
    first = 3 * WEEK_BINS + 700

    profile = learnt(weeks(3, seed=3, first_bin=first), first_bin=first)

    assert np.abs(profile.level - shape(0, WEEK_BINS)).mean() < 1.5


def test_hours_that_nobody_knows_of_are_filled_from_days_like_them() -> None:
    values = weeks(2, seed=4)
    tuesday_noon = slice(DAY_BINS + 120, DAY_BINS + 168)
    for week in values.reshape(2, WEEK_BINS):
        week[tuesday_noon] = np.nan

    profile = learnt(values)

    wanted = shape(0, WEEK_BINS)[tuesday_noon]
    assert np.isfinite(profile.level).all()
    assert np.abs(profile.level[tuesday_noon] - wanted).mean() < 3.0


def test_a_profile_of_weekdays_alone_has_a_weekend() -> None:
    profile = learnt(shape(0, 3 * DAY_BINS))

    weekend = profile.level[5 * DAY_BINS :]
    assert weekend == pytest.approx(np.full(2 * DAY_BINS, shape(0, 3 * DAY_BINS).mean()))


@pytest.mark.parametrize(
    "values",
    [[], [5.0] * (2 * DAY_BINS - 1), [np.nan] * 4 * WEEK_BINS, [5.0, np.nan] * (2 * DAY_BINS - 1)],
)
def test_of_less_than_two_days_nothing_is_learnt(values: list[float]) -> None:
    assert learn(values, 0, 0.0, 0.95) is None


def test_two_days_are_enough() -> None:
    assert learn([5.0] * 2 * DAY_BINS, 0, 0.0, 0.95) is not None


def test_the_last_error_is_carried_on_less_the_further_ahead() -> None:
    carry = learnt(weeks(4, seed=5)).carry

    assert len(carry) == MOST_AHEAD
    assert 0.6 < carry[0] < 0.95
    assert carry[11] < 0.3
    assert ((carry >= 0.0) & (carry <= 1.0)).all()


def test_noise_that_lasts_for_no_bin_is_not_carried_on() -> None:
    dice = np.random.default_rng(6)

    carry = learnt(shape(0, 4 * WEEK_BINS) + dice.normal(0, 3, 4 * WEEK_BINS)).carry

    assert carry.max() < 0.15


def test_the_margin_grows_with_the_quantile() -> None:
    values = weeks(4, seed=7)
    half, most, nearly_all = (learnt(values, quantile=q).spread for q in (0.5, 0.9, 0.99))

    assert (half <= most).all()
    assert (most < nearly_all).all()
    assert (half >= 0.0).all()


def test_weeks_without_any_noise_leave_hardly_a_margin() -> None:
    assert learnt(shape(0, 4 * WEEK_BINS)).spread.max() < 0.01


@pytest.mark.parametrize("quantile", [0.8, 0.95])
@pytest.mark.parametrize("ahead", [0, 3, 11])
def test_of_a_week_that_was_not_learnt_from_so_many_values_lie_below_the_quantile(
    quantile: float, ahead: int
) -> None:
    values = weeks(5, seed=8)
    profile = learnt(values[: 4 * WEEK_BINS], quantile=quantile)
    held_out = values[4 * WEEK_BINS :]

    below = []
    for number in range(1, WEEK_BINS - ahead, 3):
        at_s = MONDAY_S + number * BIN_S
        now = Now(at_s, float(held_out[number - 1]), {}, None)
        high = outlook(profile, now, (), Attendances(), ahead + 1).high[ahead]
        below.append(held_out[number + ahead] <= high)

    assert quantile - 0.05 <= np.mean(below) <= min(1.0, quantile + 0.1)


def test_a_busier_day_than_usual_is_expected_to_go_on_for_a_while() -> None:
    profile = learnt(weeks(4, seed=9))
    usual = float(profile.level[144])
    noon_s = MONDAY_S + 144 * BIN_S

    busy = seen(at_s=noon_s, live=usual + 20, profile=profile).mean
    quiet = seen(at_s=noon_s, live=usual - 20, profile=profile).mean

    assert busy[1] > quiet[1] + 20
    assert abs(busy[11] - quiet[11]) < 8


def test_a_quiet_evening_is_not_carried_on_below_zero() -> None:
    level = np.zeros(WEEK_BINS)
    level[0] = 40.0
    falls = Profile(level, np.full(MOST_AHEAD, 0.5), np.zeros((MOST_AHEAD, 6)), 0.95)

    assert seen(live=10.0, profile=falls, bins=3).mean == (10.0, 0.0, 0.0)


def test_without_a_past_now_goes_on_with_a_wide_margin() -> None:
    found = seen(live=16.0, bins=6)

    assert found.mean == (16.0,) * 6
    assert found.high == pytest.approx((16.0 + 3 * 17.0**0.5,) * 6)


# ---- announced classes --------------------------------------------------------------------------


def test_a_class_is_expected_from_a_minute_before_its_start_to_its_end() -> None:
    found = seen(a_class(MONDAY_S + 600.0, duration_s=1200.0))

    assert found.mean == (0.0, 20.0, 20.0, 20.0, 20.0, 20.0, 20.0, *(0.0,) * 5)


@pytest.mark.parametrize(
    ("after_s", "there", "expected"),
    [
        (-120.0, 0, 20.0),
        (0.0, 3, 20.0),
        (LATE_S, 12, 20.0),
        (LATE_S, 25, 25.0),
        (LATE_S + 1, 12, 12.0),
        (LATE_S + 1, 0, 0.0),
    ],
)
def test_a_class_that_began_counts_by_who_is_there(
    after_s: float, there: int, expected: float
) -> None:
    start_s = MONDAY_S + 600.0
    here = {("school", "math"): there}

    found = seen(a_class(start_s), at_s=start_s + after_s, live=there, here=here)

    assert found.mean[1] == expected


def test_what_is_over_or_far_away_is_not_expected() -> None:
    over, far = a_class(MONDAY_S - 7200.0), a_class(MONDAY_S + 7200.0, class_id="art")

    assert seen(over, far).mean == (0.0,) * 12


def test_who_stays_when_the_class_is_over_is_still_somebody() -> None:
    over = a_class(MONDAY_S - 3600.0, duration_s=2700.0)

    found = seen(over, live=18.0, here={("school", "math"): 18})

    assert found.mean == (18.0,) * 12


def test_who_is_there_an_hour_before_the_class_is_somebody_now() -> None:
    found = seen(a_class(MONDAY_S + 3000.0), live=2.0, here={("school", "math"): 2})

    assert min(found.mean) == 2.0


def test_sessions_of_a_running_class_are_not_counted_with_the_rest_too() -> None:
    start_s = MONDAY_S - 600.0

    found = seen(a_class(start_s), live=25.0, here={("school", "math"): 20})

    assert found.mean[:3] == (25.0,) * 3, "20 of the class and 5 walk-ins"


def test_classes_add_up_though_one_tenant_overlaps_itself() -> None:
    at_s = MONDAY_S + 300.0
    classes = a_class(at_s), a_class(at_s + 600, class_id="art"), a_class(at_s, tenant="other")
    everybody = Attendances(
        {(t, h): Attendance(1e3, 2e3) for t in ("school", "other") for h in range(24)}
    )

    found = seen(*classes, attendances=everybody)

    assert found.mean[1] == pytest.approx(40.0)
    assert found.mean[3] == pytest.approx(60.0)


def test_a_class_of_a_million_is_a_million() -> None:
    found = seen(a_class(MONDAY_S + 300.0, expected=1e6))

    assert found.mean[2] == pytest.approx(1e6)
    assert np.isfinite(found.high).all()


def test_who_stays_away_is_learnt_by_tenant_and_hour() -> None:
    start_s = MONDAY_S + 9 * 3600.0
    half = Attendance(1000.0, 500.0)
    known = Attendances({("school", hour_of(start_s)): half})

    of_this = seen(a_class(start_s), at_s=start_s - 600, attendances=known).mean[5]
    of_another = seen(a_class(start_s, tenant="x"), at_s=start_s - 600, attendances=known).mean[5]
    later_s = start_s + 3600
    of_later = seen(a_class(later_s), at_s=later_s - 600, attendances=known).mean[5]

    assert of_this == pytest.approx(10.0, abs=0.2)
    assert of_another == of_later == pytest.approx(17.0), "of whom nothing is known: 15 % less"


def test_attendance_forgets_what_is_long_past() -> None:
    known = Attendance()
    for _ in range(300):
        known = known.learn(20.0, 20.0)
    for _ in range(200):
        known = known.learn(20.0, 10.0)

    assert known.absent() == pytest.approx(0.5, abs=0.02)


@given(st.floats(0, 1e6), st.floats(0, 2e6))
def test_a_share_that_stays_away_is_a_share(announced: float, came: float) -> None:
    assert 0.0 <= Attendance(announced, came).absent() <= 1.0


def test_who_may_stay_away_makes_the_margin_wider() -> None:
    unsure = seen(a_class(MONDAY_S + 300.0), attendances=Attendances())
    sure = seen(a_class(MONDAY_S + 300.0), attendances=NOBODY_STAYS_AWAY)

    margin = unsure.high[2] - unsure.mean[2]
    assert margin > sure.high[2] - sure.mean[2]


def test_a_class_across_the_change_of_the_clocks_is_just_its_seconds() -> None:
    """Berlin, 2027-03-28: the clocks go from 02:00 to 03:00. From 01:30 to 03:30 is an hour."""
    berlin = ZoneInfo("Europe/Berlin")
    start_s = datetime(2027, 3, 28, 1, 30, tzinfo=berlin).timestamp()
    end_s = datetime(2027, 3, 28, 3, 30, tzinfo=berlin).timestamp()

    found = seen(a_class(start_s, duration_s=end_s - start_s), at_s=start_s - 300, bins=20)

    assert sum(count > 0 for count in found.mean) == 14, "an hour, a minute before, its last bin"


# ---- whatever is seen ---------------------------------------------------------------------------

PROFILE = learnt(weeks(2, seed=10))


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from((None, PROFILE)),
    st.floats(MONDAY_S, MONDAY_S + 14 * 86_400.0),
    st.integers(0, 2000),
    st.lists(
        st.tuples(st.floats(-7200, 7200), st.floats(60, 14_400), st.integers(0, 10**6)), max_size=4
    ),
    st.integers(0, 60),
    st.one_of(st.none(), st.floats(0, 500)),
)
def test_nothing_negative_is_expected_and_the_quantile_is_never_below_the_mean(
    profile: Profile | None,
    at_s: float,
    live: int,
    spans: list[tuple[float, float, int]],
    there: int,
    last_other: float | None,
) -> None:
    classes = [
        a_class(at_s + start, float(expected), class_id=f"c{n}", duration_s=length)
        for n, (start, length, expected) in enumerate(spans)
    ]
    here = {("school", "c0"): there, ("school", "unknown"): 3}

    found = outlook(profile, Now(at_s, live, here, last_other), classes, Attendances(), 13)

    assert (len(found.mean), len(found.high), found.step_s) == (13, 13, BIN_S)
    assert min(found.mean) >= 0.0
    assert all(high >= mean for high, mean in zip(found.high, found.mean, strict=True))
    assert found.high[0] >= live - 1e-6
    assert np.isfinite(found.high).all()


def test_outlooks_are_as_long_as_asked_for_beyond_what_is_carried_on() -> None:
    found = seen(profile=PROFILE, bins=MOST_AHEAD + 10)

    assert len(found.mean) == len(found.high) == MOST_AHEAD + 10
