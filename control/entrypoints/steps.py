"""The states of session_setup that are functions; template.yaml names each handler here."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from typing import Any

from control import bootstrap
from control.entrypoints.telemetry import logger, traced
from control.services import setup, summaries, upkeep
from control.services.ports import Cell, WorkerUnable

Event = dict[str, Any]
Step = Callable[[Event, Any], Event]


def _step(run: Callable[[Cell, Event], Event | None]) -> Step:
    """Logs the session a step works for, and what it raised; Step Functions decides what then."""

    work = traced(run)

    @wraps(run)
    def handler(event: Event, context: Any) -> Event:
        del context
        logger.set_correlation_id(str(event.get("session_id") or event.get("execution")))
        try:
            answer = work(bootstrap.cell(), event)
        except Exception as error:
            logger.warning(
                "step failed", step=run.__name__, error=f"{type(error).__name__}: {error}"
            )
            raise
        logger.info("step done", step=run.__name__)
        return answer or {}

    return handler


@_step
def place(cell: Cell, event: Event) -> Event:
    """Placement for an execution that was started by hand."""
    return setup.place(cell, event["execution"], event["given"])


@_step
def start_stream(cell: Cell, event: Event) -> None:
    """Hands the session to its worker; the first frame answers the task token."""
    setup.start_stream(cell, event["session_id"], event["execution"], event["task_token"])


@_step
def activate(cell: Cell, event: Event) -> None:
    """Confirms the lease."""
    setup.activate(cell, event["session_id"], int(event["generation"]))


@_step
def record(cell: Cell, event: Event) -> Event:
    """Sends what changed to the records, and that the lesson began to the peers."""
    del event
    recorded = upkeep.flush(cell)
    faults = summaries.push_soon(cell)
    return {"recorded": recorded, "peers_not_told": faults}


@_step
def place_again(cell: Cell, event: Event) -> None:
    """Another worker, after one failed."""
    unable = (event.get("fault") or {}).get("Error") == WorkerUnable.__name__
    setup.place_again(cell, event["session_id"], event["execution"], unable=unable)


@_step
def fail(cell: Cell, event: Event) -> None:
    """The end of a session that could not start."""
    setup.fail(cell, event["session_id"], _reason(event.get("fault") or {}))
    upkeep.flush(cell)


def _reason(fault: Event) -> str:
    """The words of the error that ended it, out of Step Functions' wrapping."""
    try:
        cause = json.loads(fault.get("Cause") or "{}")
    except ValueError:
        cause = {}
    if fault.get("Error") == "NoWorker" and isinstance(cause, dict) and "errorMessage" in cause:
        return str(cause["errorMessage"])
    return "The avatar could not be started."
