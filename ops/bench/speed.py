"""How long one call takes, and how many there are a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median

from ops.bench.crowd import (
    LEARNER,
    Crowd,
    noop_pairs,
    our_pairs,
    published_pairs,
    published_sales,
)
from ops.bench.published import Published
from ops.bench.stage import Noop, Stage, cpu_s, placing

PUBLISHED_SALE_SLOTS = 100


@dataclass
class Times:
    """Seconds of each call, one list a kind."""

    noop: list[float] = field(default_factory=list)
    place: list[float] = field(default_factory=list)
    finish: list[float] = field(default_factory=list)


def _timed(act: Callable[..., object], *given: object) -> float:
    began = time.perf_counter()
    act(*given)
    return time.perf_counter() - began


def interleaved(stages: Mapping[int, Stage], noop: Noop, turns: int) -> dict[int, Times]:
    """Each turn calls every stage once, a no-op before each: all see the same disturbances."""
    times = {workers: Times() for workers in stages}
    for turn in range(turns):
        for workers, stage in stages.items():
            ask = placing(stage.cell, f"turn-{turn}")
            took = times[workers]
            took.noop.append(_timed(noop))
            took.place.append(_timed(stage.place, ask))
            took.finish.append(_timed(stage.finish, ask.session_id))
    return times


def published_p50_s(published: Published, turns: int) -> float:
    """Median of one placement of the published algorithm."""
    took = []
    for turn in range(turns):
        took.append(_timed(published.place, f"turn-{turn}", LEARNER))
        published.finish(f"turn-{turn}")
    return median(took)


@dataclass(frozen=True)
class Throughput:
    """Pairs (place and finish, or two no-ops) a second, and the store's µs for each."""

    ours: float
    noop: float
    published: float
    ours_cpu_us: float
    noop_cpu_us: float


def throughput(
    crowd: Crowd, stage: Stage, published: str, rounds: int, seconds: float
) -> Throughput:
    """Rounds of no-ops and ours in turn, then the published algorithm once for as long."""
    rates: dict[str, list[float]] = {"noop": [], "ours": []}
    cpu_us: dict[str, list[float]] = {"noop": [], "ours": []}
    for _ in range(rounds):
        for name, work, given in (
            ("noop", noop_pairs, (stage.url,)),
            ("ours", our_pairs, (stage.url, stage.cell)),
        ):
            before_s = cpu_s(stage.raw)
            rate = crowd.rate(work, seconds, *given)
            rates[name].append(rate)
            cpu_us[name].append((cpu_s(stage.raw) - before_s) / (rate * seconds) * 1e6)
    slow = crowd.rate(published_pairs, rounds * seconds, stage.url, published)
    return Throughput(
        median(rates["ours"]),
        median(rates["noop"]),
        slow,
        median(cpu_us["ours"]),
        median(cpu_us["noop"]),
    )


def published_sale(crowd: Crowd, stage: Stage, threads: int) -> tuple[int, int]:
    """Of a hundred slots: how many the published algorithm sold twice, and how many not at all.

    ``threads`` clients in each process of the crowd ask at once.
    """
    name = f"{stage.cell}-sale"
    published = Published(stage.raw, name)
    published.load(PUBLISHED_SALE_SLOTS, 1)
    each = 2 * PUBLISHED_SALE_SLOTS // (crowd.size * threads)
    sold = crowd.together(published_sales, stage.url, name, threads, each)
    return max(0, sum(sold) - PUBLISHED_SALE_SLOTS), published.unsold()
