"""PlanFunction: the planner's tick, and the planning states of regional_scale_out.

It has a package of its own, for the solver: nothing else imports this module.
"""

from __future__ import annotations

from typing import Any

from control import bootstrap
from control.domain.fleet.planning import Policy, plan
from control.domain.fleet.state import Fleet, Outlook, Plan
from control.entrypoints.telemetry import count, logger, traced
from control.services import planner


def _decide(fleet: Fleet, outlook: Outlook) -> Plan:
    return plan(fleet, outlook, Policy())


@traced
def handle(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """``{}`` each minute; from the machine ``{execution, given}`` at its beginning and
    ``{execution, again}`` in its middle."""
    del context
    cell = bootstrap.cell()
    if "again" in event:
        told = planner.again(cell, _decide, event["again"])
    elif "execution" in event:
        logger.set_correlation_id(event["execution"])
        told = planner.start(cell, _decide, event["execution"], event["given"])
    else:
        told = planner.tick(cell, _decide)
    logger.info("planned", extra=told)
    count("Plans", 1)
    return told
