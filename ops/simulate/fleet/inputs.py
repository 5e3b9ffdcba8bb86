"""Weeks from CSV files, or made from a seed; what regions are allowed.

Files are as ``rapido simulate fleet --write`` makes them; a line that cannot be is named.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from control.adapters import published_prices
from control.domain.fleet.catalogue import PUBLISHED
from control.domain.fleet.state import Bounds
from ops.simulate.fleet.weeks import Announced, Lesson, ListedPrice, Stretch, capacity, demand

BOUNDS: Mapping[str, Bounds] = {
    "us-east-1": Bounds(2, 20), "us-west-2": Bounds(1, 15), "eu-central-1": Bounds(1, 10),
}  # fmt: skip
"""Nodes of a region, as template.yaml has them."""
BEGIN: Mapping[str, int] = {"us-east-1": 4, "us-west-2": 3, "eu-central-1": 2}
_OTHERS = Bounds(1, 10)
_OTHERS_BEGIN = 2
_LONGEST_S = 86_400.0
_MORE_PRICES = Path(__file__).parent / "prices.csv"
_HEADERS = {
    "demand": "region,start_s,duration_s,class_id",
    "timetable": "class_id,region,start_s,duration_s,expected,known_at_s",
    "capacity": "region,zone,type,market,start_s,end_s,price_usd_h,available",
}
_NEEDED = "g5.xlarge", "g5.2xlarge"
"""On demand in every region: deployments begin with the one, buffers are of the other."""
_MOST_DAYS = 70
_Row = TypeVar("_Row", Lesson, Announced, Stretch)


class InputError(Exception):
    """A file that cannot be simulated; the message names file, line, fault and remedy."""


@dataclass(frozen=True)
class Inputs:
    """Seconds count from Monday 00:00 UTC; the last seven days are judged."""

    lessons: Sequence[Lesson]
    classes: Sequence[Announced]
    stretches: Sequence[Stretch]
    days: int

    @property
    def judged(self) -> tuple[float, float]:
        return max(0.0, (self.days - 7) * 86_400.0), self.days * 86_400.0

    @property
    def regions(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(one.region for one in self.stretches))


def bounds(region: str) -> Bounds:
    """The least and the most nodes of a region."""
    return BOUNDS.get(region, _OTHERS)


def begin_nodes(region: str) -> int:
    """What a deployment begins with."""
    return BEGIN.get(region, _OTHERS_BEGIN)


def listed_prices() -> list[ListedPrice]:
    """The published ones, then those of types that only the weeks have; types without spot bring
    no zones. The order is part of what a seed gives."""
    lines = [line for line in _MORE_PRICES.read_text().splitlines() if not line.startswith("#")]
    return [
        ListedPrice(
            row["type"],
            row["region"],
            float(row["on_demand"]),
            dict(_zone(part) for part in row["spot"].split("|") if part),
        )
        for row in (*published_prices.rows(), *csv.DictReader(lines))
    ]


def _zone(part: str) -> tuple[str, float]:
    zone, usd = part.split()
    return zone, float(usd)


def seeded(seed: int, days: int, scale: float, prices: Sequence[ListedPrice]) -> Inputs:
    """The same weeks each time."""
    lessons, classes = demand(seed, days, scale)
    return Inputs(lessons, classes, capacity(seed, days, prices), days)


def write(inputs: Inputs, folder: Path) -> tuple[Path, Path, Path]:
    """The three files; answers their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    rows: dict[str, Iterable[Any]] = {
        "demand": inputs.lessons, "timetable": inputs.classes, "capacity": inputs.stretches,
    }  # fmt: skip
    for name, lines in rows.items():
        with (folder / f"{name}.csv").open("w", newline="") as file:
            out = csv.writer(file)
            out.writerow(_HEADERS[name].split(","))
            out.writerows(
                [int(v) if isinstance(v, bool) else v for v in astuple(one)] for one in lines
            )
    demand_, timetable, capacity_ = (folder / f"{name}.csv" for name in rows)
    return demand_, timetable, capacity_


def read(demand_at: Path, timetable_at: Path, capacity_at: Path) -> Inputs:
    """Raises InputError."""
    stretches = _rows(capacity_at, "capacity", Stretch, _check_stretch)
    regions = {one.region for one in stretches}
    lessons = _rows(demand_at, "demand", Lesson, lambda one: _check_lesson(one, regions))
    ids: set[str] = set()
    classes = _rows(
        timetable_at, "timetable", Announced, lambda one: _check_class(one, regions, ids)
    )
    if not lessons or not stretches:
        empty = demand_at if not lessons else capacity_at
        raise InputError(f"{empty} has no rows; rapido simulate fleet --write DIR makes such files")
    days = math.ceil(max(one.end_s for one in stretches) / 86_400)
    if days > _MOST_DAYS:
        raise InputError(
            f"{capacity_at} ends on day {days}, and at most {_MOST_DAYS} are simulated; seconds "
            "count from the first Monday 00:00 UTC"
        )
    _check_whole(capacity_at, stretches)
    return Inputs(sorted(lessons, key=lambda one: one.start_s), classes, stretches, days)


def _check_whole(path: Path, stretches: Sequence[Stretch]) -> None:
    there = {(one.region, one.type) for one in stretches if one.market == "on-demand"}
    for region in dict.fromkeys(one.region for one in stretches):
        for kind in _NEEDED:
            if (region, kind) not in there:
                raise InputError(f"{path} has no {kind} on-demand in {region}; add it")
    ordered = sorted(stretches, key=lambda one: (_place(one), one.start_s))
    for before, one in pairwise(ordered):
        if _place(before) == _place(one) and one.start_s < before.end_s:
            raise InputError(
                f"{path}: {' '.join(_place(one))} has two rows for second {one.start_s:g}; let "
                "each end where the next begins"
            )


def _place(one: Stretch) -> tuple[str, str, str, str]:
    return one.region, one.zone, one.type, one.market


def _rows(
    path: Path, name: str, kind: type[_Row], check: Callable[[_Row], str | None]
) -> list[_Row]:
    header = _HEADERS[name].split(",")
    try:
        with path.open(newline="") as file:
            lines = csv.DictReader(file)
            if lines.fieldnames != header:
                raise InputError(f"{path}:1: the header is not {_HEADERS[name]}")
            return [_row(path, lines.line_num, row, kind, check) for row in lines]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read ({error}); name a CSV file") from error


def _row(
    path: Path,
    number: int,
    row: Mapping[str, str | None],
    kind: type[_Row],
    check: Callable[[_Row], str | None],
) -> _Row:
    if None in row:
        raise InputError(f"{path}:{number}: has more columns than the header; correct it")
    values: list[Any] = []
    for column in fields(kind):
        text = row[column.name]
        try:
            if text is None:
                raise ValueError("missing")
            values.append(_CASTS[str(column.type)](text))
        except ValueError:
            raise InputError(
                f"{path}:{number}: {column.name} is {text!r}, not a {column.type}; correct it"
            ) from None
    one = kind(*values)
    fault = check(one)
    if fault:
        raise InputError(f"{path}:{number}: {fault}")
    return one


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _flag(text: str) -> bool:
    return {"0": False, "1": True}[text] if text in ("0", "1") else _refuse(text)


def _refuse(text: str) -> bool:
    raise ValueError(text)


_CASTS: Mapping[str, Callable[[str], Any]] = {
    "str": str, "float": _number, "int": int, "bool": _flag,
}  # fmt: skip


def _check_lesson(one: Lesson, regions: set[str]) -> str | None:
    if one.region not in regions:
        return f"region is {one.region!r}, which the capacity file does not have; add it there"
    if one.start_s < 0 or not 0 < one.duration_s <= _LONGEST_S:
        return "start_s is 0 or more, duration_s over 0 and at most a day; correct them"
    return None


def _check_class(one: Announced, regions: set[str], ids: set[str]) -> str | None:
    if one.class_id in ids:
        return f"class_id is {one.class_id!r} a second time; give every meeting one of its own"
    ids.add(one.class_id)
    if one.region not in regions:
        return f"region is {one.region!r}, which the capacity file does not have; add it there"
    if not 0 < one.duration_s <= _LONGEST_S or not 0 < one.expected <= 5000:
        return "duration_s is over 0 and at most a day, expected 1 to 5000; correct them"
    return None


def _check_stretch(one: Stretch) -> str | None:
    if one.market not in ("spot", "on-demand"):
        return f"market is {one.market!r}; it is spot or on-demand"
    if one.type not in PUBLISHED:
        return f"type is {one.type!r}; known are {', '.join(PUBLISHED)}"
    if one.end_s <= one.start_s or one.start_s < 0:
        return "end_s is not after start_s, or start_s under 0; correct them"
    if one.price_usd_h <= 0:
        return f"price_usd_h is {one.price_usd_h:g}; a price is over 0"
    return None
