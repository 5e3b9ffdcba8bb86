"""``rapido bench fleet``: seeded weeks that nothing was tuned on, under the planner and others.

Tuning uses seeds 1 to 20. Each region serves its own learners only: what cells hand over to each
other comes on top. Four weeks are learnt from and the fifth is judged.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import numpy as np

from control.domain.fleet import mix
from control.domain.fleet.planning import CHEAPEST, Policy
from control.domain.fleet.timetable import Attendances
from ops.figures import Figure, at_most, exactly, p95, write
from ops.simulate.fleet import backtest, drawing, trial
from ops.simulate.fleet.command import LEARNING_DAYS
from ops.simulate.fleet.inputs import Inputs, listed_prices, seeded
from ops.simulate.fleet.trial import Week

JUDGED_SEEDS = (101, 102, 103, 104, 105)
REJECTED_LIMIT, WAIT_LIMIT_S = 0.1, 10.0
_PROCESSES = 2
_SOLVES = 200
_TYPES = 10


@dataclass(frozen=True)
class Judged:
    """One seed's week under everything that is compared; clairvoyants in dollars."""

    seed: int
    planner: Week
    all_spot: Week
    buffer_type: str
    buffer_share: float
    buffer: Week
    published: Week
    clairvoyant_usd: float
    clairvoyant_spot_usd: float
    missed: float
    persisted: float


def fleet(out: Path, quick: bool, say: Callable[[str], None]) -> dict[str, Figure]:
    """The planner on weeks it was not tuned on: rejections, waits, interruptions, dollars against
    a buffer and a bound; the solver and the forecast."""
    seeds = JUDGED_SEEDS[:1] if quick else JUDGED_SEEDS
    say(f"the planner alone, seed {seeds[0]}: how long a week takes")
    one = _inputs(seeds[0])
    week_s = trial.planned(one, Policy()).wall_s
    mix.forget()
    say(f"{_SOLVES} programmes of {_TYPES} types in two markets")
    solves = _solve_times()
    judged = []
    with ProcessPoolExecutor(_PROCESSES) as pool:
        for found in pool.map(_judge, seeds):
            judged.append(found)
            say(_line(found))
    figures = _figures(judged, week_s, solves)
    folder = out / "fleet"
    first = judged[0]
    drawing.slots(first.planner, f"Planner, seed {first.seed}", folder / "planner.png")
    drawing.slots(first.planner, f"Planner, seed {first.seed}", folder / "planner-day.png", (1, 2))
    drawing.slots(first.all_spot, f"All spot, seed {first.seed}", folder / "all-spot.png")
    drawing.slots(first.buffer, f"Buffer of {first.buffer_share:.1%}", folder / "buffer.png")
    drawing.slots(first.published, "Published policy", folder / "published.png")
    drawing.policies(
        {
            "published": first.published,
            f"buffer {first.buffer_share:.1%} {first.buffer_type}": first.buffer,
            "planner": first.planner,
            "planner, all spot": first.all_spot,
        },
        {"bound": first.clairvoyant_usd, "bound, all spot": first.clairvoyant_spot_usd},
        folder / "policies.png",
    )
    say(f"pictures: {folder}/*.png")
    write(out / "fleet.json", "fleet", figures)
    return figures


def _inputs(seed: int) -> Inputs:
    return seeded(seed, LEARNING_DAYS + 7, 1.0, listed_prices())


def _judge(seed: int) -> Judged:
    inputs = _inputs(seed)
    policy = Policy()
    profiles = trial.learn(inputs, policy.quantile)
    planner = trial.planned(inputs, policy, profiles)
    all_spot = trial.planned(inputs, CHEAPEST)
    kind, share, buffer = trial.cheapest_buffer(inputs, REJECTED_LIMIT, WAIT_LIMIT_S)
    errors = [
        backtest.errors(inputs, region, profiles[region], Attendances())
        for region in inputs.regions
    ]
    return Judged(
        seed,
        planner,
        all_spot,
        kind,
        share,
        buffer,
        trial.published(inputs),
        trial.clairvoyant_usd(inputs, policy),
        trial.clairvoyant_usd(inputs, CHEAPEST),
        sum(one.forecast for one in errors),
        sum(one.persistence for one in errors),
    )


def _line(one: Judged) -> str:
    def told(week: Week) -> str:
        return (
            f"{week.tally.usd:.0f} $, {week.rejected_percent:.3f} % rejected, "
            f"{week.interrupted_percent:.3f} % interrupted"
        )

    return (
        f"seed {one.seed}: {told(one.planner)}; all spot {told(one.all_spot)}; "
        f"buffer of {one.buffer_share:.1%} {one.buffer_type} {one.buffer.tally.usd:.0f} $; "
        f"bounds {one.clairvoyant_usd:.0f} and {one.clairvoyant_spot_usd:.0f} $"
    )


def _figures(judged: Sequence[Judged], week_s: float, solves: Sequence[float]) -> dict[str, Figure]:
    both = [week for one in judged for week in (one.planner, one.all_spot)]
    default, spot = [one.planner for one in judged], [one.all_spot for one in judged]
    buffers = [one.buffer for one in judged]
    figures = {
        "rejected_percent": at_most(max(_rejected(default), _rejected(spot)), "%", REJECTED_LIMIT),
        "wait_p999_s": at_most(max(_wait(default), _wait(spot)), "s", WAIT_LIMIT_S),
        "interrupted_percent": at_most(_interrupted(default), "%", 0.25),
        "interrupted_percent_spot": at_most(_interrupted(spot), "%", 0.5),
        "cut_by_scale_in": exactly(sum(week.tally.cut_by_scale_in for week in both), "sessions", 0),
        "cost_vs_buffer": _against(default, _usd(buffers), 0.65),
        "cost_vs_buffer_spot": _against(spot, _usd(buffers), 0.52),
        "cost_vs_clairvoyant": _against(default, sum(one.clairvoyant_usd for one in judged), 2.0),
        "cost_vs_clairvoyant_spot": _against(
            spot, sum(one.clairvoyant_spot_usd for one in judged), 1.8
        ),
        "cost_vs_published": _beside(_usd(default) / _usd([one.published for one in judged]), "x"),
        "published_rejected_percent": _beside(_rejected([one.published for one in judged]), "%"),
        "usd_stream_hour": _beside(_usd(default) / sum(w.tally.live_h for w in default), "$"),
        "usd_stream_hour_spot": _beside(_usd(spot) / sum(w.tally.live_h for w in spot), "$"),
        "lost_percent": _beside(
            100 * sum(w.tally.lost for w in default) / sum(w.tally.sessions for w in default), "%"
        ),
        "solve_p95_s": at_most(p95(solves), "s", 1.0),
        "week_s": at_most(week_s, "s", 30.0),
        "forecast_vs_persistence": at_most(
            sum(one.missed for one in judged) / sum(one.persisted for one in judged), "x", 0.8
        ),
    }
    worst = {
        "rejected_percent": max(week.rejected_percent for week in both),
        "interrupted_percent": max(week.interrupted_percent for week in default),
        "interrupted_percent_spot": max(week.interrupted_percent for week in spot),
    }
    for name, value in worst.items():
        note = f"of all weeks together; the worst one {value:.3f} %"
        figures[name] = replace(figures[name], note=note)
    return figures


def _usd(weeks: Sequence[Week]) -> float:
    return sum(week.tally.usd for week in weeks)


def _rejected(weeks: Sequence[Week]) -> float:
    return 100 * sum(w.tally.rejected for w in weeks) / sum(w.tally.sessions for w in weeks)


def _interrupted(weeks: Sequence[Week]) -> float:
    return 100 * sum(w.tally.interrupted for w in weeks) / sum(w.tally.sessions for w in weeks)


def _wait(weeks: Sequence[Week]) -> float:
    """Over the sessions of all of them; who was turned away waited all of his patience."""
    return float(np.quantile(np.concatenate([week.tally.all_waits_s() for week in weeks]), 0.999))


def _against(weeks: Sequence[Week], baseline_usd: float, limit: float) -> Figure:
    usd = _usd(weeks)
    figure = at_most(usd / baseline_usd, "x", limit)
    return replace(figure, baseline=baseline_usd, baseline_unit="$", note=f"{usd:.0f} $ ÷ baseline")


def _beside(value: float, unit: str) -> Figure:
    return Figure(value, unit, "reported", None)


def _solve_times() -> list[float]:
    """Seconds of programmes at random states, each solved anew."""
    dice = random.Random(7)  # noqa: S311
    taken = []
    for _ in range(_SOLVES):
        pools = []
        for number in range(_TYPES):
            slots, usd = dice.choice((8, 12, 24, 36)), dice.uniform(0.7, 3.0)
            for market, price in (("on-demand", usd), ("spot", usd * dice.uniform(0.3, 0.6))):
                there = dice.randrange(3)
                pools.append(
                    mix.PoolAsk(
                        f"t{number}-{market}", market == "spot", slots, round(price, 2), 0.1,
                        there, dice.randint(0, there), dice.choice((0, 8, 8, 8)),
                    )
                )  # fmt: skip
        need = float(dice.randint(5, 400))
        policy = Policy()
        ask = mix.MixAsk(
            tuple(pools), need, 0.7 * need, 2, 40, policy.keep_share * need, policy.spot_share,
            policy.interruption_usd * policy.spot_hazard_h, policy.solver_s,
        )  # fmt: skip
        begun = perf_counter()
        mix.solve(ask)
        taken.append(perf_counter() - begun)
    return taken
