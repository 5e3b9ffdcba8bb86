"""What a state machine's own role is asked for by its states."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from botocore import xform_name
from botocore.session import get_session

from tests.templates import iam
from tests.templates.objects import Use

_SDK = re.compile(r"arn:aws:states:::aws-sdk:([a-z0-9]+):([A-Za-z0-9]+)(?:\.waitForTaskToken)?")
_OPTIMISED = re.compile(r"arn:aws:states:::([a-z]+):([A-Za-z]+)(?:\.waitForTaskToken)?")
_FUNCTION = re.compile(r"arn:aws:lambda:[^:]+:\d+:function:.+")
_ACTIONS = {
    "lambda:invoke": "lambda:InvokeFunction",
    "sns:publish": "sns:Publish",
    "sqs:sendMessage": "sqs:SendMessage",
    "events:putEvents": "events:PutEvents",
    "states:startExecution": "states:StartExecution",
}
_CLIENTS = {"sfn": "stepfunctions"}  # where Step Functions' name is not botocore's


def uses(definition: Mapping[str, Any], machine: str) -> Iterator[Use]:
    """Of every task, nested ones too. Raises ValueError of an integration not known here."""
    for name, state in definition["States"].items():
        where = f"{machine} state {name!r}"
        if state["Type"] == "Task":
            yield _of_task(state, where)
        for branch in state.get("Branches", ()):
            yield from uses(branch, machine)
        for key in ("ItemProcessor", "Iterator"):
            if key in state:
                yield from uses(state[key], machine)


def _of_task(state: Mapping[str, Any], where: str) -> Use:
    resource = state["Resource"]
    parameters = state.get("Parameters", {})
    texts = {key: value for key, value in parameters.items() if isinstance(value, str)}
    if _FUNCTION.fullmatch(resource):
        return Use("lambda:InvokeFunction", where, arguments={"FunctionName": resource})
    if sdk := _SDK.fullmatch(resource):
        service = _CLIENTS.get(sdk[1], sdk[1])
        if service not in get_session().get_available_services():
            raise ValueError(f"{where}: the SDK has no service {sdk[1]}")
        method = xform_name(sdk[2][0].upper() + sdk[2][1:])
        if method not in iam.methods(service):
            raise ValueError(f"{where}: {sdk[1]} has no operation {sdk[2]}")
        return Use(iam.action_of(service, method), where, arguments=texts)
    known = _OPTIMISED.fullmatch(resource)
    if known is None or f"{known[1]}:{known[2]}" not in _ACTIONS:
        raise ValueError(f"{where}: what {resource} needs is not known here; add it")
    return Use(_ACTIONS[f"{known[1]}:{known[2]}"], where, arguments=texts)
