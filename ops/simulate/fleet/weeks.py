"""Seeded weeks of demand, timetable and capacity in three regions, as CSV files or in memory.

A school's day (a peak before noon and a greater one late in the afternoon, by local time; a third
of it at weekends) of walk-ins and of classes that begin on the hour and half-hour. Most classes are
announced a day to a week ahead, and 8 to 28 % of a class stays away. Spot pools have capacity for
30 hours and none for 0.7 on average, and a zone's lose it together now and then; their prices
wander. Seeds 1 to 20 are for tuning; every other one is for judging.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

HOUR_S = 3600.0
REGIONS: Mapping[str, tuple[int, int]] = {
    "us-east-1": (-5, 160), "us-west-2": (-8, 100), "eu-central-1": (1, 64),
}  # fmt: skip
"""Hours from UTC, streams at the peak."""
_ANNOUNCED = 0.85
_STAYS_AWAY = (0.08, 0.28)
_NOTICE_H = (24, 48, 168)
_SPOT_EVERY_H, _SPOT_FOR_H = 30.0, 0.7
_ZONE_EVERY_H, _ZONE_FOR_H, _ZONE_SHARE = 60.0, 0.5, 0.6
_ON_DEMAND_EVERY_H, _ON_DEMAND_FOR_H = 120.0, 0.5
_MOST_ZONES = 3

Span = tuple[float, float]


@dataclass(frozen=True)
class Lesson:
    """One session that somebody will ask for; ``class_id`` is empty for a walk-in."""

    region: str
    start_s: float
    duration_s: float
    class_id: str


@dataclass(frozen=True)
class Announced:
    """One class as the timetable has it since ``known_at_s``."""

    class_id: str
    region: str
    start_s: float
    duration_s: float
    expected: int
    known_at_s: float


@dataclass(frozen=True)
class Stretch:
    """A pool in one zone, as it was for a while."""

    region: str
    zone: str
    type: str
    market: str
    start_s: float
    end_s: float
    price_usd_h: float
    available: bool


@dataclass(frozen=True)
class ListedPrice:
    """One type in one region: dollars an hour on demand, and of spot by zone."""

    type: str
    region: str
    on_demand: float
    spot: Mapping[str, float]


def demand(seed: int, days: int, scale: float = 1.0) -> tuple[list[Lesson], list[Announced]]:
    """Sessions by their start, classes by region and start; seconds from Monday 00:00 UTC."""
    dice = random.Random(f"demand-{seed}")  # noqa: S311
    lessons: list[Lesson] = []
    announced: list[Announced] = []
    serial = 0
    for region, (offset_h, peak) in REGIONS.items():
        for half in range(days * 48):
            start_s = half * HOUR_S / 2
            level = _level(start_s / HOUR_S + offset_h)
            on_the_hour = 1.0 if half % 2 == 0 else 0.45
            for _ in range(_poisson(dice, peak * scale * 0.050 * level * on_the_hour)):
                serial += 1
                _one_class(dice, region, start_s, f"c{serial}", lessons, announced)
            for _ in range(_poisson(dice, peak * scale * 0.42 * (level + 0.08))):
                at = start_s + dice.uniform(0, HOUR_S / 2)
                length = min(3600.0, max(60.0, dice.lognormvariate(6.7, 0.7)))
                lessons.append(Lesson(region, round(at, 1), round(length, 1), ""))
    return sorted(lessons, key=lambda one: one.start_s), announced


def _level(local_h: float) -> float:
    """How busy that local hour is, 0..1."""
    hour, weekend = local_h % 24, int(local_h // 24) % 7 >= 5
    morning = math.exp(-(((hour - 10.5) / 2.0) ** 2))
    afternoon = math.exp(-(((hour - 17.5) / 2.6) ** 2))
    return (morning * 0.8 + afternoon) * (0.35 if weekend else 1.0)


def _one_class(
    dice: random.Random,
    region: str,
    start_s: float,
    name: str,
    lessons: list[Lesson],
    announced: list[Announced],
) -> None:
    size = min(32, 1 + int(dice.expovariate(1 / 7)))
    length_s = max(900.0, dice.gauss(42, 8) * 60)
    coming = sum(dice.random() > dice.uniform(*_STAYS_AWAY) for _ in range(size))
    if dice.random() < _ANNOUNCED:
        known_s = start_s - dice.choice(_NOTICE_H) * HOUR_S
        announced.append(
            Announced(name, region, round(start_s), round(length_s), size, round(known_s))
        )
    for _ in range(coming):
        late_s = dice.gauss(20, 60)
        stays_s = max(60.0, length_s - abs(dice.gauss(0, 120)))
        at = max(0.0, start_s + late_s)
        lessons.append(Lesson(region, round(at, 1), round(stays_s, 1), name))


def _poisson(dice: random.Random, mean: float) -> int:
    """Knuth's way: factors below 1 until their product is under e to the -mean."""
    limit, product, count = math.exp(-mean), dice.random(), 0
    while product > limit:
        product *= dice.random()
        count += 1
    return count


def capacity(seed: int, days: int, prices: Sequence[ListedPrice]) -> list[Stretch]:
    """What every pool cost in every zone and when it had capacity; no stretch overlaps another."""
    dice = random.Random(f"capacity-{seed}")  # noqa: S311
    end_h = days * 24.0
    shocks: dict[tuple[str, str], list[Span]] = {}
    stretches: list[Stretch] = []
    for listed in prices:
        for zone, spot in list(listed.spot.items())[:_MOST_ZONES]:
            place = listed.region, zone
            if place not in shocks:
                shocks[place] = _outages(dice, end_h, _ZONE_EVERY_H, _ZONE_FOR_H)
            gone = _outages(dice, end_h, _SPOT_EVERY_H, _SPOT_FOR_H)
            gone += [span for span in shocks[place] if dice.random() < _ZONE_SHARE]
            wander = _wander(dice, int(end_h), spot, listed.on_demand)
            stretches += _stretches(listed, zone, "spot", end_h, gone, wander)
            gone = _outages(dice, end_h, _ON_DEMAND_EVERY_H, _ON_DEMAND_FOR_H)
            steady = [listed.on_demand] * int(end_h)
            stretches += _stretches(listed, zone, "on-demand", end_h, gone, steady)
    return stretches


def _wander(dice: random.Random, hours: int, spot: float, most: float) -> list[float]:
    """A price an hour, around the listed one and never over on-demand's."""
    prices, level = [], 0.0
    for _ in range(hours):
        level = 0.9 * level + dice.gauss(0, 0.04)
        prices.append(min(most, spot * math.exp(level)))
    return prices


def _outages(dice: random.Random, end_h: float, every_h: float, for_h: float) -> list[Span]:
    spans: list[Span] = []
    at = dice.expovariate(1 / every_h)
    while at < end_h:
        length = dice.expovariate(1 / for_h)
        spans.append((at, min(end_h, at + length)))
        at += length + dice.expovariate(1 / every_h)
    return spans


def _stretches(
    listed: ListedPrice,
    zone: str,
    market: str,
    end_h: float,
    gone: Sequence[Span],
    prices: Sequence[float],
) -> Iterator[Stretch]:
    """Time is cut at outages and hours; neighbours that are equal become one."""
    cuts = sorted(
        {0.0, end_h, *(t for span in gone for t in span), *map(float, range(len(prices)))}
    )
    held: tuple[float, float, float, bool] | None = None
    for begin, end in pairwise(cuts):
        if end - begin < 1e-9:
            continue
        there = not any(first <= begin < last for first, last in gone)
        price = round(prices[min(int(begin), len(prices) - 1)], 4)
        if held and held[2:] == (price, there):
            held = (held[0], end, price, there)
            continue
        if held:
            yield _stretch(listed, zone, market, held)
        held = (begin, end, price, there)
    if held:
        yield _stretch(listed, zone, market, held)


def _stretch(
    listed: ListedPrice, zone: str, market: str, held: tuple[float, float, float, bool]
) -> Stretch:
    begin, end, price, there = held
    start_s, end_s = round(begin * HOUR_S), round(end * HOUR_S)
    return Stretch(listed.region, zone, listed.type, market, start_s, end_s, price, there)


def announced_by_region(classes: Iterable[Announced]) -> dict[str, list[Announced]]:
    """Sorted by their start."""
    by: dict[str, list[Announced]] = defaultdict(list)
    for one in sorted(classes, key=lambda one: one.start_s):
        by[one.region].append(one)
    return by
