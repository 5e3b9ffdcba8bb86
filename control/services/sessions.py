"""What clients do with sessions, and what ends one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from control.contracts.session import CreateSession, TokenRequest
from control.domain import leases
from control.domain.errors import (
    Fault,
    RapidoError,
    conflict,
    invalid,
    no_capacity,
    not_found,
    quota,
    unavailable,
)
from control.domain.geography import Point
from control.domain.placement import distance_term
from control.domain.queueing import estimated_wait_s, position
from control.domain.rooms import nearest_server
from control.domain.session import (
    Session,
    cell_of,
    new_session_id,
    session_id_of_execution,
)
from control.services.nudging import nudge
from control.services.ports import BadSignature, Caller, Cell, Outcome, Placing, StoreAway

RETRY_AFTER_S = 5


def create(
    cell: Cell,
    caller: Caller,
    ask: CreateSession,
    idempotency_key: str | None,
    location: Point | None,
    correlation_id: str | None,
    execution: str | None = None,
) -> tuple[Session, bool]:
    """The lesson's session and whether it is new; it is queued, or its setup is running.

    An ``execution`` that was started by hand is that setup, and gives the session its id.

    ``location`` is the learner's as the edge guessed it, used where the body names none. Raises
    RapidoError: no-capacity, quota, idempotency-conflict, unavailable (workflows; the lease is kept
    and the tick starts the setup).
    """
    placing = _placing(cell, caller, ask, idempotency_key, location, correlation_id, execution)
    placed = cell.store.place(placing)
    drive_handed(cell, placed.handed)
    if placed.outcome in ("full", "queued"):
        nudge(cell, f"a session is {placed.outcome}")
    _refuse(placed.outcome, caller)
    session = cell.store.session(placed.session_id)
    if session is None:
        raise StoreAway("the session vanished between two reads")
    if session.status == "starting" and execution != session.execution:
        drive(cell, session)
    return session, placed.outcome in ("placed", "queued")


def _refuse(outcome: Outcome, caller: Caller) -> None:
    if outcome == "full":
        raise no_capacity(
            "Every slot of this cell is taken. Ask again when Retry-After has passed.",
            RETRY_AFTER_S,
        )
    if outcome == "quota":
        raise quota(caller.most_sessions)
    if outcome == "unknown-avatar":
        remedy = "name one that GET /api/v1/workers lists, or bring the avatar to a worker"
        raise invalid(Fault("avatar", "is none that a worker of this cell has", remedy))
    if outcome == "conflict":
        raise conflict(
            "idempotency-conflict",
            "That Idempotency-Key was used for another request",
            "Send a new Idempotency-Key, or the very body it was first used with.",
        )


def _placing(
    cell: Cell,
    caller: Caller,
    ask: CreateSession,
    idempotency_key: str | None,
    location: Point | None,
    correlation_id: str | None,
    execution: str | None,
) -> Placing:
    learner_at = location
    if ask.user_location is not None:
        learner_at = Point(ask.user_location.latitude, ask.user_location.longitude)
    new_id = new_session_id(cell.name)
    if execution is not None:
        new_id = session_id_of_execution(cell.name, execution)
    identity = ask.learner.identity if ask.learner else "learner"
    placing = Placing(
        session_id=new_id,
        tenant=caller.tenant,
        lesson_id=ask.lesson_id,
        avatar=ask.avatar,
        distance=distance_term(cell.at, learner_at, ask.rtt_ms.get(cell.region)),
        idempotency_key=idempotency_key,
        fingerprint=_fingerprint(ask),
        livekit_url="",
        livekit_region=None,
        learner_identity=identity,
        learner_name=ask.learner.name if ask.learner else None,
        own_room_token=None,
        agent_identity=None,
        correlation_id=correlation_id,
        execution=execution,
        wait=ask.wait,
        weight=caller.weight,
        most_sessions=caller.most_sessions,
        class_id=ask.class_id,
    )
    if ask.room is not None:
        return replace(
            placing,
            livekit_url=ask.room.url,
            own_room_token=ask.room.token,
            agent_identity=ask.room.agent_identity,
        )
    failed = cell.store.failed_livekit()
    server = nearest_server(cell.livekit, learner_at, cell.at, failed)
    # warm rooms are where the workers are; a session started by hand is named by its execution
    warm = execution is None and server == nearest_server(cell.livekit, None, cell.at, failed)
    return replace(placing, livekit_url=server.url, livekit_region=server.region, warm=warm)


def _fingerprint(ask: CreateSession) -> str:
    """Of what is asked for; whether to wait is not part of it, a hand-over changes that."""
    text = ask.model_dump_json(exclude={"wait"})
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def drive(cell: Cell, session: Session) -> None:
    """Starts the session's setup; its name is the session's own, so twice is once."""
    given = {
        "session_id": session.session_id,
        "lesson_id": session.lesson_id,
        "tenant": session.tenant,
        "created_ms": session.created_ms,
    }
    cell.workflows.start_setup(session.execution, given)


def drive_handed(cell: Cell, handed: Sequence[str]) -> None:
    """Starts the setups of sessions that got a slot from the queue.

    What fails here is nobody's who asks now: the tick, and the next look at the ticket, try again.
    """
    for session_id in handed:
        session = cell.store.session(session_id)
        if session is not None:
            with suppress(RapidoError):
                drive(cell, session)


def queued(cell: Cell, session: Session) -> tuple[int, float | None] | None:
    """Its place in the queue and the estimated wait in seconds; None once it has left the queue.

    Asking keeps its ticket.
    """
    waiting = cell.store.waiting(session.session_id)
    if waiting is None:
        if session.status in ("queued", "starting"):
            drive_handed(cell, [session.session_id])
        return None
    place = position(waiting.tenant, waiting.rank, waiting.lines)
    return place, estimated_wait_s(place, waiting.pace_ms)


def own(cell: Cell, caller: Caller, session_id: str) -> Session:
    """The caller's session; not-found for anybody else's and for what does not exist."""
    if cell_of(session_id) != cell.name:
        raise not_found("session", session_id)
    session = cell.store.session(session_id)
    if session is None or (caller.role != "operator" and session.tenant != caller.tenant):
        raise not_found("session", session_id)
    return session


def page(
    cell: Cell, caller: Caller, status: str | None, cursor: str | None, limit: int = 50
) -> tuple[list[Session], str | None]:
    """Newest first, and the cursor of the next page. Raises invalid-request for a bad cursor."""
    before = None
    if cursor is not None:
        if not cursor.isdigit() or len(cursor) > 15:
            fault = Fault("cursor", "is not one of ours", "send the cursor of the page before")
            raise invalid(fault)
        before = int(cursor)
    tenant = None if caller.role == "operator" else caller.tenant
    sessions, after = cell.store.page(tenant, before, limit)
    if status is not None:
        sessions = [one for one in sessions if one.status == status]
    return sessions, None if after is None else str(after)


def end(cell: Cell, session_id: str, reason: str, generation: int = 0) -> None:
    """Ends a session; again and again is the same. The learner's room is closed as well.

    With a ``generation`` only the worker that holds that lease ends it.
    """
    session = cell.store.session(session_id)
    if session is None:
        return
    ended = cell.store.finish(session_id, generation, "ended", reason)
    if ended.changed and session.worker_id is not None:
        cell.workers.stop(session)  # before the one comes that its slot was handed to
    drive_handed(cell, ended.handed)
    if not ended.changed:
        return
    if session.task_token:
        cell.workflows.refuse(session.task_token, reason)
    if session.room is not None:
        cell.rooms.close(session.livekit_url, session.room)


def learner_token(cell: Cell, session: Session) -> str | None:
    """The learner's way into the room; None where the caller brought a room."""
    if session.room is None:
        return None
    return cell.rooms.token(
        session.learner_identity, session.room, leases.SESSION_TTL_S, name=session.learner_name
    )


def grant(cell: Cell, session: Session, ask: TokenRequest) -> tuple[str, str]:
    """A fresh token and its identity. Raises RapidoError for a finished session or an own room."""
    if not session.is_open:
        raise conflict(
            "session-finished",
            "The session is over",
            "Start a new session; nobody can join this one any more.",
        )
    if session.room is None:
        raise conflict(
            "own-room",
            "The room is the caller's own",
            "Make the token with the keys of your own LiveKit server.",
        )
    default = session.learner_identity if ask.role == "learner" else "voice"
    identity = ask.identity or default
    if identity == avatar_identity(session.session_id):
        fault = Fault("identity", "is the avatar's", "choose another one")
        raise invalid(fault)
    token = cell.rooms.token(identity, session.room, leases.SESSION_TTL_S, kind=ask.role)
    return identity, token


def avatar_identity(session_id: str) -> str:
    """One identity for whoever plays the avatar: a successor throws its predecessor out."""
    return f"avatar-{session_id}"


def webhook(cell: Cell, body: bytes, authorization: str) -> None:
    """LiveKit's word about a room. Raises unauthorized for a wrong signature."""
    try:
        event = cell.rooms.verify_webhook(body, authorization)
    except BadSignature as error:
        raise RapidoError(
            f"{error}. Sign webhooks with the API key this cell knows.",
            "unauthorized",
            "The signature is wrong",
            401,
        ) from None
    name = str((event.get("room") or {}).get("name", ""))
    if event.get("event") == "room_finished" and cell_of(name) == cell.name:
        end(cell, name, "The room was closed.")


def away(part: str) -> RapidoError:
    """The answer while a part is away."""
    return unavailable(part)
