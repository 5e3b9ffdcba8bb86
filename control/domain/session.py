"""A session as the cell keeps it."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from typing import Any

OPEN = frozenset({"queued", "starting", "live", "moving"})
_ID = re.compile(r"^s-([a-z0-9-]+)-[A-Za-z0-9_]{8,32}$")


@dataclass(frozen=True)
class Session:
    """Times are Unix milliseconds of the store's clock; ``worker_id`` is the last one's."""

    session_id: str
    tenant: str
    lesson_id: str
    avatar: str
    status: str
    region: str
    worker_id: str | None
    worker_url: str
    worker_registration: int
    generation: int
    placements: int
    created_ms: int
    expires_ms: int
    ended_ms: int | None
    reason: str | None
    room: str | None
    livekit_url: str
    livekit_region: str | None
    learner_identity: str
    learner_name: str | None
    own_room_token: str | None
    agent_identity: str | None
    correlation_id: str | None
    execution: str
    task_token: str | None = None
    class_id: str | None = None
    """The announced class it belongs to, named within its tenant."""
    why: dict[str, Any] = field(default_factory=dict)

    @property
    def named_class(self) -> tuple[str, str] | None:
        """Its class by tenant and name."""
        return None if self.class_id is None else (self.tenant, self.class_id)

    @property
    def is_open(self) -> bool:
        """Neither ended nor failed."""
        return self.status in OPEN


def new_session_id(cell: str) -> str:
    """``s-<cell>-<random>``: also the name of its room and of its execution."""
    return f"s-{cell}-{secrets.token_hex(8)}"


def session_id_of_execution(cell: str, execution: str) -> str:
    """The id of a session that was started from the console: the execution's own, if it is one."""
    if _ID.fullmatch(execution):
        return execution
    return f"s-{cell}-{re.sub('[^A-Za-z0-9]', '', execution)[-32:]:0>8}"


def cell_of(session_id: str) -> str | None:
    """The cell a session id names, None for what is no session id."""
    found = _ID.fullmatch(session_id)
    return found.group(1) if found else None
