"""What EventBridge and SQS call."""

from __future__ import annotations

from typing import Any

from control import bootstrap
from control.entrypoints.telemetry import logger, traced
from control.services import summaries, upkeep


@traced
def tick(event: dict[str, Any], context: Any) -> dict[str, int]:
    """Every minute."""
    del event, context
    cell = bootstrap.cell()
    done = upkeep.tick(cell)
    summaries.check_health(cell)
    faults = summaries.push(cell)
    logger.info("tick", extra=dict(done) | ({"peers not told": faults} if faults else {}))
    return done


@traced
def record(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """A batch of the records queue; what PostgreSQL does not take comes again."""
    del context
    messages = event["Records"]
    upkeep.save(bootstrap.cell(), [message["body"] for message in messages])
    logger.info("recorded", sessions=len(messages))
    return {"batchItemFailures": []}
