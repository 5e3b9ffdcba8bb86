"""The states of worker_drain that are functions; template.yaml names each handler here."""

from __future__ import annotations

from typing import Any

from control import bootstrap
from control.entrypoints.telemetry import logger, traced
from control.services import drains
from control.services.ports import Hook


@traced
def fence(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """From EventBridge's lifecycle event to what the other states need."""
    del context
    node_id = str(event["EC2InstanceId"])
    logger.set_correlation_id(node_id)
    known = drains.fence(bootstrap.cell(), node_id)
    logger.info("node is to go", node=node_id, worker=known)
    return {
        "group": event["AutoScalingGroupName"],
        "name": event["LifecycleHookName"],
        "node_id": node_id,
        "token": event["LifecycleActionToken"],
    }


@traced
def empty(event: dict[str, Any], context: Any) -> dict[str, int]:
    """How many lessons are left; while there are any the node is kept."""
    del context
    logger.set_correlation_id(event["node_id"])
    return {"lessons": drains.left(bootstrap.cell(), Hook(**event))}


@traced
def let_go(event: dict[str, Any], context: Any) -> dict[str, bool]:
    """The group may terminate the node."""
    del context
    logger.set_correlation_id(event["node_id"])
    told = drains.let_go(bootstrap.cell(), Hook(**event))
    logger.info("node may go", node=event["node_id"], told=told)
    return {"told": told}
