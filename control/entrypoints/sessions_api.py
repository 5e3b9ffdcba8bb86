"""Sessions over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from chalice.app import Blueprint

from control.contracts.session import (
    Candidate,
    CreateSession,
    LivekitAccess,
    SessionPage,
    SessionView,
    Status,
    Terms,
    Ticket,
    TokenGrant,
    TokenRequest,
    Why,
)
from control.domain import leases, placement
from control.domain.errors import Fault, invalid, not_found
from control.domain.geography import Point
from control.domain.session import Session
from control.entrypoints.http import Answer, Call, endpoint, passed_on
from control.entrypoints.telemetry import count
from control.services import peers, sessions
from control.services.peer_ports import PeerAnswer
from control.services.ports import Cell

blueprint = Blueprint(__name__)


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def _view(session: Session, token: str | None = None) -> SessionView:
    return SessionView(
        session_id=session.session_id,
        lesson_id=session.lesson_id,
        status=Status(session.status),
        region=session.region,
        worker_id=session.worker_id,
        livekit=LivekitAccess(
            url=session.livekit_url, region=session.livekit_region, room=session.room, token=token
        ),
        created_at=_time(session.created_ms),
        expires_at=_time(session.expires_ms),
        ended_at=_time(session.ended_ms) if session.ended_ms else None,
        reason=session.reason,
        class_id=session.class_id,
    )


def _viewer(call: Call) -> Point | None:
    """Where CloudFront saw the caller."""
    try:
        return Point(
            float(call.headers["cloudfront-viewer-latitude"]),
            float(call.headers["cloudfront-viewer-longitude"]),
        )
    except (KeyError, ValueError):
        return None


@endpoint(
    blueprint, "POST", "/api/v1/sessions", auth="client", body=CreateSession,
    answers={200: SessionView, 201: SessionView, 202: Ticket},
)  # fmt: skip
def create_session(call: Call) -> Answer:
    """Start a lesson's avatar, or find the one this lesson already has."""
    key = call.headers.get("idempotency-key")
    if key is not None and not 1 <= len(key) <= 200:
        raise invalid(Fault("Idempotency-Key", f"has {len(key)} characters", "use 1 to 200"))
    found = peers.create(call.cell, call.client, call.body, key, _viewer(call), call.correlation_id)
    if isinstance(found, PeerAnswer):
        count("SessionsHandedOver")
        return passed_on(found)
    return started(call.cell, *found)


def started(cell: Cell, session: Session, new: bool) -> Answer:
    """A session of this cell, with the learner's way in; or its place in the queue."""
    if session.status == Status.QUEUED and (standing := sessions.queued(cell, session)):
        if new:
            count("SessionsQueued")
        return Answer(202, _ticket(session, *standing))
    count("SessionsPlaced" if new else "SessionsFound")
    view = _view(session, sessions.learner_token(cell, session) if session.is_open else None)
    return Answer(201 if new else 200, view)


def _ticket(session: Session, place: int, wait_s: float | None) -> Ticket:
    return Ticket(
        ticket=session.session_id,
        position=place,
        estimated_wait_s=None if wait_s is None else round(wait_s, 1),
        status_url=f"/api/v1/queue/{session.session_id}",
    )


@endpoint(
    blueprint, "GET", "/api/v1/queue/{ticket}", auth="client", answers={200: Ticket, 303: None}
)
def show_ticket(call: Call, ticket: str) -> Answer:
    """One's place in the queue; 303 to the session once it has left the queue."""
    session = sessions.own(call.cell, call.client, ticket)
    standing = sessions.queued(call.cell, session)
    if standing is None:
        return Answer(303, headers={"Location": f"/api/v1/sessions/{session.session_id}"})
    return Answer(200, _ticket(session, *standing))


@endpoint(blueprint, "DELETE", "/api/v1/queue/{ticket}", auth="client", answers={204: None})
def leave_queue(call: Call, ticket: str) -> Answer:
    """Leave the queue; a session that was given a slot meanwhile is ended. Again is the same."""
    session = sessions.own(call.cell, call.client, ticket)
    sessions.end(call.cell, session.session_id, "Its client left the queue.")
    return Answer(204)


@endpoint(
    blueprint, "GET", "/api/v1/sessions", auth="client", answers={200: SessionPage},
    query={"status": "only sessions of this status", "cursor": "the page after"},
)  # fmt: skip
def list_sessions(call: Call) -> Answer:
    """This cell's sessions of your tenant, newest first; an operator sees all."""
    status = call.query.get("status")
    if status is not None and status not in set(Status):
        raise invalid(Fault("status", "is not one", f"send one of {', '.join(Status)}"))
    found, cursor = sessions.page(call.cell, call.client, status, call.query.get("cursor"))
    return Answer(200, SessionPage(sessions=tuple(_view(one) for one in found), cursor=cursor))


@endpoint(
    blueprint, "GET", "/api/v1/sessions/{session_id}", auth="client", answers={200: SessionView}
)
def show_session(call: Call, session_id: str) -> Answer:
    """One session, and why it failed if it did. Asking keeps a queued one's place."""
    session = sessions.own(call.cell, call.client, session_id)
    if session.status == Status.QUEUED:
        sessions.queued(call.cell, session)
    return Answer(200, _view(session))


@endpoint(blueprint, "DELETE", "/api/v1/sessions/{session_id}", auth="client", answers={204: None})
def end_session(call: Call, session_id: str) -> Answer:
    """End a session; again and again is the same."""
    session = sessions.own(call.cell, call.client, session_id)
    sessions.end(call.cell, session.session_id, "Its client ended it.")
    return Answer(204)


@endpoint(
    blueprint, "POST", "/api/v1/sessions/{session_id}/token", auth="client", body=TokenRequest,
    answers={200: TokenGrant},
)  # fmt: skip
def grant_token(call: Call, session_id: str) -> Answer:
    """A fresh room token: a learner's, or one that may speak through the avatar."""
    session = sessions.own(call.cell, call.client, session_id)
    identity, token = sessions.grant(call.cell, session, call.body)
    return Answer(
        200,
        TokenGrant(
            url=session.livekit_url,
            room=session.room or "",
            identity=identity,
            token=token,
            expires_at=datetime.now(UTC) + timedelta(seconds=leases.SESSION_TTL_S),
        ),
    )


@endpoint(blueprint, "GET", "/api/v1/sessions/{session_id}/why", auth="client", answers={200: Why})
def explain_session(call: Call, session_id: str) -> Answer:
    """Which workers were considered, what each scored, and which was chosen."""
    session = sessions.own(call.cell, call.client, session_id)
    if not session.why:
        raise not_found("placement of the queued session", session_id)
    return Answer(200, why_view(session))


def why_view(session: Session) -> Why:
    """What the session's last choice saw, and what that scored. Raises KeyError of a queued one."""
    why = session.why
    weights = Terms(
        distance=placement.DISTANCE,
        load=placement.LOAD,
        performance=placement.PERFORMANCE,
        capacity=placement.CAPACITY,
    )
    return Why(
        session_id=session.session_id,
        chosen=why["chosen"],
        generation=why["generation"],
        weights=weights,
        avatar_margin=placement.AVATAR_MARGIN,
        start_cap=placement.START_CAP,
        candidates=tuple(_candidate(one, why["distance"]) for one in why["candidates"]),
        excluded=tuple(why["excluded"]),
        held=why["held"],
        store_time=_time(why["store_ms"]),
        note=session.reason or "",
    )


def _candidate(head: dict[str, Any], distance: float) -> Candidate:
    holds, starts, order = head["holds_avatar"], head["starts"], head["order"]
    scored = placement.terms(
        head["worker_id"], distance, head["slots"], head["used"], head["late"], holds, starts, order
    )
    return Candidate(
        worker_id=scored.worker_id,
        slots=head["slots"],
        used=head["used"],
        lateness_ms=head["late"],
        starts=starts,
        holds_avatar=holds,
        order=order,
        terms=Terms(
            distance=distance,
            load=scored.load,
            performance=scored.performance,
            capacity=scored.capacity,
        ),
        score=scored.score,
    )
