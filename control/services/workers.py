"""What workers say, and what they are told."""

from __future__ import annotations

from typing import Any

from control.contracts.worker import Heartbeat, Register, StreamEvent, WorkerState
from control.domain import leases
from control.domain.errors import RapidoError, conflict, not_found
from control.domain.rooms import nearest_server
from control.domain.session import Session, cell_of, new_session_id
from control.services import sessions, upkeep
from control.services.ports import Cell, Pulse

STALE = conflict(
    "stale-registration",
    "A newer instance of this worker registered",
    "Stop this instance, or register again to take the name back.",
)
FORGOTTEN = conflict(
    "forgotten-registration",
    "The cell has forgotten this worker",
    "Register again with the same boot; what runs goes on.",
)
_PROBE_ROOMS_A_CORE, _MOST_PROBE_ROOMS = 4, 64
_PROBE_TOKEN_S = 3600.0


def register(cell: Cell, ask: Register) -> dict[str, Any]:
    """A worker's new life: its registration number, the key of calls to it, its probe rooms."""
    facts = ask.model_dump(mode="json", exclude={"worker_id"})
    facts["avatars"] = ",".join(ask.avatars)
    registration = cell.store.register(ask.worker_id, facts)
    return {
        "registration": registration,
        "key": cell.workers.key(ask.worker_id, registration),
        "heartbeat_interval_s": leases.HEARTBEAT_INTERVAL_S,
        "dead_after_s": leases.DEAD_AFTER_S,
        "probe": _probe_rooms(cell, ask),
    }


def _probe_rooms(cell: Cell, ask: Register) -> list[dict[str, str]]:
    """One for each stream it may hold: streams that share a room share its connection as well."""
    server = nearest_server(cell.livekit, None, cell.at, cell.store.failed_livekit())
    count = min(_MOST_PROBE_ROOMS, _PROBE_ROOMS_A_CORE * ask.hardware.cores)
    names = [f"probe-{cell.name}-{ask.worker_id}-{number}" for number in range(count)]
    identity = f"probe-{ask.worker_id}"
    return [
        {
            "url": server.url,
            "room": name,
            "token": cell.rooms.token(identity, name, _PROBE_TOKEN_S, kind="avatar"),
        }
        for name in names
    ]


def heartbeat(cell: Cell, worker_id: str, beat: Heartbeat) -> Pulse:
    """Counts the worker alive, and takes a few snapshots along to the records.

    Raises stale-registration for an older instance, forgotten-registration where the store lost it.
    """
    heard = {
        "state": beat.state.value,
        "slots": beat.slots,
        "avatars": _marked(beat),
        "late": beat.lateness_p95_ms,
        "running": [
            [r.session_id, r.generation, r.state == "live", r.learners] for r in beat.running
        ],
        "warm": [[w.session_id, w.ready] for w in beat.warm if cell_of(w.session_id) == cell.name],
    }
    pulse = cell.store.heartbeat(worker_id, beat.registration, heard)
    if pulse is None:
        raise FORGOTTEN if cell.store.registration(worker_id) is None else STALE
    sessions.drive_handed(cell, pulse.handed)
    upkeep.flush(cell, upkeep.BATCH)
    return pulse


def _marked(beat: Heartbeat) -> str:
    """Names with commas; ``~`` in front of those that it would have to load first."""
    ready = set(beat.ready)
    return ",".join(name if name in ready else f"~{name}" for name in beat.avatars)


def warm_rooms(cell: Cell, beat: Heartbeat, pulse: Pulse) -> list[dict[str, str]]:
    """The rooms {url, room, token} that this worker sits in for sessions to come.

    Each has the name that its session will have; those that it has already stay.
    """
    if beat.state != WorkerState.READY or pulse.desired_state != WorkerState.READY:
        return []
    wanted = max(0, min(cell.warm_rooms, beat.slots - len(beat.running)))
    fresh = (new_session_id(cell.name) for _ in range(wanted - len(pulse.warm)))
    server = nearest_server(cell.livekit, None, cell.at, cell.store.failed_livekit())
    return [
        {
            "url": server.url,
            "room": name,
            "token": cell.rooms.token(
                sessions.avatar_identity(name), name, leases.SESSION_TTL_S, kind="avatar"
            ),
        }
        for name in (*pulse.warm[:wanted], *fresh)
    ]


def deregister(cell: Cell, worker_id: str, registration: int) -> None:
    """The worker is gone; again is the same. Raises stale-registration for an older instance."""
    if not cell.store.deregister(worker_id, registration):
        raise STALE


def event(cell: Cell, worker_id: str, said: StreamEvent) -> None:
    """First frame, end or failure of a stream. Raises stale-generation for a lost lease."""
    session = cell.store.session(said.session_id)
    if session is None:
        raise not_found("session", said.session_id)
    if session.worker_id != worker_id or session.generation != said.generation:
        raise _stale_generation(said)
    if not session.is_open:
        if said.type == "first_frame":
            raise _stale_generation(said)
        return
    token = session.task_token
    if said.type == "ended":
        sessions.end(cell, said.session_id, said.reason or "The lesson ended.", said.generation)
    elif said.type == "first_frame":
        if token is not None:
            cell.workflows.answer(token, {"generation": said.generation})
    else:
        if session.status == "live":
            _failed(cell, session, said)
        if token is not None:
            cell.workflows.refuse(token, said.reason or "the stream failed")


def _failed(cell: Cell, session: Session, said: StreamEvent) -> None:
    ended = cell.store.finish(said.session_id, said.generation, "failed", said.reason)
    sessions.drive_handed(cell, ended.handed)
    if session.room is not None:
        cell.rooms.close(session.livekit_url, session.room)


def _stale_generation(said: StreamEvent) -> RapidoError:
    return conflict(
        "stale-generation",
        "The lease went to another worker",
        f"Stop the stream of {said.session_id}: generation {said.generation} holds no lease.",
    )


def drain(cell: Cell, worker_id: str) -> None:
    """No new lease from now on; the live ones end by themselves."""
    if not cell.store.drain(worker_id):
        raise not_found("worker", worker_id)
