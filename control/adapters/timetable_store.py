"""What the store keeps of the timetable: this cell's copy, and who stayed away."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import astuple
from typing import Any

from control.domain.fleet.timetable import (
    FADES,
    Attendance,
    Attendances,
    PlannedClass,
    hour_of,
)


class TimetableStoreMixin:
    """The part of ValkeyStore that the timetable needs."""

    _prefix: str
    _run: Callable[..., Any]
    _call: Callable[..., Any]

    def timetable(self) -> tuple[PlannedClass, ...]:
        """Classes of this cell's region that run, begin within days, or ended a little ago."""
        raw = self._call("hget", self._prefix + "timetable", "classes")
        return tuple(PlannedClass(*row) for row in json.loads(raw or "[]"))

    def timetable_version(self) -> str:
        """Of the copy; empty: there is none."""
        return self._call("hget", self._prefix + "timetable", "version") or ""

    def put_timetable(self, version: str, classes: Sequence[PlannedClass]) -> None:
        """In place of the former copy, at once."""
        rows = json.dumps([astuple(one) for one in classes], separators=(",", ":"))
        fields = {"version": version, "classes": rows}
        self._call("hset", self._prefix + "timetable", mapping=fields)

    def attendances(self) -> Attendances:
        """Of all tenants and hours."""
        known = {}
        for field, sums in self._call("hgetall", self._prefix + "attendance").items():
            hour, _, tenant = field.partition("|")
            announced, came = sums.split("|")
            known[tenant, int(hour)] = Attendance(float(announced), float(came))
        return Attendances(known)

    def unlearnt(self, classes: Sequence[PlannedClass]) -> tuple[PlannedClass, ...]:
        """Those whose attendance was not learnt yet."""
        if not classes:
            return ()
        key = self._prefix + "attended"
        scores = self._call("zmscore", key, [_name(one) for one in classes])
        each = zip(classes, scores, strict=True)
        return tuple(one for one, learnt in each if learnt is None)

    def learn(self, planned: PlannedClass, came: int) -> bool:
        """False where it was learnt before: a class counts once."""
        return bool(
            self._run(
                "learn",
                _name(planned),
                int(planned.start_s * 1000),
                f"{hour_of(planned.start_s)}|{planned.tenant}",
                repr(planned.expected),
                came,
                repr(FADES),
            )
        )


def _name(planned: PlannedClass) -> str:
    """One meeting: a class that is announced anew for another day is another."""
    from control.adapters.store import digest  # it imports this module

    return digest(planned.tenant, planned.class_id, repr(planned.start_s))
