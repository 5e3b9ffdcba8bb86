"""What a node asks AWS for: its start script, the container's log driver, and the worker itself."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.templates import iam, source
from tests.templates.objects import Use

_CLI = re.compile(r"""(?<![\w./-])aws["', ]+([a-z0-9-]+)["', ]+([a-z0-9-]+)""")  # or in a list
_CLI_ONLY = {"ecr get-login-password": "ecr:GetAuthorizationToken", "s3 cp": "s3:GetObject"}
_PULL = ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
_LOG_DRIVER = ("logs:CreateLogStream", "logs:PutLogEvents")


def of_script(text: str, where: str) -> Iterator[Use]:
    """Of user data. Raises ValueError of a command that the CLI does not have."""
    for number, line in enumerate(text.splitlines(), start=1):
        place = f"{where} line {number}"
        for service, command in _CLI.findall(line):
            yield Use(_of_command(service, command, place), place)
        if "docker pull" in line and ".dkr.ecr." in line:
            yield from (Use(action, place) for action in _PULL)
        if "--log-driver awslogs" in line:
            yield from (Use(action, place) for action in _LOG_DRIVER)


def _of_command(service: str, command: str, place: str) -> str:
    if known := _CLI_ONLY.get(f"{service} {command}"):
        return known
    method = command.replace("-", "_")
    if method not in iam.methods(service):
        raise ValueError(f"{place}: aws {service} has no command {command}")
    return iam.action_of(service, method)


def of_program(folder: Path) -> Iterator[Use]:
    """Of every file there: one process, so whatever it mentions it may call."""
    services = source.services(folder)
    for path in sorted(folder.rglob("*.py")):
        constants = _constants(source.tree_of(path))
        for node in ast.walk(source.tree_of(path)):
            place = source.place_of(path, node)
            for service, methods in services.items():
                if _mentioned(node) in methods:
                    yield Use(iam.action_of(service, _mentioned(node)), place)
            if isinstance(node, ast.Call) and source.name_of(node.func) == "SigV4Auth":
                yield Use(_signed_for(node, constants, place), place)


def _mentioned(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    text = node.value if isinstance(node, ast.Constant) else ""
    return text if isinstance(text, str) else ""


def _constants(module: ast.Module) -> dict[str, str]:
    found = {}
    for node in module.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            for target in node.targets:
                if isinstance(target, ast.Name) and isinstance(node.value.value, str):
                    found[target.id] = node.value.value
    return found


def _signed_for(call: ast.Call, constants: dict[str, str], place: str) -> str:
    named = [constants.get(one.id) for one in call.args if isinstance(one, ast.Name)]
    named += [one.value for one in call.args if isinstance(one, ast.Constant)]
    if "execute-api" not in named:
        raise ValueError(f"{place}: signs for a service that is not known here; add it")
    return "execute-api:Invoke"
