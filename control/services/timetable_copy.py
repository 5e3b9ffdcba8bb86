"""A cell's own copy of the timetable, and what the minute's tick does by it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from urllib.parse import urlencode

from pydantic import ValidationError

from control.contracts.timetable import TimetableWindow
from control.domain.errors import RapidoError
from control.domain.fleet import meeting
from control.domain.fleet.timetable import PlannedClass
from control.services import sessions, timetable
from control.services.peer_ports import PeerAway
from control.services.planner_ports import ObservedClass
from control.services.ports import Cell
from control.services.upkeep import ATTENDANCE, BATCH

EVERY_MS = 55_000
"""Once a minute, whatever else calls; ticks come a moment early or late."""
WITHIN_S = 15.0
"""All pages together."""
TRY_S = 5.0
MOST_CLASSES = 20_000
"""Of a copy: the soonest."""
LEARNT_AT_ONCE = 500


def refresh(cell: Cell, now_s: float) -> str:
    """Pulls what is new from the home cell; in words what went wrong, and then the copy stays."""
    if not cell.store.due("timetable", EVERY_MS):
        return ""
    try:
        found = _pull(cell, cell.store.timetable_version(), now_s)
    except (PeerAway, RapidoError) as error:
        return f"the copy stays as it was: {error}"
    if found is not None:
        cell.store.put_timetable(*found)
    return ""


def _pull(cell: Cell, since: str, now_s: float) -> tuple[str, list[PlannedClass]] | None:
    """The version and the classes; None where they are those we have.

    While pages are fetched the timetable may change: a class that was moved is then there once, and
    the version stays the first page's, so that the next pull fetches all of it again.
    """
    version, classes = "", {}
    for page_version, page in _pages(cell, since, now_s):
        if page is None:
            return None
        version = version or page_version
        classes.update({(one.tenant, one.class_id): one for one in page})
        if len(classes) >= MOST_CLASSES:
            break
    return version, list(classes.values())[:MOST_CLASSES]


def _pages(cell: Cell, since: str, now_s: float) -> Iterator[tuple[str, list[PlannedClass] | None]]:
    """Raises PeerAway, RapidoError."""
    ends_s = time.monotonic() + WITHIN_S
    cursor: str | None = None
    while True:
        if cell.announcements is not None:
            version, page, cursor = timetable.window(cell, cell.region, since, cursor, now_s)
            yield version, None if page is None else list(page)
        else:
            told = _ask_home(cell, since, cursor, ends_s - time.monotonic())
            planned = [PlannedClass(**one.model_dump()) for one in told.classes]
            yield told.version, None if told.unchanged else planned
            cursor = told.cursor
        if cursor is None:
            return


def _ask_home(cell: Cell, since: str, cursor: str | None, left_s: float) -> TimetableWindow:
    peer = next((one for one in cell.peers if one.cell == cell.home), None)
    if peer is None or left_s <= 0:
        raise PeerAway(f"{cell.home} is no peer" if peer is None else "no answer in time")
    query = urlencode({"since": since} | ({"cursor": cursor} if cursor else {}))
    path = f"/api/v1/cell/timetable?{query}"
    answer = cell.peer_calls.call(peer, "GET", path, None, {}, min(TRY_S, left_s), signed=True)
    if answer.status != 200:
        raise PeerAway(f"it refused: {answer.status} {str(answer.body.get('detail', ''))[:200]}")
    try:
        return TimetableWindow.model_validate(answer.body)
    except ValidationError:
        raise PeerAway("its answer makes no sense") from None


def hold(cell: Cell, observed: Iterable[ObservedClass], now_s: float) -> int:
    """Holds slots for the classes that are about to begin; again and again is the same.

    Those of a class that was moved or removed meanwhile are given back. Answers how many are held:
    fewer than asked for where the cell has no more.
    """
    held = 0
    due = meeting.held_now(cell.store.timetable(), now_s)
    names = {(one.tenant, one.class_id) for one in due}
    for former in observed:
        if former.held and (former.tenant, former.class_id) not in names:
            sessions.drive_handed(cell, cell.store.unhold(former.tenant, former.class_id).handed)
    for one in due:
        got = cell.store.hold(one.tenant, one.class_id, one.hold, one.start_s + one.hold_s)
        sessions.drive_handed(cell, got.handed)
        held += got.count
    return held


def learn(cell: Cell, observed: Iterable[ObservedClass], now_s: float) -> int:
    """Who came of whom was announced, once a class; to the records first, then to the store.

    A tick that dies in between sends a class twice, which is the same row. Raises unavailable.
    """
    came = {(one.tenant, one.class_id): one.came for one in observed}
    due = cell.store.unlearnt(meeting.to_learn(cell.store.timetable(), now_s))[:LEARNT_AT_ONCE]
    for begin in range(0, len(due), BATCH):
        some = [(one, came.get((one.tenant, one.class_id), 0)) for one in due[begin:][:BATCH]]
        cell.queue.send([_message(cell, one, count) for one, count in some])
        for one, count in some:
            cell.store.learn(one, count)
    return len(due)


def _message(cell: Cell, planned: PlannedClass, came: int) -> str:
    return json.dumps(
        {
            "kind": ATTENDANCE,
            "tenant": planned.tenant,
            "class_id": planned.class_id,
            "region": cell.region,
            "start_s": planned.start_s,
            "announced": planned.expected,
            "came": came,
        }
    )
