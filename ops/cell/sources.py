"""What calls functions and starts state machines: routes, schedules, queues, rules of events."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ops.cell.cron import Cron, CronError

Events = Mapping[str, Mapping[str, Any]]

_RATE = re.compile(r"rate\((\d+) (minute|hour|day)s?\)")
_UNIT_S = {"minute": 60, "hour": 3600, "day": 86400}
_SCHEDULES = ("Schedule", "ScheduleV2")
_RULES = ("EventBridgeRule", "CloudWatchEvent")
_RULE_PROPERTIES = {"Pattern", "Input", "RetryPolicy", "DeadLetterConfig", "RuleName", "State"}


@dataclass(frozen=True)
class ApiRoute:
    """One method and path; ``signed`` where the template asks for AWS_IAM."""

    method: str
    path: str
    signed: bool


@dataclass(frozen=True)
class Schedule:
    """Every ``every_s`` seconds, or by ``cron``; ``payload`` None: EventBridge's own event."""

    name: str
    every_s: float
    payload: Any
    cron: Cron | None = None


@dataclass(frozen=True)
class QueueSource:
    """Invoke with up to ``batch`` messages of ``queue`` (a logical id)."""

    queue: str
    batch: int
    reports_failures: bool


@dataclass(frozen=True)
class EventRule:
    """Call the target with each event that ``pattern`` matches, or with ``input`` in its stead."""

    name: str
    pattern: Mapping[str, Any]
    input: str | None = None


def of_type(events: Events, *kinds: str) -> list[Mapping[str, Any]]:
    """The events of these types."""
    return [event for event in events.values() if event.get("Type") in kinds]


def routes(events: Events) -> tuple[ApiRoute, ...]:
    """Of the API."""
    return tuple(_route(event["Properties"]) for event in of_type(events, "Api"))


def schedules(owner: str, events: Events) -> tuple[Schedule, ...]:
    """Those that are switched on and understood."""
    found = []
    for key, event in events.items():
        if event.get("Type") not in _SCHEDULES or not _is_on(event["Properties"]):
            continue
        schedule = _schedule(f"{owner}.{key}", event)
        if schedule is not None:
            found.append(schedule)
    return tuple(found)


def rules(owner: str, events: Events) -> tuple[EventRule, ...]:
    """Those that are switched on and understood."""
    return tuple(
        EventRule(
            f"{owner}.{key}", event["Properties"]["Pattern"], event["Properties"].get("Input")
        )
        for key, event in events.items()
        if event.get("Type") in _RULES and _is_rule(event) and _is_on(event["Properties"])
    )


def unsupported(owner: str, events: Events) -> tuple[str, ...]:
    """Sources that do not run locally, by owner and name."""
    return tuple(f"{owner}.{key}" for key, event in events.items() if not _runs(owner, event))


def _runs(owner: str, event: Mapping[str, Any]) -> bool:
    if event.get("Type") in _SCHEDULES:
        return not _is_on(event["Properties"]) or _schedule(owner, event) is not None
    return event.get("Type") in ("Api", "SQS") or _is_rule(event)


def _is_rule(event: Mapping[str, Any]) -> bool:
    return event.get("Type") in _RULES and set(event["Properties"]) <= _RULE_PROPERTIES


def _is_on(properties: Mapping[str, Any]) -> bool:
    return bool(properties.get("Enabled", True)) and properties.get("State") != "DISABLED"


def _route(properties: Mapping[str, Any]) -> ApiRoute:
    signed = properties.get("Auth", {}).get("Authorizer") == "AWS_IAM"
    return ApiRoute(str(properties["Method"]).upper(), str(properties["Path"]), signed)


def _schedule(name: str, event: Mapping[str, Any]) -> Schedule | None:
    properties = event["Properties"]
    expression = str(properties.get("Schedule", properties.get("ScheduleExpression", "")))
    payload = json.loads(properties["Input"]) if "Input" in properties else None
    if (rate := _RATE.fullmatch(expression)) is not None:
        return Schedule(name, float(int(rate.group(1)) * _UNIT_S[rate.group(2)]), payload)
    try:
        cron = Cron.read(expression, str(properties.get("ScheduleExpressionTimezone", "UTC")))
    except CronError:
        return None
    return Schedule(name, 0.0, payload, cron)
