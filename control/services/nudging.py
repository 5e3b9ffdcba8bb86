"""Plans that cannot wait for the next minute."""

from __future__ import annotations

import secrets
from contextlib import suppress

from control.domain.errors import RapidoError
from control.services.ports import Cell

NUDGED_EVERY_MS = 10_000
INTERRUPTION_BAN_S = 1800.0
"""A spot pool that lost a node will lose more: nothing is launched from it for that long."""


def nudge(cell: Cell, reason: str) -> bool:
    """Starts regional_scale_out, which plans by itself; at most once in ten seconds.

    Whoever asks waits for that start and for nothing else. Where it fails the tick comes within a
    minute. Raises StoreAway.
    """
    if cell.scaling is None or not cell.store.due("nudge", NUDGED_EVERY_MS):
        return False
    with suppress(RapidoError):
        cell.workflows.start_scale_out(f"nudge-{secrets.token_hex(8)}", {"reason": reason})
    return True


def interrupted(cell: Cell, node_id: str) -> str | None:
    """Spot wants that node back: its pool is banned; None of a node of no pool here.

    Told twice, or late, it bans from now on: more caution than needed, and no harm. Raises
    GroupsAway, StoreAway.
    """
    if cell.scaling is None:
        return None
    pool = cell.scaling.pools.pool_of(node_id)
    if pool is None or not pool.endswith("-spot"):
        return None
    now_s = cell.store.observe().now_ms / 1000
    cell.store.ban(pool, now_s + INTERRUPTION_BAN_S, f"spot wants {node_id} back")
    return pool
