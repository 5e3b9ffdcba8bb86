"""A template's parameters as CloudFormation takes or refuses them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any


def accepted(declared: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Given values and defaults, lists as lists. Raises ValueError naming parameter and fault."""
    strange = set(given) - set(declared)
    if strange:
        raise ValueError(f"it has no parameter {', '.join(sorted(strange))}")
    return {name: _accepted(name, one, given) for name, one in declared.items()}


def _accepted(name: str, declaration: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
    raw = given.get(name, declaration.get("Default"))
    if raw is None:
        raise ValueError(f"{name} has no value")
    if isinstance(raw, dict | list):
        raise ValueError(f"{name} is {raw!r}, not a text")
    value = str(raw)
    kind = declaration["Type"]
    if wrong := fault(value, declaration):
        raise ValueError(f"{name} is {value!r}: {wrong}")
    if kind.startswith("List<") or kind == "CommaDelimitedList":
        return value.split(",")
    return value


def fault(value: str, declaration: Mapping[str, Any]) -> str:
    """Why the value is refused; empty where it is taken."""
    allowed = [str(one) for one in declaration.get("AllowedValues", ())]
    if allowed and value not in allowed:
        return f"not one of {', '.join(allowed)}"
    shortest, longest = declaration.get("MinLength", 0), declaration.get("MaxLength", 4096)
    if not int(shortest) <= len(value) <= int(longest):
        return f"not {shortest} to {longest} characters long"
    # CloudFormation matches the whole value
    if "AllowedPattern" in declaration and not re.fullmatch(declaration["AllowedPattern"], value):
        return f"does not match {declaration['AllowedPattern']}"
    if declaration["Type"] != "Number":
        return ""
    if not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", value):
        return "not a number"
    low, high = declaration.get("MinValue"), declaration.get("MaxValue")
    if (low is not None and float(value) < low) or (high is not None and float(value) > high):
        return f"not in {low}..{high}"
    return ""
