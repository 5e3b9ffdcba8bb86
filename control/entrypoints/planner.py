"""PlanFunction: the planner's tick, and the planning states of regional_scale_out.

It has a package of its own, for the solver: nothing else imports this module.
"""

from __future__ import annotations

import time
from typing import Any

from control import bootstrap
from control.domain.errors import RapidoError
from control.entrypoints.telemetry import count, logger, traced
from control.services import costs, demand, planner


@traced
def handle(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """``{}`` each minute; from the machine ``{execution, given}`` at its beginning and
    ``{execution, again}`` in its middle."""
    del context
    cell = bootstrap.cell()
    if "again" in event:
        told = planner.again(cell, event["again"])
    elif "execution" in event:
        logger.set_correlation_id(event["execution"])
        told = planner.start(cell, event["execution"], event["given"])
    else:
        told = planner.tick(cell)
    try:
        demand.archive(cell, time.time())
        costs.archive(cell)
    except RapidoError as fault:
        logger.warning("demand and costs go to the records with a later plan", fault=str(fault))
    logger.info("planned", extra=told)
    count("Plans", 1)
    return told
