"""What the timetable needs: its truth in the home cell's records, and each cell's copy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from control.domain.fleet.announcing import Announcement
from control.domain.fleet.timetable import Attendances, PlannedClass


@dataclass(frozen=True)
class Place:
    """Where a page ended: classes are in order of start, tenant, class_id."""

    start_s: float
    tenant: str
    class_id: str


@dataclass(frozen=True)
class Span:
    """Classes that begin in [from, until) and end after ``ending_s``; Unix seconds."""

    from_s: float
    until_s: float
    ending_s: float = 0.0


Check = Callable[[Mapping[str, Announcement], int], None]
"""Gets the classes of the same ids that stand there, and how many of the tenant's are yet to end;
raises to let nothing be changed."""


class Announcements(Protocol):
    """The timetable itself, in PostgreSQL. Raises unavailable."""

    def put(self, tenant: str, classes: Sequence[Announcement], now_s: float, check: Check) -> int:
        """All of them or none; how many were new or other than before."""

    def page(
        self, tenant: str, span: Span, after: Place | None, limit: int
    ) -> list[Announcement]: ...
    def remove(self, tenant: str, class_id: str) -> None: ...
    def remove_span(self, tenant: str, span: Span) -> None: ...
    def version(self) -> int: ...
    def of_region(
        self, region: str, span: Span, after: Place | None, limit: int
    ) -> list[tuple[str, Announcement]]:
        """With their tenants."""


class TimetableStore(Protocol):
    """A cell's copy, and what it learnt; docs/store.md, Timetable. Raises StoreAway."""

    def timetable(self) -> tuple[PlannedClass, ...]: ...
    def timetable_version(self) -> str: ...
    def put_timetable(self, version: str, classes: Sequence[PlannedClass]) -> None: ...
    def attendances(self) -> Attendances: ...
    def unlearnt(self, classes: Sequence[PlannedClass]) -> tuple[PlannedClass, ...]: ...
    def learn(self, planned: PlannedClass, came: int) -> bool: ...
