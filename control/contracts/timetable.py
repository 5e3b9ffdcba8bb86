"""What clients announce and read about their classes, and what the home cell tells its peers."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from control.contracts.base import ClassId, Message, Region, Utc

MOST_CLASSES = 1000
"""Of one call."""
MOST_EXPECTED = 5000
LONGEST_MINUTES = 12 * 60
MOST_HOLD_MINUTES = 60
_RFC_3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(?P<offset>[Zz]|[+-]\d\d:\d\d)?"
)


def _with_offset(value: object) -> datetime:
    """A number or a day would be read as a time too, and rarely the one that was meant."""
    found = _RFC_3339.fullmatch(value) if isinstance(value, str) else None
    try:
        moment = datetime.fromisoformat(found[0].upper()) if found else None
    except ValueError:
        moment = None
    if found is None or moment is None:
        raise PydanticCustomError(
            "no_moment",
            "is no RFC 3339 time",
            {"remedy": "send day, time and offset: 2027-01-31T09:00:00+01:00"},
        )
    if found["offset"] is None:
        raise PydanticCustomError(
            "no_offset",
            "has no offset from UTC, so it is a different moment in every time zone",
            {"remedy": "add the offset that holds on that day, for example +01:00, or Z for UTC"},
        )
    return moment


Moment = Annotated[Utc, BeforeValidator(_with_offset, json_schema_input_type=str)]
Share = Annotated[float, Field(gt=0, le=1)]


class AnnouncedClass(Message):
    """One class. ``regions`` maps a region to its share of the learners; none: the region of the
    cell that is called. ``hold`` slots are kept for it from shortly before its start, for
    ``hold_minutes`` from its start: 10 if not given."""

    class_id: ClassId
    start: Moment
    duration_minutes: Annotated[int, Field(ge=1, le=LONGEST_MINUTES)]
    expected: Annotated[int, Field(ge=1, le=MOST_EXPECTED)]
    regions: Annotated[dict[Region, Share], Field(max_length=64)] = Field(default_factory=dict)
    hold: Annotated[int, Field(ge=0, le=MOST_EXPECTED)] = 0
    hold_minutes: Annotated[int, Field(ge=1, le=MOST_HOLD_MINUTES)] | None = None


class PutTimetable(Message):
    """Body of ``PUT /api/v1/timetable``: all of it is taken, or none."""

    classes: Annotated[tuple[AnnouncedClass, ...], Field(min_length=1, max_length=MOST_CLASSES)]


class TimetableTaken(Message):
    """How many classes were taken: ``changed`` are new or other than before."""

    taken: int
    changed: int
    unchanged: int


class ClassView(Message):
    """A class as it stands in the timetable."""

    class_id: str
    start: Utc
    end: Utc
    duration_minutes: int
    expected: int
    regions: dict[str, float]
    hold: int
    hold_minutes: int
    announced_at: Utc


class TimetablePage(Message):
    """In order of their start; ``cursor`` fetches the next page and is absent on the last."""

    classes: tuple[ClassView, ...]
    cursor: str | None = None


class RegionClass(Message):
    """What a region has of a class; times in Unix seconds."""

    tenant: str
    class_id: str
    start_s: float
    duration_s: float
    expected: float
    known_s: float
    hold: int
    hold_s: float


class TimetableWindow(Message):
    """The answer of ``GET /api/v1/cell/timetable``: the classes of the asking cell's region that
    run now or begin within days. ``unchanged``: they are those that ``since`` stood for."""

    version: Annotated[str, Field(pattern=r"^\d{1,18}\.\d{1,9}$")]
    unchanged: bool = False
    classes: tuple[RegionClass, ...] = ()
    cursor: str | None = None
