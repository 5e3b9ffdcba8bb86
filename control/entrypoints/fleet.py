"""The states of regional_scale_out that need no solver; template.yaml names each handler here."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from control import bootstrap
from control.entrypoints.telemetry import count, logger, traced
from control.services import scaling
from control.services.ports import Cell
from control.services.scaling_ports import Order


def _cell() -> Cell:
    """Raises AskRefused."""
    cell = bootstrap.cell()
    if cell.scaling is None:
        raise scaling.AskRefused("this cell has no pools; deploy it with a WorkerImage")
    return cell


@traced
def launch(event: dict[str, Any], context: Any) -> dict[str, int]:
    """Desired capacities by pool, as they are now."""
    del context
    logger.set_correlation_id(event["execution"])
    desired = scaling.launch(_cell(), Order.read(event["order"]))
    logger.info("groups want", pools=desired)
    return desired


@traced
def release(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Nodes that were told to go, and those that are kept since somebody is on them."""
    del context
    logger.set_correlation_id(event["execution"])
    done = scaling.release(_cell(), Order.read(event["order"]))
    if done.broken:
        logger.error("pools need too many replacements", pools=done.broken)
        count("PoolsBroken", len(done.broken))
    logger.info("nodes go", extra=asdict(done))
    return asdict(done)


@traced
def count_nodes(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """How it goes on: ``verdict``, nodes that are not there yet, what to do instead."""
    del context
    logger.set_correlation_id(event["execution"])
    seen = scaling.count(_cell(), event["execution"], Order.read(event["order"]))
    if seen.notes:
        logger.warning("while nodes boot", notes=seen.notes)
    order = seen.order.text() if seen.order is not None else None
    return {"verdict": seen.verdict, "missing": seen.missing, "order": order}


@traced
def report(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """The end of an execution, good or bad."""
    del context
    execution, state = event["execution"], event["state"]
    logger.set_correlation_id(execution)
    missing = int(state.get("count", {}).get("missing", 0))
    facts = {
        "reason": state["reason"],
        "order": state["order"],
        "ended": state.get("released", {}).get("nodes", {}),
        "missing": missing,
        "fault": state.get("fault"),
    }
    scaling.report(bootstrap.cell(), execution, facts)
    count("NodesAwaited", missing)
    tell = logger.error if facts["fault"] else logger.info
    tell("scaled", extra=facts)
    return facts
