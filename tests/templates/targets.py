"""On what a call works: the ARN that a policy has to cover."""

from __future__ import annotations

import re

from ops.cell.intrinsics import ACCOUNT_ID
from tests.templates.objects import Use

_NAMED_BY = {
    "kms:Decrypt": "KeyId",
    "lambda:InvokeFunction": "FunctionName",
    "secretsmanager:GetSecretValue": "SecretId",
    "sqs:SendMessage": "QueueUrl",
    "states:DescribeStateMachine": "stateMachineArn",
    "states:StartExecution": "stateMachineArn",
    "sts:AssumeRole": "RoleArn",
}
_QUEUE_URL = re.compile(r"https://sqs\.([a-z0-9-]+)\.amazonaws\.com/(\d+)/(.+)")


def of(use: Use, region: str) -> str | None:
    """None where the call's own text does not say."""
    text = use.arguments.get(_NAMED_BY.get(use.action, ""), "")
    if not text:
        return None
    if url := _QUEUE_URL.fullmatch(text):
        return f"arn:aws:sqs:{url[1]}:{url[2]}:{url[3]}"
    if text.startswith("arn:"):
        return text
    if use.action == "secretsmanager:GetSecretValue":
        return f"arn:aws:secretsmanager:{region}:{ACCOUNT_ID}:secret:{text}-AbCdEf"
    return None
