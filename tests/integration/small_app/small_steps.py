"""Handlers of the small template; what they saw goes to the queue a test waits on."""

from __future__ import annotations

import os
import threading
from typing import Any

import boto3


class TooMuch(Exception):
    """What the small state machine catches."""


def add(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """The sum, and what the context says."""
    left_ms = context.get_remaining_time_in_millis()
    return {
        "sum": sum(event["numbers"]),
        "function": context.function_name,
        "arn": context.invoked_function_arn,
        "in_time": 0 < left_ms <= 5000,
    }


def fail(event: dict[str, Any], context: Any) -> None:
    """Always too much."""
    raise TooMuch(f"{event['sum']} is too much")


def slow(event: dict[str, Any], context: Any) -> None:
    """Never ends by itself."""
    threading.Event().wait()


def collect(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Tells each body; a first delivery that asks to be refused is."""
    refused = []
    for record in event["Records"]:
        first = record["attributes"]["ApproximateReceiveCount"] == "1"
        if record["body"].startswith("refuse") and first:
            refused.append({"itemIdentifier": record["messageId"]})
        else:
            _tell(f"{record['eventSource']} {record['body']}")
    return {"batchItemFailures": refused}


def tick(event: dict[str, Any], context: Any) -> None:
    """Tells that it ran."""
    _tell(f"tick {event['detail-type']}")


def unlisted(event: dict[str, Any], context: Any) -> str:
    """No template names it."""
    return "ran"


def _tell(text: str) -> None:
    queue = os.environ["SMALL_SEEN_QUEUE_URL"]
    boto3.client("sqs").send_message(QueueUrl=queue, MessageBody=text)
