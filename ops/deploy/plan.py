"""``rapido plan``: what a deploy would change, by change sets that are made, shown and deleted."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.cell.intrinsics import Resolver, pseudo_parameters
from ops.deploy import names, parameters
from ops.deploy.cell_parameters import (
    Parameters,
    Shared,
    artifacts_parameters,
    cell_parameters,
    edge_parameters,
    livekit_parameters,
)
from ops.deploy.cell_template import ARTIFACTS, CELL, EDGE, LIVEKIT
from ops.deploy.events import NESTED
from ops.deploy.facts import Change, Stack, Submission
from ops.deploy.pace import Pace
from ops.deploy.packaging import Packager
from ops.deploy.parameters import read_template
from ops.deploy.ports import Cloud, Region
from ops.deploy.progress import Tell
from ops.deploy.settings import Wanted
from ops.deploy.stacks import Driver, StackFailed, is_empty
from ops.deploy.states import Move, next_move

STATEFUL = {
    "AWS::AutoScaling::AutoScalingGroup": "its nodes end, with the lessons on them",
    "AWS::EC2::VPC": "everything in it is made anew",
    "AWS::ECR::Repository": "it holds images",
    "AWS::ElastiCache::ReplicationGroup": "it holds leases: every session is lost",
    "AWS::ElastiCache::ServerlessCache": "it holds leases: every session is lost",
    "AWS::KMS::Key": "what it encrypted cannot be read without it",
    "AWS::RDS::DBInstance": "it holds sessions' history and keys",
    "AWS::S3::Bucket": "it holds objects",
    "AWS::SQS::Queue": "messages in it are lost",
    "AWS::SecretsManager::Secret": "its value is another",
    "AWS::Serverless::StateMachine": "runs under way end",
    "AWS::StepFunctions::StateMachine": "runs under way end",
}


@dataclass(frozen=True)
class Row:
    """A resource that would change; ``danger`` says what is lost where it holds something."""

    region: str
    stack: str
    action: str
    resource: str
    kind: str
    danger: str = ""


class Planner:
    """Looks at one region after the other; nothing that serves is touched. Raises CloudError."""

    def __init__(self, wanted: Wanted, cloud: Cloud, zone_id: str, tell: Tell, pace: Pace) -> None:
        self._wanted = wanted
        self._cloud = cloud
        secret = cloud.region(wanted.home).secrets.current(names.edge_secret(wanted.stage))
        self._shared = Shared(zone_id, secret.version if secret else "")
        self._tell = tell
        self._pace = pace

    def region(self, region: str, packager: Packager) -> list[Row]:
        """The region's stacks. Raises StackFailed, CloudError, Stopped."""
        here, cell = self._cloud.region(region), self._wanted.cell(region)
        name = names.artifacts_stack(cell)
        rows = self._body(here, name, ARTIFACTS, artifacts_parameters(cell))
        bucket = _output(here.stacks.find(name), "BucketName")
        livekit, more = self._livekit(here)
        given = cell_parameters(
            self._wanted, region, self._shared, bucket=bucket or "new", livekit=livekit
        )
        if bucket is None:
            return rows + more + _new(region, names.cell_stack(cell), CELL, given)
        url = packager.upload(here.objects, bucket, region).template_url
        return rows + more + self._stack(here, names.cell_stack(cell), url, CELL, given)

    def edge(self) -> list[Row]:
        """The public address's stack. Raises as ``region``."""
        here = self._cloud.region(names.EDGE_REGION)
        given = edge_parameters(self._wanted, self._shared)
        return self._body(here, names.edge_stack(self._wanted.stage), EDGE, given)

    def _livekit(self, here: Region) -> tuple[tuple[str, str] | None, list[Row]]:
        livekit = self._wanted.livekit
        if livekit is None:
            return None, []
        if not livekit.own:
            return (livekit.urls[here.name], livekit.secret), []
        name = names.livekit_stack(self._wanted.cell(here.name))
        given = livekit_parameters(self._wanted, here.name, self._shared)
        rows = self._body(here, name, LIVEKIT, given)
        stack = here.stacks.find(name)
        url, secret = _output(stack, "Url"), _output(stack, "SecretId")
        return (url or "wss://new", secret or "new"), rows

    def _body(self, here: Region, name: str, template: Path, given: Parameters) -> list[Row]:
        return self._stack(here, name, parameters.body(template), template, given)

    def _stack(
        self, here: Region, name: str, source: str, template: Path, given: Parameters
    ) -> list[Row]:
        stack = here.stacks.find(name)
        move = next_move(stack)
        if stack is None or move in (Move.CREATE, Move.REPLACE):
            return _new(here.name, name, template, given)
        if move is not Move.UPDATE:
            todo = "wait for its end" if move is Move.JOIN else "see rapido status"
            raise StackFailed(name, f"it is {stack.status}, so that nothing can be planned", todo)
        has = {k: v for k, v in given.items() if v is not None or k in stack.parameters}
        asked = Submission(name, source, has)
        return [_row(here.name, where, one) for where, one in self._changes(here, asked)]

    def _changes(self, here: Region, asked: Submission) -> list[tuple[str, Change]]:
        """Of the stack and those nested in it, each with its stack's name."""
        driver = Driver(here.name, here.stacks, self._tell, self._pace)
        for nested in (True, False):
            name = f"rapido-plan-{uuid.uuid4().hex[:12]}"
            here.stacks.propose(name, asked, create=False, nested=nested)
            try:
                proposal = driver.settled_proposal(asked.stack, name)
                if proposal.status == "CREATE_COMPLETE":
                    return list(_flat(here, asked.stack, proposal.changes))
            finally:
                here.stacks.discard(asked.stack, name)
            # where one nested stack changes nothing, CloudFormation may refuse the whole
            if is_empty(proposal) and "ested" not in proposal.reason:
                return []
        raise StackFailed(asked.stack, proposal.reason, "correct that and plan again")


def _flat(here: Region, stack: str, changes: Iterable[Change]) -> Iterable[tuple[str, Change]]:
    for one in changes:
        if one.nested:
            inner = here.stacks.proposed(stack, one.nested).changes
            yield from _flat(here, f"{stack}/{one.resource}", inner)
        else:
            yield stack, one


def _row(region: str, stack: str, change: Change) -> Row:
    action = {"Add": "add", "Remove": "remove"}.get(change.action, "change")
    if change.kind == NESTED and action == "change":
        action = "may change"  # it was not looked into
    if change.replacement == "True":
        action = "replace"
    elif change.replacement == "Conditional":
        action = "may replace"
    harmless = ("add", "change", "may change")
    lost = "" if action in harmless else STATEFUL.get(change.kind, "")
    return Row(region, stack, action, change.resource, change.kind, lost)


def _new(region: str, stack: str, template: Path, given: Mapping[str, str | None]) -> list[Row]:
    """A stack that is not there: all that its template has under these parameters."""
    data = read_template(template)
    known: dict[str, Any] = {
        name: one.get("Default", "") for name, one in data.get("Parameters", {}).items()
    }
    known |= pseudo_parameters(region) | {k: v for k, v in given.items() if v is not None}
    resolver = Resolver(known, {}, data.get("Conditions", {}), data.get("Mappings", {}))
    return [
        Row(region, stack, "add", name, str(one["Type"]))
        for name, one in data["Resources"].items()
        if "Condition" not in one or resolver.condition(one["Condition"], f"{name}.Condition")
    ]


def _output(stack: Stack | None, name: str) -> str | None:
    return stack.outputs.get(name) if stack else None
