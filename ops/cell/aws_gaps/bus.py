"""EventBridge as far as moto does not play it: rules call functions and start state machines."""

from __future__ import annotations

import copy
import json
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, Protocol

from moto.events.models import EventsBackend, Rule, events_backends

from ops.cell.intrinsics import ACCOUNT_ID

RETRY_AFTER_S = (0.2, 1.0, 5.0, 20.0)
"""AWS tries for a day; a target that is away for longer here is not coming back."""
_OURS = ("lambda", "states")
_moto_sends = Rule.send_to_targets


class Called(Protocol):
    """What a rule's target does with an event; raises when it has to come again."""

    def __call__(self, arn: str, event: bytes, event_id: str) -> None: ...


class Bus:
    """The default bus of each region. Whoever emits does not wait for who is told."""

    def __init__(self, call: Called) -> None:
        self._call = call
        self._tellers = ThreadPoolExecutor(4, thread_name_prefix="bus")

    def emit(
        self,
        region: str,
        source: str,
        detail_type: str,
        resources: Sequence[str],
        detail: Mapping[str, Any],
    ) -> None:
        """An event of one of AWS's own services."""
        backend: EventsBackend = events_backends[ACCOUNT_ID][region]
        entry = {
            "Source": source,
            "DetailType": detail_type,
            "Resources": list(resources),
            "Detail": json.dumps(detail),
        }
        backend.put_events([entry])

    def send(self, rule: Rule, event: Mapping[str, Any]) -> None:
        """To the rule's targets, in its own time; moto sees to those that it knows."""
        # a rule of a schedule has no pattern, and no event is for it
        if rule.state != "ENABLED" or not rule.event_pattern.get_pattern():
            return
        if not rule.event_pattern.matches_event(event):  # type: ignore[arg-type]
            return
        ours = [one for one in rule.targets if one["Arn"].split(":")[2] in _OURS]
        for target in ours:
            text = target.get("Input") or json.dumps(_as_sent(event))
            self._tellers.submit(self._tell, target["Arn"], text.encode())
        rest = copy.copy(rule)
        rest.targets = [one for one in rule.targets if one not in ours]
        _moto_sends(rest, event)  # type: ignore[arg-type]

    def _tell(self, arn: str, event: bytes) -> None:
        event_id = str(uuid.uuid4())
        for wait_s in (*RETRY_AFTER_S, None):
            try:
                self._call(arn, event, event_id)
                return
            except Exception as error:  # noqa: BLE001 (whatever it is, the event comes again)
                if wait_s is None:
                    sys.stderr.write(f"an event did not reach {arn}: {error!r}\n")
                    return
                time.sleep(wait_s)


def _as_sent(event: Mapping[str, Any]) -> dict[str, Any]:
    """As EventBridge writes it: moto's time is a number, and it adds a key of its own."""
    kept = {key: value for key, value in event.items() if key != "ingestion-time"}
    stamp = event["time"]
    if isinstance(stamp, int | float):
        kept["time"] = datetime.fromtimestamp(stamp, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return kept


def caller(invoke: Callable[[str, bytes], None], states: Callable[[], Any]) -> Called:
    """``invoke`` gets a function's name and the event; ``states`` gives Step Functions' client."""

    def call(arn: str, event: bytes, event_id: str) -> None:
        if arn.split(":")[2] == "lambda":
            invoke(arn, event)
        else:
            states().start_execution(stateMachineArn=arn, name=event_id, input=event.decode())

    return call


def install(bus: Bus) -> None:
    """moto's rules send by this bus from now on."""

    def send_to_targets(rule: Rule, event: Any, transform_input: bool = True) -> None:
        del transform_input
        bus.send(rule, event)

    Rule.send_to_targets = send_to_targets  # type: ignore[method-assign, assignment]
