"""What AWS does by itself and moto does not: schedules fire, queues feed their functions.

Rules of events do in moto's own process: ops/cell/aws_gaps/bus.py.
"""

from __future__ import annotations

import json
import sys
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from ops.cell.intrinsics import ACCOUNT_ID
from ops.cell.invocations import Functions
from ops.cell.sources import QueueSource, Schedule

_WAIT_S = 1
_RETRY_S = 1.0


class Sqs(Protocol):
    """The part of boto3's SQS client used here."""

    def receive_message(self, **kwargs: Any) -> Any:
        """Messages, after at most WaitTimeSeconds."""

    def delete_message_batch(self, **kwargs: Any) -> Any:
        """Removes handled messages."""


class Pump(threading.Thread):
    """A thread that runs until ``stop``."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.stopping = threading.Event()

    def stop(self) -> None:
        """Ends the thread after what it does now."""
        self.stopping.set()


class SchedulePump(Pump):
    """Calls ``fire`` at its schedule: at a rate divided by ``speed`` (2: twice as often), or when
    the calendar says so, which no speed changes."""

    def __init__(
        self, fire: Callable[[bytes], object], schedule: Schedule, region: str, speed: float
    ) -> None:
        super().__init__(f"schedule-{schedule.name}")
        self._fire = fire
        self._schedule = schedule
        self._region = region
        self._every_s = schedule.every_s / speed

    def run(self) -> None:
        """Fires until stopped; what fails is logged and tried again next time."""
        while (wait_s := self._wait_s()) is not None and not self.stopping.wait(wait_s):
            payload = self._schedule.payload
            try:
                self._fire(json.dumps(self._event() if payload is None else payload).encode())
            except (BotoCoreError, ClientError) as error:
                sys.stderr.write(f"{self.name}: {error}\n")

    def _wait_s(self) -> float | None:
        """None: never again."""
        if self._schedule.cron is None:
            return self._every_s
        now = datetime.now(UTC)
        at = self._schedule.cron.next_after(now)
        return None if at is None else (at - now).total_seconds()

    def _event(self) -> dict[str, Any]:
        rule = f"arn:aws:events:{self._region}:{ACCOUNT_ID}:rule/{self._schedule.name}"
        return {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": "Scheduled Event",
            "source": "aws.events",
            "account": ACCOUNT_ID,
            "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "region": self._region,
            "resources": [rule],
            "detail": {},
        }


class QueuePump(Pump):
    """Feeds a function from a queue, as Lambda's event source mapping does."""

    def __init__(
        self,
        functions: Functions,
        function: str,
        source: QueueSource,
        sqs: Sqs,
        queue_url: str,
        region: str,
    ) -> None:
        super().__init__(f"queue-{source.queue}-{function}")
        self._functions = functions
        self._function = function
        self._source = source
        self._sqs = sqs
        self._url = queue_url
        self._region = region

    def run(self) -> None:
        """Polls until stopped; what was not handled stays in the queue."""
        while not self.stopping.is_set():
            try:
                self.pump_once()
            except (BotoCoreError, ClientError) as error:
                sys.stderr.write(f"{self.name}: {error}\n")
                self.stopping.wait(_RETRY_S)

    def pump_once(self) -> int:
        """One batch; the number of messages handled and removed."""
        answer = self._sqs.receive_message(
            QueueUrl=self._url,
            MaxNumberOfMessages=min(10, self._source.batch),
            WaitTimeSeconds=_WAIT_S,
            AttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        messages = answer.get("Messages", [])
        if not messages:
            return 0
        event = {"Records": [self._record(message) for message in messages]}
        result = self._functions.invoke(self._function, json.dumps(event).encode())
        if result.function_error:
            return 0
        failed = self._failed(result.body)
        done = [message for message in messages if message["MessageId"] not in failed]
        if done:
            entries = [
                {"Id": str(at), "ReceiptHandle": message["ReceiptHandle"]}
                for at, message in enumerate(done)
            ]
            self._sqs.delete_message_batch(QueueUrl=self._url, Entries=entries)
        return len(done)

    def _failed(self, body: bytes) -> set[str]:
        answer = json.loads(body)
        if not self._source.reports_failures or not isinstance(answer, dict):
            return set()
        return {item["itemIdentifier"] for item in answer.get("batchItemFailures") or ()}

    def _record(self, message: dict[str, Any]) -> dict[str, Any]:
        attributes = {
            key: {"stringValue": value.get("StringValue"), "dataType": value["DataType"]}
            for key, value in message.get("MessageAttributes", {}).items()
        }
        return {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": message.get("Attributes", {}),
            "messageAttributes": attributes,
            "md5OfBody": message.get("MD5OfBody", ""),
            "eventSource": "aws:sqs",
            "eventSourceARN": f"arn:aws:sqs:{self._region}:{ACCOUNT_ID}:{self._source.queue}",
            "awsRegion": self._region,
        }
