"""What keeps a cell true to itself when nobody asks: the tick, and the way to the records."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from control.domain import leases
from control.domain.errors import RapidoError
from control.services import sessions
from control.services.ports import Cell

BATCH = 10
"""SQS takes ten messages a call."""
ATTENDANCE = "attendance"
DEMAND = "demand"
COST = "cost"
"""Kinds of messages beside snapshots of sessions."""
_FLUSH_MS = 10_000
"""After that a caller that died is not waited for; two at once do no harm."""


def flush(cell: Cell, most: int = 1000) -> int | None:
    """Hands snapshots to the records queue; each stays in the outbox until the queue has it.

    One caller at a time does it: those that come meanwhile would send the same ones again. None
    where the queue is away: no caller needs it, and for ten seconds nobody tries it again.
    """
    if not cell.store.due("flush", _FLUSH_MS):
        return 0
    try:
        done = _flush(cell, most)
    except RapidoError:
        return None
    cell.store.release("flush")
    return done


def _flush(cell: Cell, most: int) -> int:
    done = 0
    while done < most and (entries := cell.store.outbox(BATCH)):
        cell.queue.send(entries)
        cell.store.sent(entries)
        done += len(entries)
    return done


def reap(cell: Cell) -> int:
    """Ends what nobody runs any more, drives sessions that nobody drives; how many of these."""
    driven = 0
    reaped = cell.store.reap(leases.UNDRIVEN_AFTER_S)
    sessions.drive_handed(cell, reaped.handed)
    for session_id in reaped.undriven:
        session = cell.store.session(session_id)
        if session is None or session.status != "starting":
            continue
        if cell.workflows.setup_ended(session.execution):
            reason = "Its setup stopped before the avatar was there."
            ended = cell.store.finish(session_id, 0, "failed", reason)
            sessions.drive_handed(cell, ended.handed)
        else:
            sessions.drive(cell, session)
            driven += 1
    return driven


def probe(cell: Cell) -> None:
    """Whether each LiveKit server answers, for placements to know."""
    cell.store.put_probes({one.region: cell.rooms.probe(one.url) for one in cell.livekit})


def save(cell: Cell, bodies: Sequence[str]) -> None:
    """Snapshots of sessions, who came to classes, demand and costs, from the queue into PostgreSQL;
    out of order and twice does no harm."""
    rows: list[dict[str, Any]] = [json.loads(body) for body in bodies]
    attended = [row for row in rows if row.get("kind") == ATTENDANCE]
    if attended:
        cell.records.attended(attended)
    if demand := [row for row in rows if row.get("kind") == DEMAND]:
        cell.records.demanded(demand)
    if costs := [row for row in rows if row.get("kind") == COST]:
        cell.records.spent(costs)
    if sessions_ := [row for row in rows if "session_id" in row]:
        cell.records.upsert(sessions_)
