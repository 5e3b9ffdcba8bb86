"""Structured logs, metrics and, where switched on, traces."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, TypeVar, cast

from aws_lambda_powertools import Logger, Metrics

logger = Logger(service=os.environ.get("POWERTOOLS_SERVICE_NAME", "rapido"), utc=True)
metrics = Metrics(namespace="Rapido", service=os.environ.get("POWERTOOLS_SERVICE_NAME", "rapido"))

# one request at a time on Lambda, but threads on one machine: what one adds, no other flushes
_counting = threading.Lock()

F = TypeVar("F", bound=Callable[..., Any])


def count(name: str, more: int = 1) -> None:
    """Adds to a metric and writes it out."""
    with _counting:
        metrics.add_metric(name, "Count", more)
        metrics.flush_metrics()


def traced(run: F) -> F:
    """A subsegment of the function's X-Ray trace where RAPIDO_TRACING is 1.

    Else the tracer, 290 ms of a cold start, is not even imported. Answers are never recorded: they
    hold room tokens.
    """
    if os.environ.get("RAPIDO_TRACING") != "1":
        return run
    from aws_lambda_powertools import Tracer

    record: Any = Tracer().capture_method(capture_response=False)
    return cast(F, record(run))
