"""What a tenant announces: which classes are taken, and what a region gets of one."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from control.domain.errors import Fault
from control.domain.fleet.timetable import PlannedClass

FURTHEST_S = 366 * 86400.0
"""A class may be announced that long ahead."""
SHARES_WITHIN = 0.01
"""The regions' shares may miss 1 by that: thirds are written as 0.33."""


@dataclass(frozen=True)
class Announcement:
    """A class over all regions; times in Unix seconds. Equal: nothing of it changed."""

    class_id: str
    start_s: float
    duration_s: float
    expected: int
    shares: Mapping[str, float]
    """Region → share of its learners; about 1 together."""
    hold: int = 0
    hold_s: float = 0.0
    known_s: float = field(default=0.0, compare=False)

    @property
    def end_s(self) -> float:
        return self.start_s + self.duration_s


def in_region(announced: Announcement, tenant: str, region: str) -> PlannedClass:
    """What a region has of the class. Raises KeyError of one that has none."""
    return PlannedClass(
        tenant=tenant,
        class_id=announced.class_id,
        start_s=announced.start_s,
        duration_s=announced.duration_s,
        expected=announced.expected * announced.shares[region],
        known_s=announced.known_s,
        hold=divided(announced.hold, announced.shares)[region],
        hold_s=announced.hold_s,
    )


def divided(slots: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Whole slots by share, all of them: those left over go where the most was cut off (Hare)."""
    whole = sum(shares.values())
    exact = {region: slots * share / whole for region, share in shares.items()}
    given = {region: math.floor(part) for region, part in exact.items()}
    by_rest = sorted(exact, key=lambda region: (given[region] - exact[region], region))
    for region in by_rest[: slots - sum(given.values())]:
        given[region] += 1
    return given


def faults(
    asked: Sequence[Announcement],
    known: Mapping[str, Announcement],
    regions: Collection[str],
    now_s: float,
) -> tuple[Fault, ...]:
    """What is wrong with the classes, by their place in the list.

    ``known`` are those of the same ids that stand in the timetable. One that stands there word for
    word has no fault, whatever the time is: what was taken once is taken again.
    """
    found = list(_doubled(asked))
    for index, one in enumerate(asked):
        standing = known.get(one.class_id)
        if standing == one:
            continue
        where = f"classes.{index}"
        found += _of_time(one, standing, where, now_s)
        found += _of_regions(one, regions, where)
        found += _of_hold(one, where)
    return tuple(found)


def _doubled(asked: Sequence[Announcement]) -> Iterator[Fault]:
    first: dict[str, int] = {}
    for index, one in enumerate(asked):
        before = first.setdefault(one.class_id, index)
        if before == index:
            continue
        other = asked[before]
        overlap = one.start_s < other.end_s and other.start_s < one.end_s
        yield Fault(
            f"classes.{index}.class_id",
            f"is that of classes.{before} too" + (", and they overlap" if overlap else ""),
            "give every meeting an id of its own, for example the course and the day",
        )


def _of_time(
    one: Announcement, standing: Announcement | None, where: str, now_s: float
) -> Iterator[Fault]:
    runs = standing is not None and standing.start_s <= now_s < standing.end_s
    if one.end_s <= now_s:
        yield Fault(
            f"{where}.start",
            f"is past: the class ended at {_told(one.end_s)}",
            "leave out what is over; announce classes that are to come",
        )
    elif runs and standing is not None and standing.start_s != one.start_s:
        yield Fault(
            f"{where}.start",
            f"moves a class that runs since {_told(standing.start_s)}",
            "keep its start, or give the new meeting a class_id of its own",
        )
    elif one.start_s <= now_s and not runs:
        yield Fault(
            f"{where}.start",
            f"is past, and no class {one.class_id[:100]!r} was announced for it",
            "announce a class before it begins",
        )
    elif one.start_s > now_s + FURTHEST_S:
        yield Fault(
            f"{where}.start",
            f"is more than a year ahead, at {_told(one.start_s)}",
            "check the year, or announce it later",
        )


def _of_regions(one: Announcement, regions: Collection[str], where: str) -> Iterator[Fault]:
    strange = [region for region in one.shares if region not in regions]
    for region in strange:
        yield Fault(
            f"{where}.regions.{region}",
            "has no cell",
            f"use one of {', '.join(sorted(regions))}",
        )
    total = sum(one.shares.values())
    if not strange and abs(total - 1.0) > SHARES_WITHIN:
        yield Fault(
            f"{where}.regions",
            f"has shares that sum to {total:g}",
            "make them sum to 1: they are parts of one class",
        )


def _of_hold(one: Announcement, where: str) -> Iterator[Fault]:
    if one.hold > one.expected:
        yield Fault(
            f"{where}.hold",
            f"is more than the {one.expected} expected",
            f"send at most {one.expected}",
        )
    if one.hold and one.hold_s > one.duration_s:
        yield Fault(
            f"{where}.hold_minutes",
            "is longer than the class",
            f"send at most {one.duration_s / 60:g}",
        )


def _told(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat().replace("+00:00", "Z")
