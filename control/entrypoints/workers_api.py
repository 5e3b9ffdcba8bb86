"""Workers over HTTP: every call signed, each worker only for itself."""

from __future__ import annotations

from chalice.app import Blueprint

from control.contracts.worker import (
    Heartbeat,
    HeartbeatReply,
    LeaseRef,
    Register,
    Registered,
    RoomAccess,
    StreamEvent,
    WorkerState,
)
from control.domain import leases
from control.domain.errors import Fault, invalid
from control.entrypoints.http import Answer, Call, endpoint, speaks_for
from control.entrypoints.telemetry import logger
from control.services import summaries, workers

blueprint = Blueprint(__name__)


@endpoint(
    blueprint, "POST", "/api/v1/workers", auth="worker", body=Register, answers={201: Registered}
)
def register_worker(call: Call) -> Answer:
    """A worker's new life; its older instances are refused from now on."""
    speaks_for(blueprint.current_request.context, call.body.worker_id)
    return Answer(201, Registered.model_validate(workers.register(call.cell, call.body)))


@endpoint(
    blueprint, "POST", "/api/v1/workers/{worker_id}/heartbeat", auth="worker", body=Heartbeat,
    answers={200: HeartbeatReply},
)  # fmt: skip
def heartbeat(call: Call, worker_id: str) -> Answer:
    """Counts the worker alive; answers what it should be and which leases it lost."""
    pulse = workers.heartbeat(call.cell, worker_id, call.body)
    if faults := summaries.push(call.cell):
        logger.warning("peers not told", extra={"faults": faults})
    reply = HeartbeatReply(
        desired_state=WorkerState(pulse.desired_state),
        heartbeat_interval_s=leases.HEARTBEAT_INTERVAL_S,
        revoked=tuple(LeaseRef(session_id=s, generation=g) for s, g in pulse.revoked),
        warm=tuple(RoomAccess(**room) for room in workers.warm_rooms(call.cell, call.body, pulse)),
    )
    return Answer(200, reply)


@endpoint(
    blueprint, "DELETE", "/api/v1/workers/{worker_id}", auth="worker", answers={204: None},
    query={"registration": "the number this instance was given"},
)  # fmt: skip
def deregister_worker(call: Call, worker_id: str) -> Answer:
    """The worker leaves in order; again is the same."""
    number = call.query.get("registration", "")
    if not number.isdigit():
        remedy = "send the number that registration answered"
        raise invalid(Fault("registration", "is not a number", remedy))
    workers.deregister(call.cell, worker_id, int(number))
    return Answer(204)


@endpoint(
    blueprint, "POST", "/api/v1/workers/{worker_id}/events", auth="worker", body=StreamEvent,
    answers={204: None},
)  # fmt: skip
def stream_event(call: Call, worker_id: str) -> Answer:
    """First frame, end or failure of a stream."""
    workers.event(call.cell, worker_id, call.body)
    return Answer(204)
