"""template.yaml as the local cell runs it: functions, their sources, queues, state machines."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.cell import sources
from ops.cell.intrinsics import (
    ACCOUNT_ID,
    Resolver,
    TemplateError,
    pseudo_parameters,
    read_yaml,
)
from ops.cell.sources import ApiRoute, EventRule, QueueSource, Schedule

FUNCTION = "AWS::Serverless::Function"
STATE_MACHINE = "AWS::Serverless::StateMachine"
QUEUE = "AWS::SQS::Queue"
SCHEDULE = "AWS::Scheduler::Schedule"
_CALLED = (FUNCTION, STATE_MACHINE)
_TIMES = ("ScheduleExpression", "ScheduleExpressionTimezone", "State")


@dataclass(frozen=True)
class Function:
    """A Lambda function; ``unsupported`` names event sources that do not run locally."""

    name: str
    handler: str
    environment: Mapping[str, str]
    timeout_s: int
    memory_mb: int
    routes: tuple[ApiRoute, ...]
    schedules: tuple[Schedule, ...]
    queues: tuple[QueueSource, ...]
    rules: tuple[EventRule, ...]
    unsupported: tuple[str, ...]


@dataclass(frozen=True)
class Queue:
    """A queue and its attributes as SQS takes them (all strings)."""

    logical_id: str
    name: str
    attributes: Mapping[str, str]


@dataclass(frozen=True)
class StateMachine:
    """A state machine; ``definition`` is its ASL with the substitutions made."""

    logical_id: str
    name: str
    definition: str
    schedules: tuple[Schedule, ...] = ()
    rules: tuple[EventRule, ...] = ()
    unsupported: tuple[str, ...] = ()


@dataclass(frozen=True)
class Deployment:
    """The template with every reference resolved."""

    functions: Mapping[str, Function]
    queues: Mapping[str, Queue]
    state_machines: Mapping[str, StateMachine]

    def environment(self) -> dict[str, str]:
        """All functions' variables together: locally they share one process.

        Raises:
            TemplateError: two functions want different values of one variable.
        """
        merged: dict[str, str] = {}
        for function in self.functions.values():
            for key, value in function.environment.items():
                if merged.setdefault(key, value) != value:
                    raise TemplateError(
                        f"{function.name}.Environment.{key}: another function has a different "
                        "value; the local cell runs all functions in one process"
                    )
        return merged


class Template:
    """A template as read; ``resolve`` makes it concrete."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self._data = read_yaml(path)
        self._resources: dict[str, dict[str, Any]] = self._data["Resources"]

    def names(self, kind: str) -> tuple[str, ...]:
        """Logical ids of the resources of one type."""
        return tuple(k for k, resource in self._resources.items() if resource.get("Type") == kind)

    def resolve(
        self,
        parameters: Mapping[str, str],
        attributes: Mapping[str, str],
        region: str = "us-east-1",
    ) -> Deployment:
        """Every reference replaced; arguments and errors as of ``resolver``."""
        resolver = self.resolver(parameters, attributes, region)
        self._check_schedules(resolver)
        return Deployment(
            {name: self._function(name, resolver) for name in self.present(FUNCTION, resolver)},
            {name: self._queue(name, resolver) for name in self.present(QUEUE, resolver)},
            {name: self._machine(name, resolver) for name in self.present(STATE_MACHINE, resolver)},
        )

    def resolver(
        self, parameters: Mapping[str, str], attributes: Mapping[str, Any], region: str
    ) -> Resolver:
        """What references give.

        ``parameters`` override the template's defaults. ``attributes`` gives what this machine
        knows of resources: ``"X"`` for ``!Ref X``, ``"X.Y"`` for ``!GetAtt X.Y``.

        Raises:
            TemplateError: an unknown reference, parameter or value, by resource and property.
        """
        declared = self._data.get("Parameters", {})
        for name in parameters:
            if name not in declared:
                raise TemplateError(f"Parameters.{name}: not declared in {self.path.name}")
        if twice := sorted(set(declared) & set(self._resources)):
            raise TemplateError(f"{twice[0]}: a parameter and a resource; give one another name")
        names: dict[str, Any] = {k: v["Default"] for k, v in declared.items() if "Default" in v}
        names |= pseudo_parameters(region) | dict(parameters)
        known: dict[str, Any] = {}
        resolver = Resolver(
            names, known, self._data.get("Conditions", {}), self._data.get("Mappings", {})
        )
        self._add_own_names(names, known, resolver, region)
        names |= {k: v for k, v in attributes.items() if "." not in k}
        known |= {k: v for k, v in attributes.items() if "." in k}
        return resolver

    def present(self, kind: str, resolver: Resolver) -> list[str]:
        """Logical ids of one type whose condition holds."""
        return [
            name
            for name in self.names(kind)
            if "Condition" not in (resource := self._resources[name])
            or resolver.condition(resource["Condition"], f"{name}.Condition")
        ]

    def properties(self, name: str) -> dict[str, Any]:
        """As written, of one resource. Raises TemplateError where there is none."""
        if name not in self._resources:
            raise TemplateError(f"{name}: no such resource in {self.path.name}")
        found: dict[str, Any] = self._resources[name].get("Properties", {})
        return found

    def _add_own_names(
        self, names: dict[str, Any], attributes: dict[str, Any], resolver: Resolver, region: str
    ) -> None:
        """Adds what Ref and GetAtt of this template's resources give, as on AWS."""
        for name in self._resources:
            names[name] = name
        for name in self.names(FUNCTION):
            arn = function_arn(region, name)
            # an alias is the function itself here: one version runs
            attributes[f"{name}.Arn"] = names[f"{name}.Alias"] = arn
        for name in self.names(STATE_MACHINE):
            machine = self._named(name, "Name", name, resolver)
            arn = machine_arn(region, machine)
            names[name] = attributes[f"{name}.Arn"] = arn
            attributes[f"{name}.Name"] = machine
        for name in self.names(QUEUE):
            fifo = self._resources[name].get("Properties", {}).get("FifoQueue")
            queue = self._named(name, "QueueName", f"{name}.fifo" if fifo else name, resolver)
            attributes[f"{name}.Arn"] = f"arn:aws:sqs:{region}:{ACCOUNT_ID}:{queue}"
            attributes[f"{name}.QueueName"] = queue

    def _named(self, name: str, key: str, otherwise: str, resolver: Resolver) -> str:
        properties = self._resources[name].get("Properties", {})
        return str(resolver.value(properties.get(key, otherwise), f"{name}.{key}"))

    def _function(self, name: str, resolver: Resolver) -> Function:
        shared = self._data.get("Globals", {}).get("Function", {})
        own = self._resources[name].get("Properties", {})
        raw_environment = {
            **shared.get("Environment", {}).get("Variables", {}),
            **own.get("Environment", {}).get("Variables", {}),
        }
        environment = resolver.value(raw_environment, f"{name}.Environment.Variables")
        settings = {**shared, **own}
        if "Handler" not in settings:
            raise TemplateError(f"{name}.Handler: missing; write MODULE.FUNCTION")
        events = self._events(name, resolver)
        return Function(
            name=name,
            handler=str(resolver.value(settings["Handler"], f"{name}.Handler")),
            environment={key: _text(value) for key, value in environment.items()},
            timeout_s=int(settings.get("Timeout", 3)),
            memory_mb=int(settings.get("MemorySize", 128)),
            routes=sources.routes(events),
            schedules=sources.schedules(name, events)
            + self._scheduled(resolver.attribute(f"{name}.Arn", name), resolver),
            queues=tuple(
                self._queue_source(name, event, resolver)
                for event in sources.of_type(events, "SQS")
            ),
            rules=sources.rules(name, events),
            unsupported=sources.unsupported(name, events),
        )

    def _events(self, name: str, resolver: Resolver) -> sources.Events:
        """A resource's event sources."""
        return {
            key: {**event, "Properties": resolver.value(event.get("Properties", {}), where)}
            for key, event in self.properties(name).get("Events", {}).items()
            for where in [f"{name}.Events.{key}"]
        }

    def _scheduled(self, arn: str, resolver: Resolver) -> tuple[Schedule, ...]:
        """Schedules that stand by themselves, of one target."""
        found = []
        for name in self.present(SCHEDULE, resolver):
            raw = self.properties(name)
            if resolver.value(raw["Target"]["Arn"], f"{name}.Target.Arn") != arn:
                continue
            kept = {key: raw[key] for key in _TIMES if key in raw}
            properties = resolver.value({**kept, **_input_of(raw)}, name)
            event = {"Type": "ScheduleV2", "Properties": properties}
            schedules = sources.schedules(name, {"Schedule": event})
            if not schedules and sources.unsupported(name, {"Schedule": event}):
                raise TemplateError(f"{name}.ScheduleExpression: neither rate nor cron; write one")
            found += schedules
        return tuple(found)

    def _check_schedules(self, resolver: Resolver) -> None:
        arns = [resolver.attribute(f"{n}.Arn", n) for k in _CALLED for n in self.names(k)]
        for name in self.present(SCHEDULE, resolver):
            arn = resolver.value(self.properties(name)["Target"]["Arn"], f"{name}.Target.Arn")
            if arn not in arns:
                raise TemplateError(f"{name}.Target.Arn: {arn!r} is none of this template's")

    def _queue_source(
        self, function: str, event: Mapping[str, Any], resolver: Resolver
    ) -> QueueSource:
        properties = event["Properties"]
        arn = str(properties.get("Queue", ""))
        matches = [q for q in self.names(QUEUE) if resolver.attributes[f"{q}.Arn"] == arn]
        if not matches:
            raise TemplateError(f"{function}.Events: queue {arn!r} is none of this template's")
        reports = "ReportBatchItemFailures" in properties.get("FunctionResponseTypes", ())
        return QueueSource(matches[0], int(properties.get("BatchSize", 10)), reports)

    def _queue(self, name: str, resolver: Resolver) -> Queue:
        raw = self._resources[name].get("Properties", {})
        kept = {k: v for k, v in raw.items() if k not in ("QueueName", "Tags")}
        properties = resolver.value(kept, name)
        return Queue(
            logical_id=name,
            name=str(resolver.attribute(f"{name}.QueueName", name)),
            attributes={key: _text(value) for key, value in properties.items()},
        )

    def _machine(self, name: str, resolver: Resolver) -> StateMachine:
        properties = self._resources[name].get("Properties", {})
        if "DefinitionUri" not in properties:
            raise TemplateError(f"{name}.DefinitionUri: missing; name the .asl.json file")
        source = self.path.parent / str(properties["DefinitionUri"])
        try:
            definition = source.read_text(encoding="utf-8")
            json.loads(definition)
        except (OSError, ValueError) as error:
            raise TemplateError(f"{name}.DefinitionUri: {source.name}: {error}") from error
        where = f"{name}.DefinitionSubstitutions"
        values = resolver.value(properties.get("DefinitionSubstitutions", {}), where)
        for key, value in values.items():
            definition = definition.replace(f"${{{key}}}", str(value))
        left = re.search(r"\$\{(\w+)\}", definition)
        if left:
            raise TemplateError(f"{where}: no value for {left.group(1)!r} used in {source.name}")
        events = self._events(name, resolver)
        return StateMachine(
            name,
            str(resolver.attribute(f"{name}.Name", name)),
            definition,
            sources.schedules(name, events)
            + self._scheduled(resolver.attribute(f"{name}.Arn", name), resolver),
            sources.rules(name, events),
            sources.unsupported(name, events),
        )


def _input_of(schedule: Mapping[str, Any]) -> dict[str, Any]:
    return {"Input": schedule["Target"]["Input"]} if "Input" in schedule["Target"] else {}


def function_arn(region: str, name: str) -> str:
    """Of a function of this machine's account."""
    return f"arn:aws:lambda:{region}:{ACCOUNT_ID}:function:{name}"


def machine_arn(region: str, name: str) -> str:
    """Of a state machine of this machine's account."""
    return f"arn:aws:states:{region}:{ACCOUNT_ID}:stateMachine:{name}"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value) if isinstance(value, (dict, list)) else str(value)
