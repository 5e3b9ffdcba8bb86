"""Sessions over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from chalice.app import Blueprint

from control.contracts.session import (
    Candidate,
    CreateSession,
    LivekitAccess,
    SessionPage,
    SessionView,
    Status,
    Terms,
    TokenGrant,
    TokenRequest,
    Why,
)
from control.domain import leases, placement
from control.domain.errors import Fault, invalid
from control.domain.geography import Point
from control.domain.session import Session
from control.entrypoints.http import Answer, Call, endpoint
from control.entrypoints.telemetry import metrics
from control.services import sessions

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
    answers={200: SessionView, 201: SessionView},
)  # fmt: skip
def create_session(call: Call) -> Answer:
    """Start a lesson's avatar, or find the one this lesson already has."""
    key = call.headers.get("idempotency-key")
    if key is not None and not 1 <= len(key) <= 200:
        raise invalid(Fault("Idempotency-Key", f"has {len(key)} characters", "use 1 to 200"))
    session, new = sessions.create(
        call.cell, call.client, call.body, key, _viewer(call), call.correlation_id
    )
    metrics.add_metric("SessionsPlaced" if new else "SessionsFound", "Count", 1)
    view = _view(session, sessions.learner_token(call.cell, session) if session.is_open else None)
    return Answer(201 if new else 200, view)


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
    """One session, and why it failed if it did."""
    return Answer(200, _view(sessions.own(call.cell, call.client, session_id)))


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
    why = session.why
    candidates = tuple(
        Candidate(
            worker_id=one["worker_id"],
            region=one["region"],
            terms=Terms(
                distance=one["distance"],
                load=one["load"],
                performance=one["performance"],
                capacity=one["capacity"],
            ),
            score=one["score"],
            holds_avatar=one["holds_avatar"],
        )
        for one in why["candidates"] or ()
    )
    weights = Terms(
        distance=placement.DISTANCE,
        load=placement.LOAD,
        performance=placement.PERFORMANCE,
        capacity=placement.CAPACITY,
    )
    return Answer(
        200,
        Why(
            session_id=session.session_id,
            chosen=why["chosen"],
            generation=why["generation"],
            weights=weights,
            avatar_margin=placement.AVATAR_MARGIN,
            candidates=candidates,
            excluded=tuple(why.get("excluded") or ()),
            store_time=_time(int(why["store_ms"])),
            note=session.reason or "",
        ),
    )
