"""Classes out of an iCalendar file: each event is one, each meeting of a recurring event too."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import icalendar
import recurring_ical_events
from icalendar.cal import Component

from ops.timetable.reading import Bad, FileError, Reading, Row, in_zone, iso, shares_of, whole

_RECURS = ("RRULE", "RDATE", "RECURRENCE-ID")
_OFTEN = ("SECONDLY", "MINUTELY", "HOURLY")
_UNFIT = str.maketrans(dict.fromkeys("/?#%", "_"))
"""Of a UID, what no class_id has."""


def read_ical(
    path: Path, zone: ZoneInfo | None, now: datetime, weeks: int, expected: int | None
) -> Reading:
    """Meetings that begin within ``weeks`` from ``now``.

    ``zone`` is for times that name none, ``expected`` for events that do not say how many come.
    Raises FileError.
    """
    try:
        calendars = icalendar.Calendar.from_ical(path.read_bytes(), multiple=True)
    except (ValueError, UnicodeDecodeError) as error:
        raise FileError(f"{path} is no iCalendar file: {str(error)[:200]}") from None
    reading = Reading()
    events: dict[str, list[Component]] = {}
    for event in (one for calendar in calendars for one in calendar.walk("VEVENT")):
        events.setdefault(str(event.get("UID", "")), []).append(event)
    if not events:
        raise FileError(f"{path} has no event")
    until = now + timedelta(weeks=weeks)
    for uid, parts in events.items():
        try:
            found = list(_meetings(uid, parts, zone, now, until, expected))
        except ValueError as error:
            reading.bad.append(Bad(_name(parts[0]), str(error)))
            continue
        reading.rows += found
        if not found:
            reading.notes.append(f"{_name(parts[0])}: no meeting within {weeks} weeks from now")
    return reading


def _meetings(
    uid: str,
    parts: list[Component],
    zone: ZoneInfo | None,
    now: datetime,
    until: datetime,
    expected: int | None,
) -> Iterator[Row]:
    """Of one UID: an event, or a recurring one with its exceptions. Raises ValueError, in words."""
    for part in parts:
        _check(uid, part)
    recurs = any(name in part for part in parts for name in _RECURS)
    calendar = icalendar.Calendar()
    for part in parts:
        calendar.add_component(part)
    # a time without a zone is taken for UTC there: a day more on both sides, and looked at below
    day = timedelta(days=1)
    found = recurring_ical_events.of(calendar).between(now - day, until + day)
    master = next((part for part in parts if "RECURRENCE-ID" not in part), parts[0])
    for one in found:
        if str(one.get("STATUS", "")).upper() == "CANCELLED":
            continue
        start, end = in_zone(one.start, zone), in_zone(one.end, zone)
        if now < start < until:
            name = uid.translate(_UNFIT)
            if recurs:
                name += f"_{in_zone(_planned(one), zone):%Y%m%dT%H%MZ}"
            yield Row(_name(one, start), _body(name, start, end, one, master, expected))


def _check(uid: str, event: Component) -> None:
    """Raises ValueError, in words."""
    if event.errors:
        name, fault = event.errors[0]
        raise ValueError(f"{name} cannot be read: {str(fault)[:200]}")
    if not uid:
        raise ValueError("has no UID, so it could not be changed later: export it with one")
    if "DTSTART" not in event:
        raise ValueError("has no DTSTART")
    if not isinstance(event["DTSTART"].dt, datetime):
        raise ValueError("lasts all day: give it a time, or leave it out")
    if "DTEND" not in event and "DURATION" not in event:
        raise ValueError("has no end: give it a DTEND or a DURATION")
    rules = event.get("RRULE", [])
    for rule in rules if isinstance(rules, list) else [rules]:
        if often := [one for one in rule.get("FREQ", []) if str(one).upper() in _OFTEN]:
            raise ValueError(f"recurs {often[0]}: a class meets daily at most")


def _planned(one: Component) -> datetime:
    """When the meeting was to be by its rule: it keeps its id where it is moved."""
    planned = one.get("RECURRENCE-ID")
    moment = planned.dt if planned is not None else one.start
    return moment if isinstance(moment, datetime) else one.start


def _body(
    name: str,
    start: datetime,
    end: datetime,
    one: Component,
    master: Component,
    expected: int | None,
) -> dict[str, Any]:
    seconds = (end - start).total_seconds()
    body: dict[str, Any] = {
        "class_id": name,
        "start": iso(start),
        "duration_minutes": -int(-seconds // 60),
        "expected": _expected(one, master, expected),
    }
    for field in ("HOLD", "HOLD-MINUTES"):
        if (text := _own(one, master, field)) is not None:
            body[field.lower().replace("-", "_")] = whole(f"X-RAPIDO-{field}", text)
    if (text := _own(one, master, "REGIONS")) is not None:
        body["regions"] = shares_of(text.replace("\\;", ";"))
    return body


def _expected(one: Component, master: Component, otherwise: int | None) -> int:
    """What the meeting itself says, else its series, else the command. Raises ValueError."""
    for event in (one, master):
        if (text := event.get("X-RAPIDO-EXPECTED")) is not None:
            return whole("X-RAPIDO-EXPECTED", str(text))
        guests = event.get("ATTENDEE")
        if guests:
            return len(guests) if isinstance(guests, list) else 1
    if otherwise is None:
        raise ValueError(
            "does not say how many come: give it ATTENDEEs or X-RAPIDO-EXPECTED, or --expected"
        )
    return otherwise


def _own(one: Component, master: Component, field: str) -> str | None:
    for event in (one, master):
        if (text := event.get(f"X-RAPIDO-{field}")) is not None:
            return str(text)
    return None


def _name(event: Component, start: datetime | None = None) -> str:
    """As a person finds it in a calendar."""
    what = str(event.get("SUMMARY") or event.get("UID") or "without name")
    return f"event {what[:80]!r}" + (
        f" of {start.astimezone(UTC):%Y-%m-%d %H:%MZ}" if start else ""
    )
