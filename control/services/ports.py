"""What the use cases need from outside, and the context they run in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from control.domain.geography import Point
from control.domain.queueing import Line
from control.domain.rooms import LivekitServer
from control.domain.session import Session
from control.services.cost_ports import Costs, CostStore
from control.services.demand_ports import DemandStore
from control.services.peer_ports import Peer, PeerCalls, PeerStore
from control.services.planner_ports import PlannerStore
from control.services.scaling_ports import Scaling, ScalingStore
from control.services.timetable_ports import Announcements, TimetableStore


@dataclass(frozen=True)
class Placing:
    """All a placement needs, and all that a session must remember to be started again."""

    session_id: str
    tenant: str
    lesson_id: str
    avatar: str
    distance: float
    idempotency_key: str | None
    fingerprint: str
    livekit_url: str
    livekit_region: str | None
    learner_identity: str
    learner_name: str | None
    own_room_token: str | None
    """To the caller's own room; None: the session has one, of its own name."""
    agent_identity: str | None
    correlation_id: str | None
    execution: str | None = None
    """Name of the execution that sets it up, where it was started by hand; else the session's."""
    warm: bool = False
    """May take the name of a room that its worker sits in already."""
    wait: bool = False
    """Wait in the queue when every slot is taken."""
    weight: float = 1.0
    """Turns of this tenant in the queue for one of another's with weight 1."""
    most_sessions: int = 0
    """Open sessions this tenant may have at once; 0 is no limit."""
    class_id: str | None = None
    """Of a class that may have slots held for it."""


@dataclass(frozen=True)
class Caller:
    """Whose key it was, and what its tenant may have: 0 is no limit."""

    tenant: str
    role: Literal["client", "operator"]
    most_sessions: int = 0
    weight: float = 1.0


Outcome = Literal[
    "placed", "existing", "queued", "full", "quota", "conflict", "exhausted", "finished", "unknown",
    "unknown-avatar",
]  # fmt: skip


@dataclass(frozen=True)
class Placed:
    """``handed``: sessions that got a slot from the queue in this very step, to be driven."""

    outcome: Outcome
    session_id: str
    handed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ended:
    """``changed``: this call ended it; ``handed`` as in Placed."""

    changed: bool
    handed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pulse:
    """A heartbeat's answer: leases (session, generation) to be left; ``handed`` as in Placed."""

    desired_state: str
    revoked: tuple[tuple[str, int], ...]
    handed: tuple[str, ...] = ()
    warm: tuple[str, ...] = ()
    """Of the rooms that the worker told, those that no session has taken."""


@dataclass(frozen=True)
class Reaped:
    """``undriven``: sessions starting for too long; ``handed`` as in Placed."""

    undriven: tuple[str, ...]
    handed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Hook:
    """A lifecycle action that waits: a node that its group wants gone."""

    group: str
    name: str
    node_id: str
    token: str


@dataclass(frozen=True)
class Waiting:
    """A queued session: how many of its tenant are before it, all lines, the smoothed interval
    between slots handed over (None before the second)."""

    tenant: str
    rank: int
    lines: tuple[Line, ...]
    pace_ms: float | None


class Store(
    PeerStore, PlannerStore, ScalingStore, DemandStore, CostStore, TimetableStore, Protocol
):
    """Slots, leases and sessions; docs/store.md says what each call does to the state.

    Raises StoreAway when it does not answer.
    """

    def place(self, ask: Placing) -> Placed: ...
    def place_again(self, session_id: str, generation: int, unable: bool = False) -> Placed: ...
    def confirm(self, session_id: str, generation: int) -> bool: ...
    def finish(self, session_id: str, generation: int, status: str, reason: str) -> Ended: ...
    def waiting(self, session_id: str) -> Waiting | None: ...
    def session(self, session_id: str) -> Session | None: ...
    def page(
        self, tenant: str | None, before: int | None, limit: int
    ) -> tuple[list[Session], int | None]: ...
    def put_task(self, session_id: str, token: str) -> None: ...
    def register(self, worker_id: str, facts: dict[str, Any]) -> int: ...
    def registration(self, worker_id: str) -> int | None: ...
    def heartbeat(
        self, worker_id: str, registration: int, heard: dict[str, Any]
    ) -> Pulse | None: ...
    def deregister(self, worker_id: str, registration: int) -> bool: ...
    def drain(self, worker_id: str) -> bool: ...
    def workers(self) -> list[dict[str, Any]]: ...
    def used(self, worker_id: str) -> int: ...
    def counts(self) -> dict[str, int]: ...
    def reap(self, undriven_after_s: float) -> Reaped: ...
    def repairs(self) -> dict[str, int]: ...
    def outbox(self, limit: int) -> list[str]: ...
    def sent(self, entries: Sequence[str]) -> None: ...
    def key(self, digest: str) -> dict[str, Any] | None: ...
    def put_key(self, digest: str, facts: dict[str, Any]) -> None: ...
    def spend(self, tenant: str, most_a_second: int) -> float: ...
    def failed_livekit(self) -> frozenset[str]: ...
    def put_probes(self, ok: dict[str, bool]) -> None: ...
    def ping(self) -> None: ...


class Workflows(Protocol):
    """Step Functions."""

    def start_setup(self, execution: str, given: dict[str, Any]) -> None: ...
    def setup_ended(self, execution: str) -> bool: ...
    def start_scale_out(self, execution: str, given: dict[str, Any]) -> None: ...
    def scale_out_ended(self, execution: str) -> bool: ...
    def answer(self, task_token: str, output: dict[str, Any]) -> None: ...
    def refuse(self, task_token: str, reason: str) -> None: ...
    def ping(self) -> None: ...


class Queue(Protocol):
    """The queue to the records."""

    def send(self, entries: Sequence[str]) -> None: ...


class Records(Protocol):
    """PostgreSQL: the truth of keys, the history of sessions."""

    def upsert(self, rows: Sequence[dict[str, Any]]) -> None: ...
    def add_key(self, digest: str, tenant: str, role: str) -> None: ...
    def key(self, digest: str) -> dict[str, Any] | None: ...
    def attended(self, rows: Sequence[dict[str, Any]]) -> None: ...
    def demanded(self, rows: Sequence[dict[str, Any]]) -> None: ...
    def spent(self, rows: Sequence[dict[str, Any]]) -> None: ...
    def ping(self) -> None: ...


class NodeGroups(Protocol):
    """Auto Scaling groups, as far as a node that is to go concerns them."""

    def extend(self, hook: Hook) -> bool: ...
    def let_go(self, hook: Hook) -> bool: ...


class Rooms(Protocol):
    """LiveKit: tokens are made offline, the rest are calls."""

    def token(
        self,
        identity: str,
        room: str,
        ttl_s: float,
        *,
        name: str | None = None,
        kind: Literal["learner", "voice", "avatar"] = "learner",
    ) -> str: ...
    def close(self, url: str, room: str) -> None: ...
    def probe(self, url: str) -> bool: ...
    def verify_webhook(self, body: bytes, authorization: str) -> dict[str, Any]: ...


class WorkerCalls(Protocol):
    """Calls to a worker, each with a short-lived token of that worker's own key."""

    def key(self, worker_id: str, registration: int) -> str: ...
    def start(self, session: Session, body: dict[str, Any]) -> None: ...
    def stop(self, session: Session) -> None: ...


@dataclass(frozen=True)
class Cell:
    """The context every use case gets."""

    name: str
    region: str
    at: Point
    livekit: tuple[LivekitServer, ...]
    store: Store
    workflows: Workflows
    queue: Queue
    records: Records
    rooms: Rooms
    workers: WorkerCalls
    peer_calls: PeerCalls
    peers: tuple[Peer, ...] = ()
    """The other cells; none: this one is alone."""
    groups: NodeGroups | None = None
    """None: nodes come and go by hand."""
    home: str = ""
    """The cell that keeps the records."""
    announcements: Announcements | None = None
    """The timetable's truth; None where another cell is home."""
    costs: Costs | None = None
    """Of all cells; None where another cell is home."""
    edge_key: str = ""
    """What the edge sends with clients' calls; empty: clients may call past it."""
    warm_rooms: int = 1
    """Rooms that a worker with free slots sits in before anyone asks."""
    scaling: Scaling | None = None
    """None: this cell has no pools to plan."""


class StoreAway(Exception):
    """The store does not answer."""


class WorkerRefused(Exception):
    """A worker did not take a stream; the message says why."""


class WorkerUnable(WorkerRefused):
    """It would take no other stream either: it has no slot, drains, or does not answer."""


class BadSignature(Exception):
    """A webhook that LiveKit did not sign."""
