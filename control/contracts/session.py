"""What clients send and read about sessions."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from control.contracts.base import (
    AvatarName,
    ClassId,
    Identity,
    Latitude,
    LessonId,
    Longitude,
    Message,
    Region,
    SessionId,
    Utc,
)


class Status(StrEnum):
    """Where a session stands; ``ended`` and ``failed`` are final."""

    QUEUED = "queued"
    STARTING = "starting"
    LIVE = "live"
    MOVING = "moving"
    ENDED = "ended"
    FAILED = "failed"


class UserLocation(Message):
    """Degrees."""

    latitude: Latitude
    longitude: Longitude


class Learner(Message):
    """Who the learner's token is for; ``name`` is shown to others in the room."""

    identity: Identity
    name: Annotated[str, Field(max_length=120)] | None = None


class OwnRoom(Message):
    """A room the caller already has; the avatar joins it with the caller's token."""

    url: Annotated[str, Field(pattern=r"^wss?://[^\s]+$", max_length=500)]
    token: Annotated[str, Field(min_length=20, max_length=4000)]
    agent_identity: Identity


class CreateSession(Message):
    """Body of ``POST /api/v1/sessions``; ``rtt_ms`` maps a region to the client's round trip."""

    lesson_id: LessonId
    avatar: AvatarName = "demo"
    user_location: UserLocation | None = None
    rtt_ms: Annotated[
        dict[Region, Annotated[float, Field(ge=0, le=60_000)]], Field(max_length=64)
    ] = Field(default_factory=dict)
    learner: Learner | None = None
    room: OwnRoom | None = None
    wait: bool = True
    class_id: ClassId | None = None
    """The announced class that the lesson is part of: its held slots are taken first."""


class LivekitAccess(Message):
    """``token`` is absent where the caller brought a room of its own."""

    url: str
    region: str | None
    room: str | None
    token: str | None


class SessionView(Message):
    """One session, as its tenant sees it."""

    session_id: SessionId
    lesson_id: str
    status: Status
    region: str
    worker_id: str | None
    livekit: LivekitAccess
    created_at: Utc
    expires_at: Utc
    ended_at: Utc | None = None
    reason: str | None = None
    """Why it failed or ended, in words a learner can be shown."""
    class_id: str | None = None


class SessionPage(Message):
    """Newest first; ``cursor`` fetches the next page and is absent on the last."""

    sessions: tuple[SessionView, ...]
    cursor: str | None = None


class TokenRequest(Message):
    """``voice`` may speak through the avatar; ``learner`` listens and sees."""

    role: Literal["learner", "voice"]
    identity: Identity | None = None


class TokenGrant(Message):
    """A room token; it opens one room, for one identity, until ``expires_at``."""

    url: str
    room: str
    identity: str
    token: str
    expires_at: Utc


class Terms(Message):
    """The four normalised terms of a score, each 0..1, higher better."""

    distance: float
    load: float
    performance: float
    capacity: float


class Candidate(Message):
    """One worker that was considered: what the store knew of it, and what that scored."""

    worker_id: str
    slots: int
    used: int
    lateness_ms: float
    starts: int
    holds_avatar: bool
    order: float = 0.0
    """What the fleet's planner added to the score."""
    terms: Terms
    score: float


class Why(Message):
    """Enough to replay the choice: the candidates, the weights, the store's clock."""

    session_id: SessionId
    chosen: str | None
    generation: int | None
    weights: Terms
    avatar_margin: float
    start_cap: int
    candidates: tuple[Candidate, ...]
    excluded: tuple[str, ...] = ()
    held: bool = False
    """A slot was held for its class: only workers with such a slot were considered."""
    store_time: Utc
    note: str = ""


class Ticket(Message):
    """A place in the queue. Asking for it keeps it: it is lost when nobody asks for 30 seconds."""

    ticket: SessionId
    position: Annotated[int, Field(ge=1)]
    estimated_wait_s: float | None
    """From the observed rate at which slots become free; null until one did."""
    status_url: str
