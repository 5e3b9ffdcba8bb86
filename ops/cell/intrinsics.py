"""CloudFormation's YAML tags and intrinsic functions, as far as a cell's template uses them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ACCOUNT_ID = "123456789012"
NO_VALUE = object()
"""What ``!Ref AWS::NoValue`` gives: the property is as if it had not been written."""

_PLACEHOLDER = re.compile(r"\$\{(!?)([^}]+)\}")
_SHORT_FORMS = (
    "Sub", "If", "Equals", "Not", "And", "Or", "Join", "Select", "Split", "FindInMap", "GetAZs",
    "Cidr", "Base64", "ImportValue", "ToJsonString", "Length",
)  # fmt: skip


def pseudo_parameters(region: str) -> dict[str, Any]:
    """The AWS:: names every template may refer to."""
    return {
        "AWS::Region": region,
        "AWS::AccountId": ACCOUNT_ID,
        "AWS::Partition": "aws",
        "AWS::URLSuffix": "amazonaws.com",
        "AWS::StackName": "local",
        "AWS::NoValue": NO_VALUE,
    }


class TemplateError(ValueError):
    """The template cannot be read or resolved; the message names resource, property and remedy."""


# a tenth of the time, where PyYAML was built with libyaml, as its wheels are
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc]
    """Safe YAML plus the short tags, each turned into its long form."""


def _node_value(loader: _Loader, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    assert isinstance(node, yaml.MappingNode)
    return loader.construct_mapping(node, deep=True)


def _get_att(loader: _Loader, node: yaml.Node) -> dict[str, Any]:
    value = _node_value(loader, node)
    return {"Fn::GetAtt": value.split(".", 1) if isinstance(value, str) else value}


def _long_form(name: str) -> Callable[[_Loader, yaml.Node], dict[str, Any]]:
    return lambda loader, node: {name: _node_value(loader, node)}


_Loader.add_constructor("!Ref", _long_form("Ref"))
_Loader.add_constructor("!Condition", _long_form("Condition"))
_Loader.add_constructor("!GetAtt", _get_att)
for _name in _SHORT_FORMS:
    _Loader.add_constructor(f"!{_name}", _long_form(f"Fn::{_name}"))


def read_yaml(path: Path) -> dict[str, Any]:
    """The template as plain data, short tags in their long form.

    Raises:
        TemplateError: no such file, not YAML, an unknown tag, or not a mapping.
    """
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 (a SafeLoader)
    except OSError as error:
        raise TemplateError(
            f"{path}: cannot be read ({error.strerror}); give a template"
        ) from error
    except yaml.YAMLError as error:
        raise TemplateError(f"{path}: not a CloudFormation template: {error}") from error
    if not isinstance(data, dict) or not isinstance(data.get("Resources"), dict):
        raise TemplateError(f"{path}: has no Resources; give a SAM template")
    return data


@dataclass(frozen=True)
class Resolver:
    """Turns values with references into plain ones.

    ``names`` answers Ref and Sub (parameters, pseudo parameters, resources' own references),
    ``attributes`` answers GetAtt by ``"Resource.Attribute"``.
    """

    names: Mapping[str, Any]
    attributes: Mapping[str, Any]
    conditions: Mapping[str, Any] = field(default_factory=dict)
    mappings: Mapping[str, Any] = field(default_factory=dict)

    def value(self, raw: Any, where: str) -> Any:
        """``raw`` with every reference replaced; ``where`` names it in errors.

        Raises:
            TemplateError: a reference to something unknown, or an unsupported function.
        """
        if isinstance(raw, list):
            items = [self.value(item, f"{where}[{at}]") for at, item in enumerate(raw)]
            return [item for item in items if item is not NO_VALUE]
        if not isinstance(raw, dict):
            return raw
        if len(raw) == 1:
            ((name, argument),) = raw.items()
            if name in _FUNCTIONS:
                return _FUNCTIONS[name](self, argument, where)
            if name.startswith("Fn::"):
                raise TemplateError(
                    f"{where}: {name} is not understood here; use Ref, Sub or GetAtt"
                )
        pairs = {key: self.value(item, f"{where}.{key}") for key, item in raw.items()}
        return {key: item for key, item in pairs.items() if item is not NO_VALUE}

    def condition(self, name: str, where: str) -> bool:
        """Whether the template's condition ``name`` holds."""
        if name not in self.conditions:
            raise TemplateError(f"{where}: no condition {name!r}; declare it under Conditions")
        return bool(self.value(self.conditions[name], f"Conditions.{name}"))

    def reference(self, name: str, where: str) -> Any:
        """What ``!Ref name`` gives."""
        if name not in self.names:
            raise TemplateError(
                f"{where}: refers to {name!r}, which is neither a parameter with a value nor a "
                "resource known here; give the parameter or correct the name"
            )
        return self.names[name]

    def attribute(self, name: str, where: str) -> Any:
        """What ``!GetAtt name`` gives."""
        if name not in self.attributes:
            raise TemplateError(
                f"{where}: asks for the attribute {name!r}, which nothing here has; "
                "correct the name or give the attribute"
            )
        return self.attributes[name]


def _ref(resolver: Resolver, argument: Any, where: str) -> Any:
    return resolver.reference(str(argument), where)


def _attribute(resolver: Resolver, argument: Any, where: str) -> Any:
    parts = argument.split(".", 1) if isinstance(argument, str) else argument
    return resolver.attribute(".".join(str(part) for part in parts), where)


def _sub(resolver: Resolver, argument: Any, where: str) -> str:
    text, own = (argument, {}) if isinstance(argument, str) else argument
    values = {key: resolver.value(item, where) for key, item in own.items()}

    def replace(match: re.Match[str]) -> str:
        literal, name = match.groups()
        if literal:
            return f"${{{name}}}"
        if name in values:
            return str(values[name])
        find = resolver.attribute if "." in name else resolver.reference
        return str(find(name, where))

    return _PLACEHOLDER.sub(replace, text)


def _if(resolver: Resolver, argument: Any, where: str) -> Any:
    name, yes, no = argument
    return resolver.value(yes if resolver.condition(name, where) else no, where)


def _equals(resolver: Resolver, argument: Any, where: str) -> bool:
    first, second = (str(resolver.value(item, where)) for item in argument)
    return first == second


def _not(resolver: Resolver, argument: Any, where: str) -> bool:
    return not resolver.value(argument[0], where)


def _and(resolver: Resolver, argument: Any, where: str) -> bool:
    return all(resolver.value(item, where) for item in argument)


def _or(resolver: Resolver, argument: Any, where: str) -> bool:
    return any(resolver.value(item, where) for item in argument)


def _named_condition(resolver: Resolver, argument: Any, where: str) -> Any:
    if isinstance(argument, str):
        return resolver.condition(argument, where)
    return {"Condition": resolver.value(argument, where)}


def _join(resolver: Resolver, argument: Any, where: str) -> str:
    glue, items = argument
    return str(glue).join(str(item) for item in resolver.value(items, where))


def _select(resolver: Resolver, argument: Any, where: str) -> Any:
    at, items = argument
    return resolver.value(items, where)[int(at)]


def _split(resolver: Resolver, argument: Any, where: str) -> list[str]:
    glue, text = argument
    return str(resolver.value(text, where)).split(glue)


def _find_in_map(resolver: Resolver, argument: Any, where: str) -> Any:
    table, row, column = (str(resolver.value(item, where)) for item in argument)
    try:
        return resolver.mappings[table][row][column]
    except KeyError as error:
        raise TemplateError(f"{where}: no {error} in Mappings.{table}; add the row") from error


def _base64(resolver: Resolver, argument: Any, where: str) -> Any:
    """The plain text: who looks at user data here wants to read it."""
    return resolver.value(argument, where)


def _zones(resolver: Resolver, argument: Any, where: str) -> list[str]:
    region = resolver.value(argument, where) or resolver.reference("AWS::Region", where)
    return [f"{region}{letter}" for letter in "abc"]


_FUNCTIONS: dict[str, Callable[[Resolver, Any, str], Any]] = {
    "Ref": _ref,
    "Condition": _named_condition,
    "Fn::GetAtt": _attribute,
    "Fn::Sub": _sub,
    "Fn::If": _if,
    "Fn::Equals": _equals,
    "Fn::Not": _not,
    "Fn::And": _and,
    "Fn::Or": _or,
    "Fn::Join": _join,
    "Fn::Select": _select,
    "Fn::Split": _split,
    "Fn::FindInMap": _find_in_map,
    "Fn::Base64": _base64,
    "Fn::GetAZs": _zones,
}
