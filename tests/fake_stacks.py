"""CloudFormation of one region as the deployer meets it, in memory and in steps.

An operation goes on a little with every look at its stack. What moto does as well is held against
moto in tests/contract/test_fake_cloud.py; roll-backs, nested stacks and states that block are as
AWS documents them.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import yaml

from ops.cell.intrinsics import Resolver, pseudo_parameters
from ops.cell.intrinsics import _Loader as TemplateLoader
from ops.deploy.facts import Change, ChangeSet, CloudError, Event, Resource, Stack, Submission

NESTED = "AWS::CloudFormation::Stack"
EMPTY = (
    "The submitted information didn't contain changes. Submit different information to create a "
    "change set."
)
_NUMBERS = itertools.count(1)
_STANDS = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE")
Hook = Callable[[str], None]


@dataclass
class Held:
    """A resource as it is; ``spec`` is a digest of what its template says of it."""

    kind: str
    physical_id: str
    spec: str


@dataclass
class Proposed:
    """A change set."""

    template: Template
    parameters: dict[str, str]
    changes: tuple[Change, ...]
    fault: str = ""
    looks: int = 0


@dataclass
class Record:
    """A stack."""

    id: str
    name: str
    status: str
    reason: str = ""
    template: Template = field(default_factory=lambda: Template())
    parameters: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    resources: dict[str, Held] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    proposals: dict[str, Proposed] = field(default_factory=dict)
    todo: Iterator[None] | None = None
    nested: bool = False


class FakeStacks:
    """See the port Stacks. ``read`` gives the template behind an address."""

    def __init__(self, region: str, hook: Hook, read: Callable[[str], str]) -> None:
        self.region = region
        self.records: list[Record] = []
        self.broken: dict[tuple[str, str], str] = {}
        """(stack's name, resource) -> why it cannot be made; a name of a nested stack is
        PARENT/RESOURCE."""
        self.replaced: set[str] = set()
        """Resources that any change set makes anew."""
        self.nested_fault = ""
        """Why no change set can look into nested stacks."""
        self.stuck: set[str] = set()
        """Stacks whose roll-back or deletion fails."""
        self.on_made: Callable[[str, str, str], None] = lambda *_: None
        self.on_deleted: Callable[[Record], str | None] = lambda _: None
        self._hook = hook
        self._read = read
        self._clock = datetime(2026, 1, 1, tzinfo=UTC)

    # the port

    def find(self, name_or_id: str) -> Stack | None:
        self._hook("find")
        record = self._record(name_or_id)
        if record is None:
            return None
        if record.todo is not None and next(record.todo, self) is self:
            record.todo = None
        return Stack(
            record.id, record.name, record.status, record.reason,
            dict(record.outputs), dict(record.parameters),
        )  # fmt: skip

    def events(self, stack_id: str, since: datetime | None) -> Sequence[Event]:
        self._hook("events")
        return [e for e in self._must(stack_id).events if since is None or e.at >= since]

    def resources(self, stack_id: str) -> Sequence[Resource]:
        self._hook("resources")
        held = self._must(stack_id).resources
        return [Resource(name, one.physical_id, one.kind) for name, one in held.items()]

    def propose(self, change_set: str, asked: Submission, *, create: bool, nested: bool) -> None:
        self._hook("propose")
        record = self._live(asked.stack)
        if create and record is not None and record.status != "REVIEW_IN_PROGRESS":
            raise _invalid(f"Stack [{asked.stack}] already exists and cannot be created again")
        if not create and (record is None or record.status not in _STANDS):
            state = record.status if record else "not there"
            raise _invalid(f"Stack {asked.stack} is in {state} state and can not be updated")
        text = asked.template
        template = _parsed(self._read(text) if text.startswith("https://") else text)
        before = record.parameters if record else {}
        parameters = _settled(template, dict(asked.parameters), before)
        if record is None:
            record = Record(self._id(asked.stack), asked.stack, "REVIEW_IN_PROGRESS")
            self.records.append(record)
            self._tell(
                record, record.name, NESTED, "REVIEW_IN_PROGRESS", "User Initiated", record.id
            )
        changes = tuple(self._changes(record, template, parameters, nested))
        fault = self.nested_fault if nested else ""
        record.proposals[change_set] = Proposed(template, parameters, changes, fault)

    def proposed(self, stack: str, change_set: str) -> ChangeSet:
        self._hook("proposed")
        proposal = self._must(stack).proposals[change_set]
        proposal.looks += 1
        if proposal.looks < 3:
            return ChangeSet(("CREATE_PENDING", "CREATE_IN_PROGRESS")[proposal.looks - 1])
        if proposal.fault or not proposal.changes:
            return ChangeSet("FAILED", proposal.fault or EMPTY)
        return ChangeSet("CREATE_COMPLETE", "", proposal.changes)

    def execute(self, stack: str, change_set: str) -> None:
        self._hook("execute")
        record = self._must(stack)
        proposal = record.proposals[change_set]
        record.proposals.clear()
        creating = record.status == "REVIEW_IN_PROGRESS"
        record.todo = self._work(record, proposal, "CREATE" if creating else "UPDATE")

    def discard(self, stack: str, change_set: str) -> None:
        self._hook("discard")
        self._must(stack).proposals.pop(change_set, None)

    def delete(self, stack_id: str) -> None:
        self._hook("delete")
        record = self._record(stack_id)
        if record is not None and record.status != "DELETE_COMPLETE":
            record.todo = self._deletion(record)

    # what goes on behind it

    def _work(self, record: Record, proposal: Proposed, verb: str) -> Iterator[None]:
        yield  # the state changes a moment after the call
        before = (record.template, record.parameters, dict(record.resources))
        self._set(record, f"{verb}_IN_PROGRESS", "User Initiated")
        yield
        failed = yield from self._resources(record, record.name, proposal, verb)
        if failed is None:
            record.template, record.parameters = proposal.template, proposal.parameters
            record.outputs = self._outputs(record)
            self._set(record, f"{verb}_COMPLETE")
            return
        back = "ROLLBACK" if verb == "CREATE" else "UPDATE_ROLLBACK"
        self._set(record, f"{back}_IN_PROGRESS", f"The following failed: [{failed}]")
        yield
        if record.name in self.stuck:
            self._set(record, f"{back}_FAILED", f"The following could not be undone: [{failed}]")
            return
        record.template, record.parameters, record.resources = before
        self._set(record, f"{back}_COMPLETE")

    def _resources(
        self, record: Record, path: str, proposal: Proposed, verb: str
    ) -> Iterator[None]:
        wanted = _present(proposal.template, proposal.parameters, self.region)
        for at, (name, (kind, spec)) in enumerate(wanted.items()):
            held = record.resources.get(name)
            if held is not None and held.spec == spec and kind != NESTED:
                continue
            physical = held.physical_id if held else self._physical(record, name, kind)
            self._tell(
                record, name, kind, f"{verb}_IN_PROGRESS", "", held.physical_id if held else ""
            )
            if at % 12 == 0:
                yield
            why = self.broken.get((path, name))
            if why is None and kind == NESTED:
                why = yield from self._nested(physical, f"{path}/{name}", proposal, name, verb)
            if why is not None:
                self._tell(record, name, kind, f"{verb}_FAILED", why, physical)
                return name
            self.on_made(kind, physical, path.partition("/")[0])
            record.resources[name] = Held(kind, physical, spec)
            self._tell(record, name, kind, f"{verb}_COMPLETE", "", physical)
        for name in [name for name in record.resources if name not in wanted]:
            del record.resources[name]
        return None

    def _nested(
        self, stack_id: str, path: str, parent: Proposed, name: str, verb: str
    ) -> Iterator[None]:
        child = self._record(stack_id)
        if child is None:
            child = Record(stack_id, stack_id.split("/")[1], "", nested=True)
            self.records.append(child)
        url = parent.template["Resources"][name]["Properties"]["TemplateURL"]
        template = _parsed(self._read(url))
        self._set(child, f"{verb}_IN_PROGRESS")
        parameters = {k: str(v.get("Default", "")) for k, v in _declared(template).items()}
        inner = Proposed(template, parameters, ())
        failed = yield from self._resources(child, path, inner, verb)
        if failed is None:
            self._set(child, f"{verb}_COMPLETE")
            return None
        self._set(child, "ROLLBACK_COMPLETE")
        return f"Embedded stack {stack_id} was not successfully created: [{failed}]"

    def _deletion(self, record: Record) -> Iterator[None]:
        self._set(record, "DELETE_IN_PROGRESS", "User Initiated")
        yield
        why = self.on_deleted(record)
        if record.name in self.stuck or why:
            self._tell(record, "Group", "AWS::X::Y", "DELETE_FAILED", why or "it is in use")
            self._set(record, "DELETE_FAILED", "The following resource(s) failed to delete")
            return
        for held in record.resources.values():
            child = self._record(held.physical_id) if held.kind == NESTED else None
            if child is not None:
                child.status = "DELETE_COMPLETE"
        record.resources.clear()
        self._set(record, "DELETE_COMPLETE")

    def _changes(
        self, record: Record, template: Template, parameters: dict[str, str], nested: bool
    ) -> Iterator[Change]:
        """A nested stack that is not looked into is always one of them."""
        wanted = _present(template, parameters, self.region)
        for name, (kind, spec) in wanted.items():
            held = record.resources.get(name)
            if held is None:
                yield Change("Add", name, kind)
            elif held.spec != spec or (kind == NESTED and not nested):
                yield Change("Modify", name, kind, "False")
        for name in self.replaced & wanted.keys() & record.resources.keys():
            yield Change("Modify", name, wanted[name][0], "True")
        for name, held in record.resources.items():
            if name not in wanted:
                yield Change("Remove", name, held.kind)

    def _outputs(self, record: Record) -> dict[str, str]:
        resolver = _resolver(record.template, record.parameters, self.region)
        found = {}
        for name, output in record.template.get("Outputs", {}).items():
            if "Condition" in output and not resolver.condition(output["Condition"], name):
                continue
            found[name] = self._output(record, name)
        return found

    def _output(self, record: Record, name: str) -> str:
        host = record.parameters.get("ViewerHost", "example.com")
        cell = record.parameters.get("CellName", "")
        buckets = [r.physical_id for r in record.resources.values() if r.kind == "AWS::S3::Bucket"]
        return {
            "BucketName": buckets[0] if buckets else "",
            "RepositoryUri": f"123456789012.dkr.ecr.{self.region}.amazonaws.com/{cell}",
            "Url": f"https://{cell}.{host}" if cell else f"https://{host}",
            "SecretId": f"{record.name}-keys",
        }.get(name, f"{record.name}-{name}")

    def _set(self, record: Record, status: str, reason: str = "") -> None:
        record.status, record.reason = status, reason
        self._tell(record, record.name, NESTED, status, reason, record.id)

    def _tell(
        self, record: Record, name: str, kind: str, status: str, reason: str = "", at: str = ""
    ) -> None:
        self._clock += timedelta(seconds=1)
        number = str(next(_NUMBERS))
        record.events.append(Event(number, self._clock, record.id, name, kind, status, reason, at))

    def _id(self, name: str) -> str:
        return f"arn:aws:cloudformation:{self.region}:1:stack/{name}/{next(_NUMBERS)}"

    def _physical(self, record: Record, name: str, kind: str) -> str:
        if kind == NESTED:
            return self._id(f"{record.name}-{name}-{next(_NUMBERS)}")
        return f"{record.name}-{name}-{next(_NUMBERS)}".lower()

    def _record(self, name_or_id: str) -> Record | None:
        by_id = [one for one in self.records if one.id == name_or_id]
        return by_id[0] if by_id else self._live(name_or_id)

    def _live(self, name: str) -> Record | None:
        live = [r for r in self.records if r.name == name and r.status != "DELETE_COMPLETE"]
        return live[0] if live else None

    def _must(self, name_or_id: str) -> Record:
        record = self._record(name_or_id)
        if record is None:
            raise _invalid(f"Stack with id {name_or_id} does not exist")
        return record


def _invalid(message: str) -> CloudError:
    return CloudError("ValidationError", message)


@cache
def _parsed(text: str) -> Template:
    """The same object for the same text, which nobody changes."""
    if text.startswith("{"):
        return Template(json.loads(text))
    return Template(yaml.load(text, Loader=TemplateLoader))


class Template(dict[str, Any]):
    """A template as data; it compares by identity, so that what is made of it is made once."""

    __hash__ = object.__hash__  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return self is other


def _declared(template: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = template.get("Parameters", {})
    return found


def _settled(
    template: dict[str, Any], given: dict[str, str | None], before: dict[str, str]
) -> dict[str, str]:
    """The parameters as CloudFormation takes them, or its refusal."""
    rules = _declared(template)
    unknown = [name for name in given if name not in rules]
    if unknown:
        raise _invalid(f"Parameters: {unknown} do not exist in the template")
    settled = {}
    for name, rule in rules.items():
        value = given.get(name)
        if name in given and value is None:
            if name not in before:
                raise _invalid(f"Parameters: [{name}] has no previous value")
            settled[name] = before[name]
        elif value is not None:
            settled[name] = value
        elif "Default" in rule:
            settled[name] = str(rule["Default"])
        else:
            raise _invalid(f"Parameters: [{name}] must have values")
    return settled


def _resolver(template: dict[str, Any], parameters: dict[str, str], region: str) -> Resolver:
    names = {**pseudo_parameters(region), **parameters}
    return Resolver(names, {}, template.get("Conditions", {}), template.get("Mappings", {}))


def _present(
    template: Template, parameters: dict[str, str], region: str
) -> dict[str, tuple[str, str]]:
    """Resources whose condition holds: their type, and a digest of them and what they refer to."""
    resolver = _resolver(template, parameters, region)
    found = {}
    for name, (kind, condition, text, used) in _texts(template).items():
        if condition and not resolver.condition(condition, name):
            continue
        found[name] = (kind, f"{text}{[(one, parameters[one]) for one in used]}")
    return found


@cache
def _texts(template: Template) -> dict[str, tuple[str, str, str, tuple[str, ...]]]:
    """Of each resource: type, condition, text, and the parameters that the text names."""
    shared = json.dumps(template.get("Globals", {}), default=str)
    conditions = {
        name: json.dumps(one, default=str) for name, one in template.get("Conditions", {}).items()
    }
    found = {}
    for name, resource in template["Resources"].items():
        text = json.dumps(resource, sort_keys=True, default=str)
        if resource["Type"] == "AWS::Serverless::Function":
            text += shared
        text += "".join(one for name, one in conditions.items() if f'["{name}"' in text)
        used = tuple(p for p in _declared(template) if f'"{p}"' in text or f"${{{p}" in text)
        kind, condition = resource["Type"], resource.get("Condition", "")
        found[name] = (kind, condition, hashlib.sha256(text.encode()).hexdigest(), used)
    return found
