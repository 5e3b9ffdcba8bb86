"""The timetable over HTTP: any cell takes the call, the home cell keeps it."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import quote, unquote

from chalice.app import Blueprint
from pydantic import TypeAdapter, ValidationError

from control.contracts.timetable import (
    ClassView,
    Moment,
    PutTimetable,
    TimetablePage,
    TimetableTaken,
)
from control.domain.errors import Fault, invalid
from control.domain.fleet.announcing import Announcement
from control.entrypoints.at_home import by_home
from control.entrypoints.http import Answer, Call, endpoint
from control.services import timetable

blueprint = Blueprint(__name__)
_PATH, _WHAT = "/api/v1/timetable", "timetable"
_MOST_BODY_BYTES = 512 * 1024
_SPAN = {
    "from": "only classes that begin then or later, RFC 3339 with offset",
    "to": "only classes that begin before, RFC 3339 with offset",
}


@endpoint(
    blueprint, "PUT", _PATH, auth="client", body=PutTimetable, answers={200: TimetableTaken},
    most_body_bytes=_MOST_BODY_BYTES,
)  # fmt: skip
def put_timetable(call: Call) -> Answer:
    """Announce classes, or change them: all of them or none. Again is the same."""
    asked = timetable.placed(call.body, call.cell.region)
    body = asked.model_dump_json(exclude_none=True).encode()
    if (answer := by_home(call, _WHAT, "PUT", _PATH, body)) is not None:
        return answer
    now = datetime.now(UTC)
    return Answer(200, timetable.put(call.cell, call.client.tenant, asked, now))


@endpoint(
    blueprint, "GET", _PATH, auth="client", answers={200: TimetablePage},
    query={**_SPAN, "cursor": "the page after"},
)  # fmt: skip
def show_timetable(call: Call) -> Answer:
    """Your tenant's classes, in order of their start."""
    span = timetable.span(_moment(call, "from"), _moment(call, "to"))
    if (answer := by_home(call, _WHAT, "GET", _PATH)) is not None:
        return answer
    tenant, cursor = call.client.tenant, call.query.get("cursor")
    found, more = timetable.page(call.cell, tenant, span, cursor)
    return Answer(200, TimetablePage(classes=tuple(_view(one) for one in found), cursor=more))


@endpoint(blueprint, "DELETE", _PATH, auth="client", answers={204: None}, query=_SPAN)
def remove_classes(call: Call) -> Answer:
    """Remove your tenant's classes that begin in that time. Again is the same."""
    begin, end = _moment(call, "from"), _moment(call, "to")
    if begin is None or end is None:
        remedy = "give both: nobody shall remove a whole timetable by leaving something out"
        name = "from" if begin is None else "to"
        raise invalid(Fault(name, "is missing", remedy))
    span = timetable.span(begin, end)
    if (answer := by_home(call, _WHAT, "DELETE", _PATH)) is not None:
        return answer
    timetable.home(call.cell).remove_span(call.client.tenant, span)
    return Answer(204)


@endpoint(blueprint, "DELETE", _PATH + "/{class_id}", auth="client", answers={204: None})
def remove_class(call: Call, class_id: str) -> Answer:
    """Remove a class. Again is the same."""
    name = unquote(class_id)  # no id has a %
    path = f"{_PATH}/{quote(name, safe='')}"
    if (answer := by_home(call, _WHAT, "DELETE", path)) is not None:
        return answer
    timetable.home(call.cell).remove(call.client.tenant, name)
    return Answer(204)


def _moment(call: Call, name: str) -> datetime | None:
    """Raises invalid-request."""
    if (text := call.query.get(name)) is None:
        return None
    try:
        found: datetime = TypeAdapter(Moment).validate_python(text)
    except ValidationError as error:
        told = error.errors(include_url=False, include_input=False)[0]
        remedy = told.get("ctx", {}).get("remedy", "send RFC 3339, 2027-01-31T09:00:00+01:00")
        remedy += "; in an address + is written %2B"
        raise invalid(Fault(name, told["msg"], remedy)) from None
    return found


def _view(one: Announcement) -> ClassView:
    return ClassView(
        class_id=one.class_id,
        start=datetime.fromtimestamp(one.start_s, UTC),
        end=datetime.fromtimestamp(one.end_s, UTC),
        duration_minutes=round(one.duration_s / 60),
        expected=one.expected,
        regions=dict(one.shares),
        hold=one.hold,
        hold_minutes=round(one.hold_s / 60),
        announced_at=datetime.fromtimestamp(one.known_s, UTC),
    )
