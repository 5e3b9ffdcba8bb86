"""A template's parameters, held against its own rules before anything is deployed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ops.cell.intrinsics import read_yaml

MAX_BODY_BYTES = 51_200
"""CloudFormation takes no longer template in the call itself."""


class ParameterError(ValueError):
    """A parameter is out of what its template allows; the message names it and the remedy."""


def read_template(template: Path) -> dict[str, Any]:
    """As data, read once as long as the file does not change. Raises TemplateError."""
    stamp = template.stat().st_mtime_ns if template.exists() else 0
    return _read(template, stamp)


@cache
def _read(template: Path, stamp: int) -> dict[str, Any]:
    del stamp
    return read_yaml(template)


def declared(template: Path) -> dict[str, dict[str, Any]]:
    """The template's parameters as it declares them. Raises TemplateError."""
    parameters: dict[str, dict[str, Any]] = read_template(template).get("Parameters", {})
    return parameters


def check(template: Path, parameters: Mapping[str, str | None]) -> list[str]:
    """What is wrong, a sentence each; empty where all fit. A value of None is not looked at."""
    rules = declared(template)
    where = template.name
    faults = [
        f"{name}: {where} has no such parameter; it has {', '.join(sorted(rules))}"
        for name in parameters
        if name not in rules
    ]
    for name, rule in rules.items():
        value = parameters.get(name)
        if value is None:
            if name not in parameters and "Default" not in rule:
                faults.append(f"{name}: missing, and {where} has no default for it")
            continue
        fault = _fault(value, rule)
        if fault:
            shown = "what was given" if rule.get("NoEcho") else repr(value[:120])
            faults.append(f"{name}: {shown} {fault} ({where})")
    return faults


def _fault(value: str, rule: Mapping[str, Any]) -> str:
    if "AllowedValues" in rule:
        allowed = [str(one) for one in rule["AllowedValues"]]
        if value not in allowed:
            return f"is none of {', '.join(one or 'empty' for one in allowed)}"
    if rule.get("Type") == "Number":
        return _number_fault(value, rule)
    if "MinLength" in rule and len(value) < int(rule["MinLength"]):
        return f"is shorter than {rule['MinLength']} characters"
    if "MaxLength" in rule and len(value) > int(rule["MaxLength"]):
        return f"is longer than {rule['MaxLength']} characters"
    pattern = rule.get("AllowedPattern")
    if pattern is not None and not re.fullmatch(str(pattern), value):
        wanted = rule.get("ConstraintDescription") or f"has to match {pattern}"
        return f"does not fit: {wanted}"
    return ""


def _number_fault(value: str, rule: Mapping[str, Any]) -> str:
    try:
        number = float(value)
    except ValueError:
        return "is no number"
    low, high = rule.get("MinValue"), rule.get("MaxValue")
    if low is not None and number < float(low):
        return f"is under {low}; give {low} or more"
    if high is not None and number > float(high):
        return f"is over {high}; give {high} or less"
    return ""


def body(template: Path) -> str:
    """The template as a call takes it. Raises ParameterError where it is too long for that."""
    text = template.read_text(encoding="utf-8")
    if len(text.encode()) > MAX_BODY_BYTES:
        raise ParameterError(f"{template}: over {MAX_BODY_BYTES} bytes; nest some of it")
    return text
