"""`rapido bench fleet`: its figures' names, how they are counted, and when they do not hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from control.domain.fleet.planning import CHEAPEST, Policy
from ops.bench import fleet
from ops.figures import Figure
from ops.simulate.fleet.tally import Tally
from ops.simulate.fleet.trial import Week

NAMES = {
    "rejected_percent", "wait_p999_s", "interrupted_percent", "cut_by_scale_in", "cost_vs_buffer",
    "cost_vs_buffer_spot", "cost_vs_clairvoyant", "cost_vs_clairvoyant_spot", "cost_vs_published",
    "published_rejected_percent", "solve_p95_s", "week_s", "forecast_vs_persistence",
}  # fmt: skip
"""They stay: who reads the bench's file goes by them."""
REPORTED = {
    "cost_vs_published", "published_rejected_percent", "usd_stream_hour", "usd_stream_hour_spot",
    "lost_percent",
}  # fmt: skip
"""Nothing is asked of these."""


def week(usd: float, sessions: int = 1000, **tally: Any) -> Week:
    served = sessions - tally.get("rejected", 0)
    known: dict[str, Any] = {"waits_s": [0.0] * served, "live_h": 100.0} | tally
    return Week(Tally(sessions=sessions, usd=usd, **known), 1.0)


GOOD = fleet.Judged(
    seed=21, planner=week(60.0), all_spot=week(50.0), buffer_type="g5.2xlarge", buffer_share=0.5,
    buffer=week(100.0), published=week(90.0, rejected=20), clairvoyant_usd=40.0,
    clairvoyant_spot_usd=30.0, missed=3.0, persisted=4.0,
)  # fmt: skip


def figures(*judged: fleet.Judged, week_s: float = 10.0, solve_s: float = 0.1) -> dict[str, Figure]:
    return fleet._figures(judged or (GOOD,), week_s, [solve_s] * 100)


def test_the_names_that_others_go_by_are_there() -> None:
    assert set(figures()) >= NAMES


def test_every_figure_says_whether_it_holds_but_those_that_nothing_is_asked_of() -> None:
    assert {name for name, one in figures().items() if one.holds is None} == REPORTED


def test_all_of_them_hold_in_a_good_week() -> None:
    assert all(one.holds for name, one in figures().items() if name not in REPORTED)


def test_dollars_are_those_of_all_weeks_over_all_baselines() -> None:
    dear = replace(GOOD, planner=week(90.0), buffer=week(200.0), clairvoyant_usd=60.0)

    found = figures(GOOD, dear)

    assert found["cost_vs_buffer"].value == pytest.approx(150 / 300)
    assert found["cost_vs_buffer"].baseline == 300.0
    assert found["cost_vs_buffer_spot"].value == pytest.approx(100 / 300)
    assert found["cost_vs_clairvoyant"].value == pytest.approx(150 / 100)
    assert found["cost_vs_clairvoyant_spot"].value == pytest.approx(100 / 60)
    assert found["cost_vs_published"].value == pytest.approx(150 / 180)
    assert found["published_rejected_percent"].value == pytest.approx(2.0)
    assert found["forecast_vs_persistence"].value == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("rejected_percent", replace(GOOD, planner=week(60.0, rejected=2))),
        ("rejected_percent", replace(GOOD, all_spot=week(50.0, rejected=2))),
        ("wait_p999_s", replace(GOOD, planner=week(60.0, waits_s=[0.0] * 990 + [11.0] * 10))),
        ("wait_p999_s", replace(GOOD, all_spot=week(50.0, rejected=3))),
        ("interrupted_percent", replace(GOOD, planner=week(60.0, interrupted=3))),
        ("interrupted_percent_spot", replace(GOOD, all_spot=week(50.0, interrupted=6))),
        ("cut_by_scale_in", replace(GOOD, planner=week(60.0, cut_by_scale_in=1))),
        ("cut_by_scale_in", replace(GOOD, all_spot=week(50.0, cut_by_scale_in=1))),
        ("cost_vs_buffer", replace(GOOD, planner=week(66.0))),
        ("cost_vs_buffer_spot", replace(GOOD, all_spot=week(53.0))),
        ("cost_vs_clairvoyant", replace(GOOD, clairvoyant_usd=29.0)),
        ("cost_vs_clairvoyant_spot", replace(GOOD, clairvoyant_spot_usd=27.0)),
        ("forecast_vs_persistence", replace(GOOD, missed=3.3)),
    ],
)
def test_a_figure_that_is_missed_says_so(name: str, bad: fleet.Judged) -> None:
    assert figures(bad)[name].holds is False


def test_times_that_are_missed_say_so() -> None:
    assert figures(week_s=30.1)["week_s"].holds is False
    assert figures(solve_s=1.01)["solve_p95_s"].holds is False


def test_the_worst_week_is_named_beside_the_mean_of_all() -> None:
    worse = replace(GOOD, planner=week(60.0, rejected=1))

    figure = figures(GOOD, GOOD, worse)["rejected_percent"]

    assert figure.value == pytest.approx(100 / 3000)
    assert figure.note == "of all weeks together; the worst one 0.100 %"


def test_weeks_that_are_judged_were_not_tuned_on() -> None:
    assert len(set(fleet.JUDGED_SEEDS)) >= 5
    assert not set(fleet.JUDGED_SEEDS) & set(range(1, 21))


def test_a_seed_is_judged_under_all_that_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    weeks = {"planner": week(1.0), "all spot": week(2.0), "buffer": week(3.0), "other": week(4.0)}
    by_policy = {Policy(): "planner", CHEAPEST: "all spot"}
    for name, fake in {
        "planned": lambda inputs, policy, profiles=None: weeks[by_policy[policy]],
        "learn": lambda inputs, quantile: dict.fromkeys(inputs.regions),
        "cheapest_buffer": lambda inputs, *limits: ("g6.xlarge", sum(limits), weeks["buffer"]),
        "published": lambda inputs: weeks["other"],
        "clairvoyant_usd": lambda inputs, policy: policy.spot_share,
    }.items():
        monkeypatch.setattr(fleet.trial, name, fake)
    monkeypatch.setattr(fleet, "_inputs", lambda seed: _a_day(seed))

    found = fleet._judge(40)

    assert (found.planner, found.all_spot, found.buffer) == tuple(weeks.values())[:3]
    assert (found.buffer_type, found.buffer_share) == ("g6.xlarge", 10.1), "of 0.1 % and 10 s"
    assert found.published is weeks["other"]
    assert (found.clairvoyant_usd, found.clairvoyant_spot_usd) == (Policy().spot_share, 1.0)
    assert found.missed > 0
    assert found.persisted > 0


def _a_day(seed: int) -> Any:
    return fleet.seeded(seed, 1, 0.1, fleet.listed_prices())


def test_the_solver_is_timed_on_programmes_of_ten_types_in_two_markets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(fleet, "_SOLVES", 5)
    monkeypatch.setattr(fleet.mix, "solve", asked.append)

    taken = fleet._solve_times()

    assert len(taken) == len(set(asked)) == 5
    assert {(len(one.pools), one.limit_s) for one in asked} == {(20, Policy().solver_s)}
    assert all(0 <= pool.busy <= pool.open for one in asked for pool in one.pools)


def test_the_file_and_the_pictures_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []
    monkeypatch.setattr(fleet.drawing, "slots", lambda *about: drawn.append(about[2].name))
    monkeypatch.setattr(fleet.drawing, "policies", lambda *about: drawn.append(about[2].name))
    monkeypatch.setattr(fleet, "_inputs", lambda seed: seed)
    monkeypatch.setattr(fleet, "_solve_times", lambda: [0.1])
    monkeypatch.setattr(fleet.trial, "planned", lambda inputs, policy: week(60.0))
    monkeypatch.setattr(fleet, "_judge", lambda seed: replace(GOOD, seed=seed))
    monkeypatch.setattr(fleet, "ProcessPoolExecutor", _InThisProcess)

    found = fleet.fleet(tmp_path, quick=False, say=lambda line: None)

    assert set(found) >= NAMES
    assert (tmp_path / "fleet.json").exists()
    assert {"planner.png", "all-spot.png", "buffer.png", "published.png", "policies.png"} <= set(
        drawn
    )


class _InThisProcess:
    """What was put in place of others above is not in another process."""

    def __init__(self, count: int) -> None:
        self.map = map

    def __enter__(self) -> _InThisProcess:
        return self

    def __exit__(self, *about: object) -> None:
        """Nothing to end."""
