"""Compares what is called with what is allowed, in words an operator understands."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from control import bootstrap
from ops.cell.files import ROOT
from tests.templates import iam, source, targets
from tests.templates.objects import Use, plain
from tests.templates.reading import Wired
from tests.templates.rendering import Stack
from tests.templates.walk import walk

_READ = "secretsmanager:GetSecretValue"


def differences(who: str, uses: Iterable[Use], grants: Iterable[iam.Grant]) -> list[str]:
    """Actions that are called and not allowed, or allowed and not called."""
    called = {one.action: one for one in uses}
    allowed = {one.action: one.source for one in grants}
    lacking = [
        f"{who} lacks {action}: {called[action].where}, by way of {' > '.join(called[action].way)}"
        for action in sorted(set(called) - set(allowed))
    ]
    return lacking + [
        f"{who} has {action} ({allowed[action]}) and nothing calls it"
        for action in sorted(set(allowed) - set(called))
    ]


def misses(who: str, uses: list[Use], grants: list[iam.Grant], region: str) -> list[str]:
    """Calls on something that no grant covers, and resources that no call is for."""
    found = []
    for action in sorted({one.action for one in uses}):
        wanted = [targets.of(one, region) for one in uses if one.action == action]
        held = [one for one in grants if one.action == action]
        for arn in sorted({one for one in wanted if one is not None}):
            if held and not any(one.covers(arn) for one in held):
                found.append(f"{who} may not {action} on {arn}")
        if None in wanted:
            continue  # some call does not say on what
        for pattern in sorted({resource for one in held for resource in one.resources}):
            if not any(iam.matches(pattern, str(arn)) for arn in wanted):
                found.append(f"{who} may {action} on {pattern}, and no call is for that")
    return found


def called_by(function: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> list[Use]:
    """What a function's handler can reach, the cell wired in that function's own environment."""
    for name in [name for name in os.environ if name.startswith("RAPIDO_")]:
        monkeypatch.delenv(name)
    for name, value in function["Environment"]["Variables"].items():
        monkeypatch.setenv(name, str(value))
    bootstrap.cell.cache_clear()
    services = source.services(ROOT / "control")
    try:
        wired = Wired(bootstrap.cell(), plain(bootstrap.cell), services)
        return walk(wired, *_entries(function["Handler"]))
    finally:
        bootstrap.cell.cache_clear()


def _entries(handler: str) -> list[Any]:
    module, _, name = handler.rpartition(".")
    found = getattr(importlib.import_module(module), name)
    if handler != "app.app":
        return [found]
    return [one.view_function for methods in found.routes.values() for one in methods.values()]


def keys_behind(root: Stack, uses: list[Use], grants: list[iam.Grant]) -> list[Use]:
    """Reading a secret that a key of ours encrypts takes that key as well."""
    if not any(one.action == _READ for one in uses):
        return []
    return [
        Use("kms:Decrypt", secret, (), {"KeyId": key})
        for secret, key in _encrypted(root)
        if any(one.covers(secret) for one in grants if one.action == _READ)
    ]


def _encrypted(root: Stack) -> Iterator[tuple[str, str]]:
    """Secrets and the keys of ours that encrypt them; a database keeps its owner's."""
    for stack in root.all():
        for name, secret in stack.of_type("AWS::SecretsManager::Secret"):
            if "KmsKeyId" in secret:
                yield stack.arn(name), secret["KmsKeyId"]
        for name, database in stack.of_type("AWS::RDS::DBInstance"):
            if "KmsKeyId" in database.get("MasterUserSecret", {}):
                yield stack.arn(name), database["MasterUserSecret"]["KmsKeyId"]


def role_of(stack: Stack, arn: str) -> dict[str, Any]:
    """The stack's own role of that ARN."""
    return next(one for name, one in stack.of_type("AWS::IAM::Role") if stack.arn(name) == arn)


def definition_of(machine: dict[str, Any]) -> dict[str, Any]:
    """A state machine's states, with what is substituted in them."""
    text = str(machine["DefinitionString"])
    for name, value in machine.get("DefinitionSubstitutions", {}).items():
        text = text.replace(f"${{{name}}}", value)
    found: dict[str, Any] = json.loads(text)
    return found
