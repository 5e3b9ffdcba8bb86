"""What EventBridge and SQS call."""

from __future__ import annotations

import time
from typing import Any

from control import bootstrap
from control.domain.errors import RapidoError
from control.entrypoints.telemetry import count, logger, traced
from control.services import drains, nudging, summaries, timetable_copy, upkeep
from control.services.ports import Cell

_SPOT_NOTICE = "EC2 Spot Instance Interruption Warning"


@traced
def tick(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Every minute. A part that fails keeps no other from its work; the tick fails at the end."""
    del event, context
    cell = bootstrap.cell()
    done: dict[str, Any] = {}
    faults = []
    for part in (_health, _sessions, _rooms, _classes, _records, _peers):
        try:
            done |= part(cell)
        except Exception as fault:  # noqa: BLE001 - raised at the end
            why = f"{type(fault).__name__}: {fault}"
            logger.warning("part of the tick failed", part=part.__name__, fault=why)
            faults.append(fault)
    logger.info("tick", extra=done)
    if faults:
        raise ExceptionGroup("the tick's other parts are done", faults)
    return done


def _health(cell: Cell) -> dict[str, Any]:
    summaries.check_health(cell)
    return {}


def _sessions(cell: Cell) -> dict[str, Any]:
    return {"driven": upkeep.reap(cell)}


def _rooms(cell: Cell) -> dict[str, Any]:
    upkeep.probe(cell)
    return {}


def _classes(cell: Cell) -> dict[str, Any]:
    """What the timetable asks for; without the home cell by the copy that is there."""
    if fault := timetable_copy.refresh(cell, time.time()):
        logger.warning("no timetable from home", fault=fault)
    observed = cell.store.observe()
    now_s = observed.now_ms / 1000
    held = timetable_copy.hold(cell, observed.classes, now_s)
    try:
        return {"held": held, "learnt": timetable_copy.learn(cell, observed.classes, now_s)}
    except RapidoError as error:
        logger.warning("who came is counted by the next tick", fault=str(error))
        return {"held": held}


def _records(cell: Cell) -> dict[str, Any]:
    recorded = upkeep.flush(cell)
    if recorded is None:
        logger.warning("the records queue is away; what it did not take is sent later")
    return {"recorded": recorded}


def _peers(cell: Cell) -> dict[str, Any]:
    faults = summaries.push(cell)
    return {"peers not told": faults} if faults else {}


@traced
def node(event: dict[str, Any], context: Any) -> dict[str, int]:
    """EC2's or AWS Health's word that nodes are about to go: no new lesson begins on them, and
    others are planned for. Spot's notice bans their pool besides; a rebalance recommendation is no
    more than a word.
    """
    del context
    cell = bootstrap.cell()
    told = [str(part.rpartition("/")[2]) for part in event.get("resources", [])]
    fenced = [one for one in told if drains.fence(cell, one)]
    banned = []
    if event.get("detail-type") == _SPOT_NOTICE:
        banned = [pool for one in told if (pool := nudging.interrupted(cell, one)) is not None]
    if fenced or banned:
        why = str(event.get("detail-type"))
        logger.warning("nodes are to go", nodes=fenced, why=why, banned=banned)
        count("NodesToGo", len(fenced))
        nudging.nudge(cell, why)
    return {"fenced": len(fenced)}


@traced
def record(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """A batch of the records queue; what PostgreSQL does not take comes again."""
    del context
    messages = event["Records"]
    upkeep.save(bootstrap.cell(), [message["body"] for message in messages])
    logger.info("recorded", sessions=len(messages))
    return {"batchItemFailures": []}
