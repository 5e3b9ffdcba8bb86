"""What operators and health checks read about a cell, and what cells tell each other."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from control.contracts.base import CellName, Message, Region, SessionId, Utc
from control.contracts.session import CreateSession, UserLocation
from control.contracts.worker import Hardware, Market, WorkerState


class Health(Message):
    """``GET /health``: the process answers, nothing else was touched."""

    status: Literal["ok"] = "ok"
    cell: str
    version: str


class Ready(Message):
    """``GET /health/ready``: each dependency by name, ``ok`` or the fault."""

    status: Literal["ready", "unready"]
    cell: str
    dependencies: dict[str, str]


class WorkerView(Message):
    """One worker, as the cell knows it."""

    worker_id: str
    state: WorkerState
    alive: bool
    region: str
    zone: str
    url: str
    version: str
    instance_type: str | None = None
    market: Market | None = None
    slots: int
    used: int
    held: int
    """Of those used: kept for classes that were announced."""
    order: float | None
    """What the planner adds to its score; null: closed, it takes no new lease."""
    avatars: tuple[str, ...]
    lateness_p95_ms: float
    hardware: Hardware
    last_seen_at: Utc


class WorkerPage(Message):
    """All workers of the cell, by name."""

    workers: tuple[WorkerView, ...]


class Fleet(Message):
    """The cell's sums."""

    cell: str
    workers: int
    workers_alive: int
    slots: int
    used: int
    held: int
    """Of those used: kept for classes that were announced."""
    free: int
    sessions: dict[str, int]
    """Count of sessions by status."""
    leaked: int
    """Slots still counted on workers that are gone: 0 but for moments."""
    repairs: dict[str, int]
    """What reconciliation put right: leases ``revoked`` that a worker ran without, runs ``adopted``
    that the store had forgotten, leases ``unrun`` by their worker."""


MOST_CHANGES = 256
"""Lessons in one summary: 256 with the longest names stay under the 64 KiB of a body."""
Sequence = Annotated[int, Field(ge=0, le=2**53 - 1)]


MOST_PLANS = 200


class Banned(Message):
    """A pool that nothing is launched from for a while."""

    until: Utc
    reason: str


class FleetPlans(Message):
    """``GET /api/v1/fleet/plans``: newest first. A plan is ``at_s``, ``reason``, ``notes``, the
    ``order`` that came of it, and ``fleet``, ``outlook``, ``policy``, ``plan``, which are enough to
    decide it again."""

    plans: tuple[dict[str, JsonValue], ...]
    more: bool
    """Older ones are kept: `before` the last one's ``at_s``."""
    in_flight: str | None
    """The execution of regional_scale_out that carries an order out."""
    banned: dict[str, Banned]
    reports: tuple[dict[str, JsonValue], ...]
    """What executions did."""


class ForecastQuality(Message):
    """Mean absolute errors a quarter of an hour ahead, in sessions; ``ratio`` under 1 is better
    than
    taking the present for the future."""

    bins: int
    """Of five minutes."""
    sessions: float
    """What they are errors of, on average."""
    forecast_error: float
    persistence_error: float
    ratio: float | None


class FleetForecast(Message):
    """``GET /api/v1/fleet/forecast``: sessions expected, a value each ``step_s`` from ``at`` on."""

    at: Utc | None
    """None: nothing was planned yet."""
    step_s: float
    mean: tuple[float, ...]
    high: tuple[float, ...]
    """What capacity is planned for."""
    days: int
    quality: ForecastQuality | None
    """Of the last ``days``; None where nothing was foreseen yet."""


class LessonChange(Message):
    """A lesson that began or ended in the sender's cell.

    ``lesson`` is a digest of tenant and lesson, the same in every cell; ``born_ms`` is Unix time.
    """

    lesson: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    session_id: SessionId
    born_ms: Sequence
    over: bool


class Summary(Message):
    """Body of ``PUT /api/v1/cell/peers/{cell}``: how the sender stands, and its lessons' changes.

    ``best_score`` is its best worker's without the distance. ``lessons`` are the changes after
    ``since``, in order, up to ``sequence``; ``since`` 0 begins the whole list anew, and ``more``
    says that the next summary goes on.
    """

    cell: CellName
    region: Region
    free_slots: Annotated[int, Field(ge=0, le=10_000_000)]
    best_score: Annotated[float, Field(ge=0, le=0.6)]
    accepting: bool
    short_slots: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """What its own region cannot have for the demand that it expects."""
    since: Sequence
    sequence: Sequence
    more: bool = False
    lessons: Annotated[tuple[LessonChange, ...], Field(max_length=MOST_CHANGES)] = ()
    sent_at: Utc


class SummaryHeard(Message):
    """The answer to a summary: the changes up to ``sequence`` are known here."""

    sequence: Sequence


class KeyFacts(Message):
    """What the home cell knows of a client key, to a peer that was shown it; 0 is no limit.

    ``left_s`` is how long the key lives yet, None for ever.
    """

    tenant: str
    role: Literal["client", "operator"]
    most_sessions: int = 0
    requests_per_s: int = 0
    weight: float = 1.0
    left_s: float | None = None


class HandOver(CreateSession):
    """Body of ``POST /api/v1/cell/sessions``: a client's request as a peer got it.

    ``hop`` is 1 and never more: what was handed over once is placed here or refused, not handed on
    and not queued. ``viewer`` is the learner's place as the peer's edge saw it.
    """

    tenant: Annotated[str, Field(min_length=1, max_length=100)]
    most_sessions: Annotated[int, Field(ge=0)] = 0
    """Open sessions that the tenant may have in a cell; 0 is no limit."""
    hop: Literal[1]
    viewer: UserLocation | None = None
    idempotency_key: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    correlation_id: Annotated[str, Field(max_length=100)] | None = None

    def ask(self) -> CreateSession:
        """The client's own body, but that it does not wait in our queue."""
        names = set(CreateSession.model_fields)
        return CreateSession.model_validate(self.model_dump(include=names) | {"wait": False})
