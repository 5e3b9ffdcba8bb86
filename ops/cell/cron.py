"""EventBridge's cron(minute hour day-of-month month day-of-week year)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_EXPRESSION = re.compile(r"cron\(([^()]+)\)")
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_YEARS = (1970, 2199)
_LOOKED_AHEAD_DAYS = 5 * 366


class CronError(ValueError):
    """An expression that is not understood here; the message says which part."""


@dataclass(frozen=True)
class Cron:
    """Sets of allowed values; None allows every day of the month, or of the week."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int] | None
    months: frozenset[int]
    weekdays: frozenset[int] | None
    """1 is Sunday."""
    years: frozenset[int]
    zone: str = "UTC"

    @staticmethod
    def read(expression: str, zone: str = "UTC") -> Cron:
        """Raises CronError: no cron(...), or L, W and #, which are not understood here."""
        found = _EXPRESSION.fullmatch(expression)
        parts = found.group(1).split() if found else []
        if len(parts) != 6:
            raise CronError(f"{expression!r} is not cron() of six fields")
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise CronError(f"{zone!r} is no time zone") from error
        minute, hour, day, month, weekday, year = parts
        return Cron(
            _values(minute, 0, 59),
            _values(hour, 0, 23),
            None if day == "?" else _values(day, 1, 31),
            _values(month, 1, 12, _MONTHS, 1),
            None if weekday == "?" else _values(weekday, 1, 7, _DAYS, 1),
            _values(year, *_YEARS),
            zone,
        )

    def next_after(self, now: datetime) -> datetime | None:
        """The first moment after ``now``, in UTC; None where the next five years have none.

        An hour that the clocks leave out has none that day; one that comes twice counts once.
        """
        here = ZoneInfo(self.zone)
        first = now.astimezone(here).date()
        for ahead in range(_LOOKED_AHEAD_DAYS):
            day = first + timedelta(days=ahead)
            if not self._has_day(day):
                continue
            for hour in sorted(self.hours):
                for minute in sorted(self.minutes):
                    local = datetime.combine(day, time(hour, minute), here)
                    at = local.astimezone(UTC)
                    if at > now and at.astimezone(here).hour == hour:
                        return at
        return None

    def _has_day(self, day: date) -> bool:
        return (
            day.year in self.years
            and day.month in self.months
            and (self.days is None or day.day in self.days)
            and (self.weekdays is None or day.isoweekday() % 7 + 1 in self.weekdays)
        )


def _values(
    text: str, least: int, most: int, names: tuple[str, ...] = (), first: int = 0
) -> frozenset[int]:
    numbers = {name: str(at + first) for at, name in enumerate(names)}
    found: set[int] = set()
    for part in text.upper().split(","):
        span, _, step = part.partition("/")
        start, dash, end = span.partition("-")
        start, end = numbers.get(start, start), numbers.get(end, end)
        if start == "*":
            start, end, dash = str(least), str(most), "-"
        bounds = (start, end if dash else start, step or "1")
        if not all(one.isdigit() for one in bounds):
            raise CronError(f"{part!r} is not understood here")
        last = most if step and not dash else int(bounds[1])
        if not least <= int(start) <= last <= most or int(bounds[2]) == 0:
            raise CronError(f"{part!r} is not within {least} to {most}")
        found |= set(range(int(start), last + 1, int(bounds[2])))
    return frozenset(found)
