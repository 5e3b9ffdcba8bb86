"""What a worker and its cell tell each other, both ways."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from control.contracts.base import (
    AvatarName,
    Generation,
    Identity,
    Message,
    Region,
    SessionId,
    Utc,
    WorkerId,
)


class WorkerState(StrEnum):
    """``warming`` has no slots yet; ``draining`` takes no new lease and lets the live ones end."""

    WARMING = "warming"
    READY = "ready"
    DRAINING = "draining"


Slots = Annotated[int, Field(ge=0, le=1000)]
Avatars = Annotated[tuple[AvatarName, ...], Field(max_length=1000)]


InstanceType = Annotated[str, Field(pattern=r"^[a-z0-9-]+\.[a-z0-9-]+$", max_length=40)]
Market = Literal["on-demand", "spot"]


class Hardware(Message):
    """What was detected at boot; ``gpu`` is absent on a CPU worker."""

    cpu: str
    cores: Annotated[int, Field(ge=1)]
    memory_gib: float
    gpu: str | None = None
    gpu_memory_gib: float | None = None
    engine: str


class Register(Message):
    """Body of ``POST /api/v1/workers``; ``url`` is where the cell reaches this worker."""

    worker_id: WorkerId
    url: Annotated[str, Field(pattern=r"^https?://[^\s]+$", max_length=300)]
    region: Region
    zone: str
    version: str
    hardware: Hardware
    avatars: Avatars
    boot: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    """Names this life of the process: the same one again loses nothing of what it runs."""
    instance_type: InstanceType | None = None
    market: Market | None = None
    """How its machine is paid for; absent where it is nobody's instance."""


class RoomAccess(Message):
    """A LiveKit room and the token that opens it."""

    url: str
    room: str
    token: str


class Registered(Message):
    """``registration`` grows with each registration: an older instance's calls are refused.

    ``key`` (base64url) verifies the cell's tokens to this worker; ``probe`` are rooms of its own to
    measure in.
    """

    registration: Annotated[int, Field(ge=1)]
    key: str
    heartbeat_interval_s: float
    dead_after_s: float
    probe: Annotated[tuple[RoomAccess, ...], Field(min_length=1)]


class Running(Message):
    """A session as the worker runs it."""

    session_id: SessionId
    generation: Generation
    state: Literal["joining", "live", "ending"]
    learners: Annotated[int, Field(ge=0)] = 0


class WarmRoom(Message):
    """A room that the worker sits in, or is about to; the session to come gets its name."""

    session_id: SessionId
    ready: bool


class Heartbeat(Message):
    """Body of ``POST /api/v1/workers/{id}/heartbeat``; what it runs is for finding drift only.

    ``avatars`` are those it can show, ``ready`` those of them that it need not load first.
    """

    registration: Annotated[int, Field(ge=1)]
    state: WorkerState
    slots: Slots
    avatars: Avatars
    ready: Avatars = ()
    running: Annotated[tuple[Running, ...], Field(max_length=1000)] = ()
    lateness_p95_ms: Annotated[float, Field(ge=0, le=60_000)] = 0.0
    warm: Annotated[tuple[WarmRoom, ...], Field(max_length=100)] = ()


class LeaseRef(Message):
    """A lease by name and fencing number."""

    session_id: SessionId
    generation: Generation


class HeartbeatReply(Message):
    """``revoked`` leases are to be left at once; ``desired_state`` is obeyed; ``warm`` are all the
    rooms to sit in for sessions to come."""

    desired_state: WorkerState
    heartbeat_interval_s: float
    revoked: tuple[LeaseRef, ...] = ()
    warm: tuple[RoomAccess, ...] = ()


class StreamEvent(Message):
    """Body of ``POST /api/v1/workers/{id}/events``."""

    type: Literal["first_frame", "ended", "failed"]
    registration: Annotated[int, Field(ge=1)]
    session_id: SessionId
    generation: Generation
    reason: Annotated[str, Field(max_length=500)] = ""
    correlation_id: str | None = None


class StartStream(Message):
    """Body of a cell's ``POST /v1/sessions`` to a worker; 409 where the generation is old."""

    session_id: SessionId
    generation: Generation
    avatar: AvatarName
    room: RoomAccess
    expires_at: Utc
    agent_identity: Identity | None = None
    """Whose speech is heard besides participants whose signed token says ``rapido.voice``."""
    correlation_id: str | None = None


class StreamView(Message):
    """One line of the worker's ``GET /v1/sessions``."""

    session_id: SessionId
    generation: Generation
    avatar: AvatarName
    state: Literal["joining", "live", "ending"]
    frames: int
    speaking: bool
