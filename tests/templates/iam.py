"""What a role may do, and the names IAM has for what programs call."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cfnlint
from botocore import xform_name
from botocore.session import Session, get_session
from moto.iam.aws_managed_policies import aws_managed_policies_data

from tests.templates.rendering import Stack

_OWN_OF_AWS = re.compile(r"arn:aws:iam::aws:policy/(?:[\w-]+/)?(\w+)")
# where IAM's name is not that of the operation
_OTHER_NAMES = {
    "lambda:Invoke": "lambda:InvokeFunction",
    "s3:HeadObject": "s3:GetObject",
    "s3:ListObjectsV2": "s3:ListBucket",
    "sqs:DeleteMessageBatch": "sqs:DeleteMessage",
    "sqs:SendMessageBatch": "sqs:SendMessage",
}
_OTHER_PREFIXES = {"monitoring": "cloudwatch"}


@dataclass(frozen=True)
class Grant:
    """One action on some resources; ``source`` is the policy, ``of_aws`` for one that AWS keeps."""

    action: str
    resources: tuple[str, ...]
    source: str
    of_aws: bool = False

    def covers(self, arn: str) -> bool:
        """Whether the resources include this one."""
        return any(matches(pattern, arn) for pattern in self.resources)


def matches(pattern: str, arn: str) -> bool:
    """As IAM compares: ``*`` is any text, ``?`` one character."""
    form = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(form, arn, re.DOTALL) is not None


def grants(root: Stack, role: Mapping[str, Any]) -> list[Grant]:
    """All that a role's own, attached and AWS's policies allow.

    Raises ValueError of what this does not read: denials, exceptions, policies from elsewhere.
    """
    found = [
        grant
        for policy in role.get("Policies", ())
        for grant in _statements(policy["PolicyDocument"], policy["PolicyName"])
    ]
    for arn in role.get("ManagedPolicyArns", ()):
        found += _attached(root, arn)
    return found


def _attached(root: Stack, arn: str) -> list[Grant]:
    if known := _OWN_OF_AWS.fullmatch(arn):
        return list(_statements(_policies_of_aws()[known[1]]["Document"], known[1], of_aws=True))
    for stack in root.all():
        for name, policy in stack.of_type("AWS::IAM::ManagedPolicy"):
            if stack.reference(name) == arn:
                return list(_statements(policy["PolicyDocument"], name))
    raise ValueError(f"no policy {arn} is known here")


def _statements(
    document: Mapping[str, Any], source: str, *, of_aws: bool = False
) -> Iterator[Grant]:
    for one in listed(document["Statement"]):
        if one["Effect"] != "Allow" or "NotAction" in one or "NotResource" in one:
            raise ValueError(f"{source}: only plain Allow statements are read here")
        for action in listed(one["Action"]):
            yield Grant(action, tuple(listed(one["Resource"])), source, of_aws)


def listed(value: Any) -> list[Any]:
    """One or several, as policies have it."""
    return value if isinstance(value, list) else [value]


@cache
def _policies_of_aws() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(aws_managed_policies_data)
    return found


def of_aws(name: str) -> frozenset[str]:
    """The actions of a policy that AWS keeps for a service of its own."""
    document = _policies_of_aws()[name]["Document"]
    return frozenset(grant.action for grant in _statements(document, name))


@cache
def _reference() -> dict[str, Any]:
    """The service authorization reference as cfn-lint ships it."""
    path = Path(cfnlint.__file__).parent / "data" / "AdditionalSpecs" / "Policies.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def exists(action: str) -> bool:
    """Whether IAM knows it."""
    service, _, name = action.partition(":")
    return name.lower() in _reference().get(service, {}).get("Actions", {})


def takes_resources(action: str) -> bool:
    """Whether a policy can say on which resources."""
    service, _, name = action.partition(":")
    return bool(_reference()[service]["Actions"][name.lower()].get("Resources"))


@cache
def _session() -> Session:
    return get_session()


@cache
def _operations(service: str) -> dict[str, str]:
    """boto3's method names and the operations they call."""
    model = _session().get_service_model(service)
    return {xform_name(name): name for name in model.operation_names}


@cache
def methods(service: str) -> frozenset[str]:
    """What a boto3 client of the service can be asked to call."""
    return frozenset(_operations(service))


@cache
def action_of(service: str, method: str) -> str:
    """IAM's name of a boto3 method. Raises ValueError where none is known."""
    signed_as = _session().get_service_model(service).signing_name
    prefix = _OTHER_PREFIXES.get(signed_as, signed_as)
    named = f"{prefix}:{_operations(service)[method]}"
    action = _OTHER_NAMES.get(named, named)
    if not exists(action):
        raise ValueError(f"IAM has no action {action}: say which one {service}.{method} needs")
    return action
