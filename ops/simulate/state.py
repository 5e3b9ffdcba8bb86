"""What the model of the store holds: the keys of docs/store.md as plain dicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from control.domain.session import Session


@dataclass
class Worker:
    """Key ``w``; ``late`` is the smoothed p95 frame lateness in ms."""

    slots: int
    late: float
    registration: int
    state: str
    order: float | None = 0.0
    """None: closed."""


@dataclass
class Class:
    """Key ``class:DIGEST``; ``at`` is when it was heard of last."""

    came: int = 0
    open: int = 0
    at: int = 0


Named = tuple[str, str]
"""A class by its tenant and its own name."""


@dataclass
class Kept:
    """Key ``s:SID``: the session and what only the scripts need of it."""

    session: Session
    distance: float
    waits: float | None = None
    """The weight it waits with; None: it does not."""
    rounds: int = 0
    """How often it went back into the queue."""
    first_execution: str = ""
    excluded: set[str] = field(default_factory=set)
    forget_ms: int | None = None


@dataclass
class State:
    """Every key of the store. The last group is for the checks alone and is in no store."""

    free: dict[str, float] = field(default_factory=dict)
    workers: dict[str, Worker] = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    boots: dict[str, str] = field(default_factory=dict)
    av: dict[str, str] = field(default_factory=dict)
    avatars: set[str] = field(default_factory=set)
    used: dict[str, int] = field(default_factory=dict)
    st: dict[str, int] = field(default_factory=dict)
    desired: set[str] = field(default_factory=set)
    hb: dict[str, int] = field(default_factory=dict)
    registrations: int = 0
    lease: dict[str, tuple[str, int]] = field(default_factory=dict)
    on: dict[str, dict[str, None]] = field(default_factory=dict)
    exp: dict[str, int] = field(default_factory=dict)
    gen: int = 0
    sessions: dict[str, Kept] = field(default_factory=dict)
    lessons: dict[tuple[str, str], str] = field(default_factory=dict)
    idem: dict[tuple[str, str], tuple[str, str, int]] = field(default_factory=dict)
    starting: dict[str, int] = field(default_factory=dict)
    born: dict[str, int] = field(default_factory=dict)
    births: int = 0
    open: dict[str, int] = field(default_factory=dict)
    queues: dict[str, dict[str, int]] = field(default_factory=dict)
    turns: dict[str, float] = field(default_factory=dict)
    turn: float = 0.0
    weights: dict[str, float] = field(default_factory=dict)
    tickets: dict[str, int] = field(default_factory=dict)
    pace_at: int | None = None
    pace_ms: float | None = None
    outbox: dict[str, int] = field(default_factory=dict)
    changes: dict[tuple[str, str], int] = field(default_factory=dict)
    seq: int = 0
    miss: dict[str, int] = field(default_factory=dict)
    repairs: dict[str, int] = field(default_factory=dict)
    heard: int | None = None
    grace: int = 0
    excused: int | None = None
    reaped: int = 0
    keys: dict[str, tuple[dict[str, Any], int]] = field(default_factory=dict)
    failed_livekit: set[str] = field(default_factory=set)
    due: dict[str, int] = field(default_factory=dict)
    warm: dict[str, list[str]] = field(default_factory=dict)
    classes: dict[Named, Class] = field(default_factory=dict)
    held: dict[str, tuple[str, Named]] = field(default_factory=dict)
    """A held slot's lease → its worker and class; the oldest first."""
    holds: int = 0

    adopted: set[str] = field(default_factory=set)
    shrunk: set[str] = field(default_factory=set)

    def status(self, session_id: str) -> str | None:
        """None for a session that is not known."""
        kept = self.sessions.get(session_id)
        return kept.session.status if kept else None


def snapshot(state: State) -> dict[str, Any]:
    """What two stores that did the same must agree on; counts of zero are left out."""
    return {
        "free": dict(state.free),
        "w": {
            n: (w.slots, w.late, w.registration, w.state, "closed" if w.order is None else w.order)
            for n, w in state.workers.items()
        },
        "used": {name: count for name, count in state.used.items() if count},
        "st": {name: count for name, count in state.st.items() if count},
        "desired": sorted(state.desired),
        "hb": dict(state.hb),
        "registrations": state.registrations,
        "lease": {sid: f"{name}|{gen}" for sid, (name, gen) in state.lease.items()},
        "on": {name: sorted(sids) for name, sids in state.on.items() if sids},
        "exp": dict(state.exp),
        "gen": state.gen,
        "starting": dict(state.starting),
        "sessions": sorted(state.born, key=state.born.__getitem__),
        "open": {tenant: count for tenant, count in state.open.items() if count},
        "queues": {tenant: list(queue) for tenant, queue in state.queues.items()},
        "turns": dict(state.turns),
        "turn": state.turn,
        "weights": dict(state.weights),
        "tickets": dict(state.tickets),
        "pace": (state.pace_at, state.pace_ms),
        "miss": dict(state.miss),
        "repairs": dict(state.repairs),
        "outbox": sorted(state.outbox),
        "classes": {
            f"{tenant} {name}": (one.came, one.open)
            for (tenant, name), one in state.classes.items()
        },
        "held": dict(Counter(name for name, _ in state.held.values())),
        "of_class": {
            f"{tenant} {name}": [held for held, (_, of) in state.held.items() if of == named]
            for named in dict.fromkeys(of for _, of in state.held.values())
            for tenant, name in [named]
        },
    }


def problems(state: State) -> list[str]:
    """Every invariant of the store that does not hold, in words; none when all hold."""
    return [
        *_of_leases(state),
        *_of_workers(state),
        *_of_sessions(state),
        *_of_lessons(state),
        *_of_queues(state),
        *_of_classes(state),
    ]


def _of_leases(state: State) -> Iterator[str]:
    if state.lease.keys() | state.held.keys() != state.exp.keys():
        yield "leases and deadlines are not of the same sessions"
    on = {(name, one) for name, ones in state.on.items() for one in ones}
    if on != {(name, one) for one, (name, _) in (*state.lease.items(), *state.held.items())}:
        yield "leases and the workers' sets disagree"
    generations = [generation for _, generation in state.lease.values()]
    if len(set(generations)) != len(generations):
        yield "two leases have one generation"
    for sid in state.lease:
        if state.status(sid) not in ("starting", "live", "moving"):
            yield f"{sid} holds a lease and is {state.status(sid)}"


def _of_workers(state: State) -> Iterator[str]:
    leases = Counter(name for name, _ in (*state.lease.values(), *state.held.values()))
    held = Counter(name for name, _ in state.held.values())
    unconfirmed = Counter(
        name for sid, (name, _) in state.lease.items() if state.status(sid) == "starting"
    )
    adopted = Counter(state.lease[sid][0] for sid in state.adopted if sid in state.lease)
    for name in sorted({*leases, *state.used, *state.st}):
        if state.used.get(name, 0) != leases[name]:
            yield f"{name} counts {state.used.get(name, 0)} leases and has {leases[name]}"
        if state.st.get(name, 0) != unconfirmed[name]:
            yield f"{name} counts {state.st.get(name, 0)} starts and has {unconfirmed[name]}"
        worker = state.workers.get(name)
        slots = worker.slots if worker else 0
        if leases[name] - adopted[name] > slots and name not in state.shrunk:
            yield f"{name} was oversold: {leases[name]} leases on {slots} slots"
    for name in held:
        worker = state.workers.get(name)
        if worker is None or worker.order is None or name in state.desired:
            yield f"slots are held on {name}, which is gone, closed or to drain"
    for name in state.free:
        worker = state.workers.get(name)
        if worker is None or worker.state != "ready" or leases[name] >= worker.slots:
            yield f"{name} counts as free and is not"
        elif worker.order is None or name in state.desired:
            yield f"{name} counts as free and is closed, or to drain"


def _of_sessions(state: State) -> Iterator[str]:
    open_now: Counter[str] = Counter()
    for sid, kept in state.sessions.items():
        session = kept.session
        if session.is_open:
            open_now[session.tenant] += 1
            if session.status == "live" and sid not in state.lease:
                yield f"{sid} is live without a lease"
            if (session.status == "starting") != (sid in state.starting):
                yield f"{sid} is {session.status}; its setup is driven or not against that"
        elif sid in state.starting:
            yield f"{sid} is {session.status} and its setup still driven"
    for tenant in sorted({*open_now, *state.open}):
        if open_now[tenant] != state.open.get(tenant, 0):
            yield f"{tenant!r} counts {state.open.get(tenant, 0)} open, has {open_now[tenant]}"


def _of_lessons(state: State) -> Iterator[str]:
    lessons = Counter(
        (kept.session.tenant, kept.session.lesson_id)
        for kept in state.sessions.values()
        if kept.session.is_open and kept.session.lesson_id
    )
    for (tenant, lesson), count in lessons.items():
        if count > 1:
            yield f"lesson {lesson} of {tenant} has {count} open sessions"


def _of_queues(state: State) -> Iterator[str]:
    waiting = Counter(sid for queue in state.queues.values() for sid in queue)
    queued = {sid for sid, kept in state.sessions.items() if kept.session.status == "queued"}
    if waiting.keys() != queued or waiting.keys() != state.tickets.keys():
        yield "queues, tickets and queued sessions disagree"
    if any(count != 1 for count in waiting.values()):
        yield "a session waits in two lines"
    if {tenant for tenant, queue in state.queues.items() if queue} != state.turns.keys():
        yield "turns are not those of the tenants that wait"


def _of_classes(state: State) -> Iterator[str]:
    open_now = Counter(
        (kept.session.tenant, kept.session.class_id)
        for kept in state.sessions.values()
        if kept.session.is_open and kept.session.class_id is not None
    )
    for (tenant, name), one in state.classes.items():
        if one.open != open_now[(tenant, name)]:
            found = open_now[(tenant, name)]
            yield f"class {name} of {tenant} counts {one.open} open sessions, has {found}"
