"""The score of a worker for a session; common.lua computes the very same numbers.

score = 0.4 distance + 0.3 load + 0.2 performance + 0.1 capacity, each term 0..1, higher better.
Everything but the distance is a property of the worker alone and is kept ready in the store, with
the worker's order on top: a number by which the fleet's planner prefers some to others.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite

from control.domain.geography import Point, rtt_ms

DISTANCE, LOAD, PERFORMANCE, CAPACITY = 0.4, 0.3, 0.2, 0.1
WORST_RTT_MS = 300.0
FRAME_MS = 40.0
PLENTY_FREE = 24
AVATAR_MARGIN = 0.05
"""A worker that already holds the avatar wins among those this close to the best."""
HEADS = 8
"""How many of the best free workers are looked at."""
HEAD_PAGES = 4
"""Pages of heads that are looked at before nobody is found."""


START_CAP = 4
"""Leases not confirmed yet that a worker may have before others are preferred: a start costs time,
and many at once make every first frame late."""


@dataclass(frozen=True)
class Scored:
    """One candidate with its four terms; ``starts`` are its unconfirmed leases."""

    worker_id: str
    distance: float
    load: float
    performance: float
    capacity: float
    holds_avatar: bool
    starts: int = 0
    order: float = 0.0
    """What the planner adds to its score."""

    @property
    def score(self) -> float:
        """The weighted sum, 0..1, and the order."""
        return DISTANCE * self.distance + self.base

    @property
    def base(self) -> float:
        """The score without geography, 0..0.6, and the order; to six digits, as the store's."""
        whole = LOAD * self.load + PERFORMANCE * self.performance + CAPACITY * self.capacity
        return round(whole + self.order, 6)


def distance_term(region_at: Point, learner: Point | None, measured_rtt_ms: float | None) -> float:
    """1 - min(1, rtt/300) of the client's own measurement, else of an estimate; 1 if unknown."""
    if measured_rtt_ms is not None:
        return 1.0 - min(1.0, measured_rtt_ms / WORST_RTT_MS)
    if learner is None:
        return 1.0
    return 1.0 - min(1.0, rtt_ms(learner, region_at) / WORST_RTT_MS)


def terms(
    worker_id: str,
    distance: float,
    slots: int,
    used: int,
    lateness_ms: float,
    holds_avatar: bool,
    starts: int = 0,
    order: float = 0.0,
) -> Scored:
    """The terms of one worker; ``lateness_ms`` is its smoothed p95 frame lateness."""
    return Scored(
        worker_id,
        distance,
        1.0 - used / slots,
        1.0 - min(1.0, lateness_ms / FRAME_MS),
        min(1.0, (slots - used) / PLENTY_FREE),
        holds_avatar,
        starts,
        order,
    )


CLOSED = "closed"


def order_text(order: float | None) -> str:
    """An order as the store keeps it, to six digits; None is a closed worker's.

    Raises ValueError for what is no finite number.
    """
    if order is None:
        return CLOSED
    if not isfinite(order):
        raise ValueError(f"{order} is no order; give a finite number, or None to close the worker")
    return f"{order + 0.0:g}"


def order_of(text: str) -> float | None:
    """The order that a text of the store says."""
    return None if text == CLOSED else float(text)


def choose(candidates: Iterable[Scored]) -> Scored | None:
    """The best score of one cell's workers; a holder of the avatar within the margin goes first.

    Workers under the cap of starts go before all others; equal scores: the greater name, as the
    store sorts. None of none.
    """
    heads = sorted(candidates, key=lambda one: (one.base, one.worker_id), reverse=True)
    heads = [one for one in heads if one.starts < START_CAP] or heads
    if not heads:
        return None
    near = [one for one in heads if one.base >= heads[0].base - AVATAR_MARGIN]
    return next((one for one in near if one.holds_avatar), heads[0])
