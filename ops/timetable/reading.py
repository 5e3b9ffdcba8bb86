"""What a file of classes gave: those that can be announced, and what is wrong with the others."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from control.contracts.timetable import AnnouncedClass
from control.domain.fleet.announcing import Announcement, faults
from control.domain.geography import REGIONS

_FIELD = re.compile(r"classes\.(\d+)\.(.*)")


class FileError(Exception):
    """A file that cannot be read at all; the message says what to do."""


@dataclass(frozen=True)
class Row:
    """``where``: as a person finds it in the file; ``body``: as the API takes it."""

    where: str
    body: dict[str, Any]


@dataclass(frozen=True)
class Bad:
    """One that cannot be announced, and what would be."""

    where: str
    fault: str

    def __str__(self) -> str:
        return f"{self.where}: {self.fault}"


@dataclass
class Reading:
    """``notes``: what was left out on purpose."""

    rows: list[Row] = field(default_factory=list)
    bad: list[Bad] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def checked(reading: Reading, now: datetime) -> Reading:
    """With what the cell would refuse found here, before anything is sent.

    Two things only the cell knows: which regions have one, and whether a class that runs now was
    announced before.
    """
    known: dict[str, Announcement] = {}
    good: list[Row] = []
    announced: list[Announcement] = []
    bad = list(reading.bad)
    for row in reading.rows:
        try:
            asked = AnnouncedClass.model_validate(row.body)
        except ValidationError as error:
            bad += [Bad(row.where, _words(one)) for one in error.errors(include_url=False)]
            continue
        if asked.hold_minutes and not asked.hold:
            bad.append(Bad(row.where, "hold_minutes is there without hold: say how many, or none"))
            continue
        one = _announcement(asked)
        good.append(row)
        announced.append(one)
        if one.start_s <= now.timestamp() < one.end_s:
            known[one.class_id] = one
    wrong = set()
    for fault in faults(announced, known, REGIONS, now.timestamp()):
        index, name = at(fault.field)
        wrong.add(index)
        remedy = re.sub(r"classes\.(\d+)", lambda m: good[int(m[1])].where, fault.fault)
        bad.append(Bad(good[index].where, f"{name} {remedy}: {fault.remedy}"))
    rows = [row for index, row in enumerate(good) if index not in wrong]
    return Reading(rows, bad, reading.notes)


def at(field_name: str) -> tuple[int, str]:
    """The place in the list and the rest of ``classes.3.start``; (0, all of it) of another."""
    found = _FIELD.fullmatch(field_name)
    return (int(found[1]), found[2]) if found else (0, field_name)


def _announcement(asked: AnnouncedClass) -> Announcement:
    return Announcement(
        class_id=asked.class_id,
        start_s=asked.start.timestamp(),
        duration_s=asked.duration_minutes * 60.0,
        expected=asked.expected,
        shares=dict(asked.regions) or {next(iter(REGIONS)): 1.0},
        hold=asked.hold,
        hold_s=(asked.hold_minutes or 1) * 60.0 if asked.hold else 0.0,
    )


def _words(error: Any) -> str:
    name = ".".join(str(part) for part in error["loc"])
    remedy = error.get("ctx", {}).get("remedy", "")
    return f"{name} {error['msg']}" + (f": {remedy}" if remedy else "")


def in_zone(moment: datetime, zone: ZoneInfo | None) -> datetime:
    """A time as written, in UTC. ``zone`` is for one that names none.

    Raises ValueError, with words, where it is no moment: without a zone, or in an hour that the
    change of the clocks leaves out or has twice.
    """
    if moment.tzinfo is not None:
        return moment.astimezone(UTC)
    if zone is None:
        raise ValueError(
            "has no offset from UTC: add it (2027-01-31T09:00+01:00), or give --timezone"
        )
    first, second = (moment.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if first == second:
        return first
    back = first.astimezone(zone).replace(tzinfo=None)
    how = "is there twice" if back == moment else "does not exist"
    raise ValueError(
        f"{how} in {zone.key} on that day, when the clocks change: write it with its offset"
    )


def shares_of(text: str) -> dict[str, float]:
    """From ``us-east-1:0.6;eu-central-1:0.4``, or one region. Raises ValueError, with words."""
    found: dict[str, float] = {}
    for part in filter(None, (one.strip() for one in text.split(";"))):
        region, colon, share = part.partition(":")
        if region in found:
            raise ValueError(f"regions names {region} twice")
        try:
            found[region.strip()] = float(share) if colon else 1.0
        except ValueError:
            raise ValueError(
                f"regions {part!r} is not REGION:SHARE; write us-east-1:0.6;eu-central-1:0.4"
            ) from None
    return found


def whole(name: str, text: str) -> int:
    """A count. Raises ValueError, with words."""
    if not re.fullmatch(r"\d{1,9}", text.strip()):
        raise ValueError(f"{name} {text!r} is no whole number")
    return int(text)


def iso(moment: datetime) -> str:
    """As the API takes it."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def told(bad: Sequence[Bad], most: int = 50) -> list[str]:
    """A line each, and how many more there are."""
    lines = [str(one) for one in bad[:most]]
    return lines + ([f"… and {len(bad) - most} more"] if len(bad) > most else [])
