"""The steps of session_setup, one function a state."""

from __future__ import annotations

from typing import Any

from control.contracts.session import CreateSession
from control.domain.session import Session
from control.services import sessions
from control.services.ports import Caller, Cell

CONSOLE_TENANT = "console"


class LeaseLost(Exception):
    """The session holds no lease any more: place it again."""


class SetupOver(Exception):
    """The session was ended meanwhile: nothing is left to set up."""


class NoWorker(Exception):
    """No worker is left to try; the message is what the learner is told."""


def place(cell: Cell, execution: str, given: dict[str, Any]) -> dict[str, Any]:
    """Placement for an execution that was started by hand, for the tenant ``console``."""
    ask = CreateSession.model_validate({**given, "wait": False})
    session, _ = sessions.create(
        cell, Caller(CONSOLE_TENANT, "client"), ask, None, None, None, execution
    )
    return {"session_id": session.session_id}


def start_stream(cell: Cell, session_id: str, execution: str, task_token: str) -> None:
    """Asks the worker for the stream; the worker's first frame answers the token.

    ``execution`` is the one that asks: a session that waited again has another since.
    Raises LeaseLost, SetupOver, and WorkerRefused with the worker's reason.
    """
    session = _open(cell, session_id, execution)
    if session.worker_id is None:  # a failover put it back into the queue
        raise LeaseLost(f"{session_id} waits in the queue")
    cell.store.put_task(session_id, task_token)
    cell.workers.start(session, _start_body(cell, session))


def _open(cell: Cell, session_id: str, execution: str = "") -> Session:
    session = cell.store.session(session_id)
    if session is None or not session.is_open:
        raise SetupOver(f"{session_id} is over: {session.reason if session else 'forgotten'}")
    if execution and execution != session.execution:
        raise SetupOver(f"{session_id} is set up by {session.execution} now")
    return session


def _start_body(cell: Cell, session: Session) -> dict[str, Any]:
    if session.room is None:
        access = {"url": session.livekit_url, "room": "", "token": session.own_room_token}
    else:
        token = cell.rooms.token(
            sessions.avatar_identity(session.session_id),
            session.room,
            (session.expires_ms - session.created_ms) / 1000,
            kind="avatar",
        )
        access = {"url": session.livekit_url, "room": session.room, "token": token}
    return {
        "session_id": session.session_id,
        "generation": session.generation,
        "avatar": session.avatar,
        "room": access,
        "expires_at": session.expires_ms / 1000,
        "agent_identity": session.agent_identity,
        "correlation_id": session.correlation_id,
    }


def activate(cell: Cell, session_id: str, generation: int) -> None:
    """Confirms the lease for an hour. Raises LeaseLost, SetupOver."""
    _open(cell, session_id)
    if not cell.store.confirm(session_id, generation):
        raise LeaseLost(f"generation {generation} of {session_id} lost its lease")


def place_again(cell: Cell, session_id: str, execution: str, *, unable: bool) -> None:
    """Gives the lease back, leaves that worker out, takes another. Raises NoWorker, SetupOver.

    ``unable``: the worker takes nothing at all, so that nobody else is sent there until it beats.
    """
    before = _open(cell, session_id, execution)
    if before.status == "live":
        raise SetupOver(f"{session_id} is live: its first frame came after all")
    placed = cell.store.place_again(session_id, before.generation, unable)
    outcome = placed.outcome
    if outcome not in ("finished", "unknown") and before.worker_id is not None:
        cell.workers.stop(before)  # before another one comes for that slot
    sessions.drive_handed(cell, placed.handed)
    if outcome in ("finished", "unknown"):
        raise SetupOver(f"{session_id} is over")
    if outcome == "queued":
        raise SetupOver(f"{session_id} waits again: no other worker has a free slot")
    if outcome == "exhausted":
        raise NoWorker(f"{before.placements} workers were tried and none could start the avatar.")
    if outcome == "full":
        raise NoWorker("No other worker has a free slot for the avatar.")


def fail(cell: Cell, session_id: str, reason: str) -> None:
    """The last word on a session that could not start; its room is closed."""
    session = cell.store.session(session_id)
    if session is not None and session.status == "live":
        return  # a late word must not cut who is heard and seen
    ended = cell.store.finish(session_id, 0, "failed", reason)
    sessions.drive_handed(cell, ended.handed)
    if ended.changed and session and session.room:
        cell.rooms.close(session.livekit_url, session.room)
