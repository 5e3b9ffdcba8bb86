"""Stacks as CloudFormation would make them of a template and its parameters, nested ones too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ops.cell.intrinsics import Resolver, TemplateError, pseudo_parameters
from tests.templates import identities
from tests.templates.parameters import accepted
from tests.templates.sam import transformed

NESTED = "AWS::CloudFormation::Stack"
_STACK_ID = "0a1b2c3d-1111-2222-3333-444455556666"


class RenderError(Exception):
    """CloudFormation would refuse this; the message names stack, resource and property."""


@dataclass
class Stack:
    """``resources`` are those whose condition holds, every reference resolved."""

    path: Path
    place: identities.Place
    parameters: dict[str, Any]
    resources: dict[str, dict[str, Any]] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)
    nested: dict[str, Stack] = field(default_factory=dict)

    def all(self) -> Iterator[Stack]:
        """This one and those below."""
        yield self
        for child in self.nested.values():
            yield from child.all()

    def reference(self, name: str) -> str:
        """What Ref gives for a resource of this stack."""
        resource = self.resources[name]
        return identities.reference(self.place, name, resource["Type"], resource["Properties"])

    def arn(self, name: str) -> str:
        """What GetAtt Arn gives for a resource of this stack."""
        resource = self.resources[name]
        return identities.arn_of(self.place, name, resource["Type"], resource["Properties"])

    def of_type(self, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Logical ids and properties."""
        for name, resource in self.resources.items():
            if resource["Type"] == kind:
                yield name, resource["Properties"]


def render(path: Path, given: Mapping[str, str], stack: str, region: str) -> Stack:
    """Raises RenderError."""
    return _Rendering(path, given, identities.Place(stack, region)).stack()


class _Rendering:
    """Resolves resources as they are asked for, so that nested stacks may need each other's
    outputs in any order but a circle."""

    def __init__(self, path: Path, given: Mapping[str, Any], place: identities.Place) -> None:
        template = transformed(path)
        self._written: dict[str, Any] = template["Resources"]
        self._outputs: dict[str, Any] = template.get("Outputs", {})
        self._rules: dict[str, Any] = template.get("Rules", {})
        try:
            values = accepted(template.get("Parameters", {}), given)
        except ValueError as error:
            raise RenderError(f"{place.stack} ({path.name}): {error}") from error
        self._result = Stack(path, place, values)
        self._pending: list[str] = []
        pseudo = {**pseudo_parameters(place.region), "AWS::StackName": place.stack}
        pseudo["AWS::StackId"] = (
            f"arn:aws:cloudformation:{place.at}:stack/{place.stack}/{_STACK_ID}"
        )
        plain = {**pseudo, **values}
        self._resolver = Resolver(
            _Lookup(plain, self._reference),
            _Lookup({}, self._attribute),
            template.get("Conditions", {}),
            template.get("Mappings", {}),
        )

    def stack(self) -> Stack:
        """Raises RenderError."""
        try:
            self._check_rules()
            for name in self._written:
                if self._lives(self._written[name], name):
                    self._resource(name)
            for name, output in self._outputs.items():
                if self._lives(output, name):
                    where = f"Outputs.{name}"
                    self._result.outputs[name] = self._resolver.value(output["Value"], where)
        except TemplateError as error:
            raise RenderError(f"{self._result.place.stack}: {error}") from error
        return self._result

    def _check_rules(self) -> None:
        for name, rule in self._rules.items():
            if not self._resolver.value(rule.get("RuleCondition", True), f"Rules.{name}"):
                continue
            for one in rule["Assertions"]:
                if not self._resolver.value(one["Assert"], f"Rules.{name}"):
                    raise TemplateError(f"Rules.{name}: {one['AssertDescription']}")

    def _lives(self, part: Mapping[str, Any], where: str) -> bool:
        return "Condition" not in part or self._resolver.condition(part["Condition"], where)

    def _resource(self, name: str) -> dict[str, Any]:
        if name in self._result.resources:
            return self._result.resources[name]
        if name in self._pending:
            raise TemplateError(f"{name} depends on itself by way of {', '.join(self._pending)}")
        written = self._written[name]
        if not self._lives(written, name):
            raise self._fault(f"{name} does not exist under these parameters")
        self._pending.append(name)
        properties = self._resolver.value(written.get("Properties") or {}, name)
        self._pending.pop()
        for needed in _listed(written.get("DependsOn")):
            if needed not in self._written:
                raise TemplateError(f"{name}.DependsOn: there is no {needed}")
        resource = {"Type": written["Type"], "Properties": properties}
        self._result.resources[name] = resource
        if written["Type"] == NESTED:
            self._nest(name, properties)
        return resource

    def _nest(self, name: str, properties: Mapping[str, Any]) -> None:
        place = self._result.place
        below = identities.Place(f"{place.stack}-{name}-1ABCDEFGHIJKL", place.region)
        path = self._result.path.parent / properties["TemplateURL"]
        child = _Rendering(path, properties.get("Parameters", {}), below)
        self._result.nested[name] = child.stack()

    def _fault(self, text: str) -> TemplateError:
        return TemplateError(f"{self._pending[-1] if self._pending else 'an output'}: {text}")

    def _reference(self, name: str) -> str:
        if name not in self._written:
            raise self._fault(f"{name} is neither a parameter nor a resource")
        self._resource(name)
        return self._result.reference(name)

    def _attribute(self, name: str) -> Any:
        logical_id, _, attribute = name.partition(".")
        if logical_id not in self._written:
            raise self._fault(f"{name}: there is no such resource")
        resource = self._resource(logical_id)
        kind, properties = resource["Type"], resource["Properties"]
        if kind == NESTED:
            outputs = self._result.nested[logical_id].outputs
            key = attribute.removeprefix("Outputs.")
            if key not in outputs:
                raise self._fault(f"{name} has no value under these parameters")
            return outputs[key]
        if attribute.lower().endswith("arn"):
            return self._result.arn(logical_id)
        if attribute in ("QueueName", "TopicName", "RoleName", "Name"):
            return identities.name_of(self._result.place, logical_id, properties)
        return f"{logical_id}.{attribute}"


class _Lookup(Mapping[str, Any]):
    """Plain values, else what ``find`` says; it raises where there is nothing."""

    def __init__(self, plain: Mapping[str, Any], find: Any) -> None:
        self._plain = plain
        self._find = find

    def __getitem__(self, name: str) -> Any:
        return self._plain[name] if name in self._plain else self._find(name)

    def __contains__(self, name: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(self._plain)

    def __len__(self) -> int:
        return len(self._plain)


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
