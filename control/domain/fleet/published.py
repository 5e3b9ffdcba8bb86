"""The published policy as a shadow of the fleet: what it would have paid on the same demand.

Target tracking at 70 % of CPU, CPU being the share of slots used, g5.xlarge on demand. Where it is
not said how it does something, it is done in its favour: a node that it does not want is gone at
once, and whom it turns away costs it nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from control.domain.fleet.catalogue import PUBLISHED
from control.domain.fleet.state import Bounds, Pool

POOL = Pool("g5.xlarge", "on-demand")
SLOTS = PUBLISHED[POOL.type].slots
TARGET = 0.7
CALM = 0.9 * TARGET
"""Between this share and the target nothing is changed."""
STEP_S = 60.0
MOST_STEPS = 5
"""After a longer gap it goes on from now."""


@dataclass(frozen=True)
class Shadow:
    """Its nodes, and when it looked last."""

    nodes: int
    at_s: float


def wanted(nodes: int, cpu: float) -> int:
    """Nodes in proportion to the metric over its target; ``cpu`` is 0 to 1."""
    if CALM <= cpu <= TARGET:
        return nodes
    return math.ceil(nodes * cpu / TARGET)


def begin(now_s: float, sessions: int, bounds: Bounds) -> Shadow:
    """As if it had served these sessions for long."""
    return Shadow(_within(math.ceil(sessions / SLOTS / TARGET), bounds), now_s)


def step(shadow: Shadow, now_s: float, sessions: int, bounds: Bounds) -> Shadow:
    """One look for each whole minute since the last one."""
    due = max(0, int((now_s - shadow.at_s) // STEP_S))
    nodes = shadow.nodes
    for _ in range(min(due, MOST_STEPS)):
        cpu = min(1.0, sessions / (nodes * SLOTS))
        nodes = _within(wanted(nodes, cpu), bounds)
    at_s = shadow.at_s + due * STEP_S if due <= MOST_STEPS else now_s
    return Shadow(nodes, at_s)


def _within(nodes: int, bounds: Bounds) -> int:
    """One at least: a group of none has no metric that it would grow by."""
    return max(1, bounds.least, min(nodes, bounds.most))
