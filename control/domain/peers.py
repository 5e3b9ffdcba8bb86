"""Which cell takes a request, and which of two sessions of one lesson yields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from control.domain.geography import Point
from control.domain.placement import DISTANCE, distance_term

FRESH_S = 5.0
"""A summary comes every second; one older than this says nothing about now."""
MARGIN = 0.02
"""A peer must be this much better before a request leaves a cell that could serve it.

A hand-over costs the request one round trip and one more part that can fail, once; the score lasts
for the whole lesson. With other values here, `rapido bench placement` measures the choice against
the exact best where one cell has more learners than slots (regret_peers): 0.1 costs 0.025 on
average, 0.05 costs 0.010, this 0.002, and no margin 0.001; the share of requests that is handed
over is 9, 12, 14 and 16 %.
"""


@dataclass(frozen=True)
class Standing:
    """What is known of a cell; ``best_score`` is its best worker's, 0..0.6, without distance."""

    cell: str
    region: str
    at: Point
    best_score: float
    free_slots: int
    accepting: bool
    age_s: float = 0.0

    @property
    def can_take(self) -> bool:
        """Heard a moment ago, well, and with a free slot."""
        return self.age_s <= FRESH_S and self.accepting and self.free_slots > 0


def score(one: Standing, learner: Point | None, rtt_ms: Mapping[str, float]) -> float:
    """0.4 distance + best_score, 0..1, as the placement in that cell would score its best worker.

    The client's own ``rtt_ms`` to the region comes before geography.
    """
    return DISTANCE * distance_term(one.at, learner, rtt_ms.get(one.region)) + one.best_score


def candidates(
    own: Standing,
    peers: Sequence[Standing],
    *,
    learner: Point | None,
    rtt_ms: Mapping[str, float],
    hop: int,
    owner: str | None = None,
) -> tuple[str, ...]:
    """The peers to hand a request to, the first first; empty: this cell serves it.

    ``owner`` is the peer in which the lesson is open already: it is asked before any other, however
    it stands, and whether or not it was heard lately. Where the learner is unknown it is taken to
    be near this cell, to which the edge sent it. A request that made its ``hop`` stays.
    """
    if hop >= 1:
        return ()
    place = learner or own.at
    able = {one.cell: score(one, place, rtt_ms) for one in peers if one.can_take}
    if own.can_take:
        bar = score(own, place, rtt_ms) + MARGIN
        able = {cell: value for cell, value in able.items() if value >= bar}
    ranked = sorted(able, key=lambda cell: (-able[cell], cell))
    known = [owner] if owner is not None else []
    return (*known, *(cell for cell in ranked if cell != owner))


@dataclass(frozen=True)
class Twin:
    """One of two open sessions of the same lesson; ``born_ms`` by its own cell's store."""

    session_id: str
    born_ms: int


def yields(own: Twin, other: Twin) -> bool:
    """Whether ``own`` is the one that ends: the younger, and of equals the greater id.

    Both cells come to the same answer.
    """
    return (own.born_ms, own.session_id) > (other.born_ms, other.session_id)
