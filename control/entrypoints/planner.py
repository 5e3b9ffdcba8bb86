"""PlanFunction: the planner's tick, and the planning states of regional_scale_out.

It has a package of its own, for the solver: nothing else imports this module.
"""

from __future__ import annotations

import os
import time
from functools import cache
from typing import Any

from control import bootstrap
from control.domain.errors import RapidoError
from control.domain.fleet.planning import Policy, policy_of
from control.entrypoints.telemetry import count, logger, traced
from control.services import costs, demand, planner


@cache
def _policy() -> Policy:
    """The template's settings over the planner's own."""
    try:
        return policy_of(os.environ)
    except ValueError as error:
        raise bootstrap.ConfigurationError(str(error)) from error


@traced
def handle(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """``{}`` each minute; from the machine ``{execution, given}`` at its beginning and
    ``{execution, again}`` in its middle."""
    del context
    cell = bootstrap.cell()
    if "again" in event:
        told = planner.again(cell, event["again"], policy=_policy())
    elif "execution" in event:
        logger.set_correlation_id(event["execution"])
        told = planner.start(cell, event["execution"], event["given"], policy=_policy())
    else:
        told = planner.tick(cell, policy=_policy())
    try:
        demand.archive(cell, time.time())
        costs.archive(cell)
    except RapidoError as fault:
        logger.warning("demand and costs go to the records with a later plan", fault=str(fault))
    logger.info("planned", extra=told)
    count("Plans", 1)
    return told
