"""The timetable in the home cell: what tenants announce, and what other cells may know of it."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from datetime import datetime

from control.contracts.timetable import AnnouncedClass, PutTimetable, TimetableTaken
from control.domain.errors import Fault, conflict, home_away, invalid
from control.domain.fleet import announcing
from control.domain.fleet.announcing import Announcement
from control.domain.fleet.timetable import PlannedClass
from control.services.ports import Cell
from control.services.timetable_ports import Announcements, Place, Span

MOST_COMING = 20_000
"""Classes of one tenant that are yet to end."""
HOLD_MINUTES = 10
PAGE = 500
"""Classes: with the longest names a page stays under a megabyte."""
AHEAD_S = 8 * 86400
BEHIND_S = 2 * 3600
"""A class is known to its cells that long after its end: a tick may be late to learn from it."""
_EVER = Span(0.0, 253_402_300_799.0)


def home(cell: Cell) -> Announcements:
    """The truth. Raises unavailable where another cell keeps it."""
    if cell.announcements is None:
        raise home_away("timetable", cell.home)
    return cell.announcements


def placed(asked: PutTimetable, region: str) -> PutTimetable:
    """With every class's regions said: this cell's own, where none is."""
    classes = tuple(
        one if one.regions else one.model_copy(update={"regions": {region: 1.0}})
        for one in asked.classes
    )
    return PutTimetable.model_construct(classes=classes)


def put(cell: Cell, tenant: str, asked: PutTimetable, now: datetime) -> TimetableTaken:
    """Announces or changes them all, or none. Raises invalid-request, conflict, unavailable."""
    bare = [i for i, one in enumerate(asked.classes) if one.hold_minutes and not one.hold]
    if bare:
        remedy = "say how many slots to hold, or leave it out"
        raise invalid(
            *(Fault(f"classes.{i}.hold_minutes", "is there without hold", remedy) for i in bare)
        )
    classes = [_announcement(one) for one in placed(asked, cell.region).classes]
    regions = {cell.region, *(peer.region for peer in cell.peers)}

    def check(known: Mapping[str, Announcement], coming: int) -> None:
        found = announcing.faults(classes, known, regions, now.timestamp())
        if found:
            raise invalid(*found)
        if coming + sum(one.class_id not in known for one in classes) > MOST_COMING:
            raise conflict(
                "timetable-full",
                "The timetable is full",
                f"Your tenant has {coming} classes to come of at most {MOST_COMING}: announce "
                "fewer weeks ahead, or remove what does not take place.",
            )

    changed = home(cell).put(tenant, classes, now.timestamp(), check)
    return TimetableTaken(taken=len(classes), changed=changed, unchanged=len(classes) - changed)


def _announcement(one: AnnouncedClass) -> Announcement:
    return Announcement(
        class_id=one.class_id,
        start_s=one.start.timestamp(),
        duration_s=one.duration_minutes * 60.0,
        expected=one.expected,
        shares=dict(one.regions),
        hold=one.hold,
        hold_s=(one.hold_minutes or HOLD_MINUTES) * 60.0 if one.hold else 0.0,
    )


def span(begin: datetime | None, end: datetime | None) -> Span:
    """Classes that begin in [begin, end). Raises invalid-request."""
    found = Span(
        _EVER.from_s if begin is None else begin.timestamp(),
        _EVER.until_s if end is None else end.timestamp(),
    )
    if found.until_s <= found.from_s:
        raise invalid(Fault("to", "is not after from", "ask for a time that has a length"))
    return found


def page(
    cell: Cell, tenant: str, asked: Span, cursor: str | None
) -> tuple[list[Announcement], str | None]:
    """In order of their start, and the next page's cursor. Raises invalid-request, unavailable."""
    found = home(cell).page(tenant, asked, _place(cursor), PAGE)
    return found, _cursor([(tenant, one) for one in found])


def window(
    cell: Cell, region: str, since: str, cursor: str | None, now_s: float
) -> tuple[str, Sequence[PlannedClass] | None, str | None]:
    """What a cell of ``region`` is to know: version, a page of classes, the next page's cursor.

    None in place of the classes: they are those that ``since`` stood for. A version is the
    timetable's and the hour's, since the window moves on also when nothing is announced.
    """
    hour = int(now_s // 3600)
    version = f"{home(cell).version()}.{hour}"
    if version == since:
        return version, None, None
    asked = Span(0.0, (hour + 1) * 3600 + AHEAD_S, hour * 3600 - BEHIND_S)
    found = home(cell).of_region(region, asked, _place(cursor), PAGE)
    classes = [announcing.in_region(one, tenant, region) for tenant, one in found]
    return version, classes, _cursor(found)


def _cursor(found: Sequence[tuple[str, Announcement]]) -> str | None:
    if len(found) < PAGE:
        return None
    tenant, last = found[-1]
    text = json.dumps([last.start_s, tenant, last.class_id])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _place(cursor: str | None) -> Place | None:
    """Raises invalid-request."""
    if cursor is None:
        return None
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        start_s, tenant, class_id = json.loads(raw)
        return Place(float(start_s), str(tenant), str(class_id))
    except (binascii.Error, ValueError, TypeError):
        remedy = "send the cursor of the page before"
        raise invalid(Fault("cursor", "is not one of ours", remedy)) from None
