"""What the use cases need of other cells, and of the store about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from control.domain.geography import Point
from control.domain.peers import Twin


@dataclass(frozen=True)
class Peer:
    """Another cell and its public address."""

    cell: str
    region: str
    at: Point
    url: str


@dataclass(frozen=True)
class PeerAnswer:
    """What a peer answered, its body read as a JSON object ({} of none)."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str]
    """Names in lower case."""


class PeerAway(Exception):
    """A peer does not answer in time, answers no sense, or is left alone for a while."""


class PeerCalls(Protocol):
    """HTTP to a peer. Raises PeerAway; 5xx but 503 is PeerAway too."""

    def call(
        self,
        peer: Peer,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        timeout_s: float,
        *,
        signed: bool,
    ) -> PeerAnswer: ...


@dataclass(frozen=True)
class LessonEntry:
    """A lesson (digest of tenant and lesson) that began, or is over."""

    lesson: str
    session_id: str
    born_ms: int
    over: bool


@dataclass(frozen=True)
class OwnSummary:
    """How this cell stands, and its lessons' changes after ``since`` up to ``sequence``."""

    free_slots: int
    best_score: float
    accepting: bool
    since: int
    sequence: int
    more: bool
    lessons: tuple[LessonEntry, ...]
    short_slots: int = 0
    """That its planner could not have for the demand that it expects."""


@dataclass(frozen=True)
class PeerStanding:
    """What a peer told last, and how long ago by the store's clock."""

    free_slots: int
    best_score: float
    accepting: bool
    age_s: float
    short_slots: int = 0


@dataclass(frozen=True)
class Sought:
    """A lesson's open session here; this cell's best score (None: no free slot); what peers told,
    in which of them the lesson is open; slots held here for its class."""

    own_session: str | None
    best_score: float | None
    well: bool
    peers: Mapping[str, PeerStanding]
    owners: Mapping[str, Twin]
    held: int = 0


@dataclass(frozen=True)
class Double:
    """A lesson open here and in a peer; ``learners`` as a heartbeat told last, None: none did."""

    lesson: str
    own: Twin
    status: str
    learners: int | None
    other: Twin


class PeerStore(Protocol):
    """The store's part; docs/store.md, Peers. Raises StoreAway."""

    def due(self, what: str, every_ms: int) -> bool: ...
    def release(self, what: str) -> None: ...
    def summary(self, peer: str, most: int) -> OwnSummary: ...
    def acknowledge(self, peer: str, sequence: int) -> None: ...
    def hear(
        self, peer: str, told: OwnSummary, most_doubles: int
    ) -> tuple[int, tuple[Double, ...]]: ...
    def settled(self, peer: str, lesson: str) -> None: ...
    def seek(
        self, tenant: str, lesson_id: str, peers: Sequence[str], class_id: str | None = None
    ) -> Sought: ...
    def remember(
        self, peer: str, tenant: str, lesson_id: str, session_id: str, born_ms: int
    ) -> None: ...
    def standings(self, now_ms: int) -> Mapping[str, PeerStanding]:
        """What every peer told last."""

    def put_short(self, slots: int) -> None:
        """What this cell's planner could not have; believed for three minutes."""

    def put_well(self, well: bool) -> None: ...
