"""CloudFormation in one region."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from ops.deploy.aws_client import Client
from ops.deploy.facts import Change, ChangeSet, CloudError, Event, Resource, Stack, Submission

_CAPABILITIES = ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"]


class AwsStacks:
    """See the port."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def find(self, name_or_id: str) -> Stack | None:
        try:
            found = self._client.call("describe_stacks", StackName=name_or_id)["Stacks"]
        except CloudError as error:
            if error.code == "ValidationError" and "does not exist" in str(error):
                return None
            raise
        return _stack(found[0]) if found else None

    def events(self, stack_id: str, since: datetime | None) -> Sequence[Event]:
        newest_first = []
        for one in self._client.pages("describe_stack_events", "StackEvents", StackName=stack_id):
            if since is not None and one["Timestamp"] < since:
                break
            newest_first.append(_event(one))
        return newest_first[::-1]

    def resources(self, stack_id: str) -> Sequence[Resource]:
        found = self._client.pages(
            "list_stack_resources", "StackResourceSummaries", StackName=stack_id
        )
        return [
            Resource(one["LogicalResourceId"], one["PhysicalResourceId"], one["ResourceType"])
            for one in found
            if one.get("PhysicalResourceId")
        ]

    def propose(self, change_set: str, asked: Submission, *, create: bool, nested: bool) -> None:
        key = "TemplateURL" if asked.template.startswith("https://") else "TemplateBody"
        more = {"IncludeNestedStacks": True} if nested else {}
        self._client.call(
            "create_change_set",
            StackName=asked.stack,
            ChangeSetName=change_set,
            ChangeSetType="CREATE" if create else "UPDATE",
            Parameters=[
                {"ParameterKey": name, "UsePreviousValue": True}
                if value is None
                else {"ParameterKey": name, "ParameterValue": value}
                for name, value in asked.parameters.items()
            ],
            Tags=[{"Key": key, "Value": value} for key, value in asked.tags.items()],
            Capabilities=_CAPABILITIES,
            **{key: asked.template},
            **more,
        )

    def proposed(self, stack: str, change_set: str) -> ChangeSet:
        changes: list[Change] = []
        # by its id alone where it has one: a nested stack's lies in a stack of another name
        which = {"ChangeSetName": change_set}
        if not change_set.startswith("arn:"):
            which["StackName"] = stack
        while True:
            answer = self._client.call("describe_change_set", **which)
            changes += [_change(one["ResourceChange"]) for one in answer.get("Changes", ())]
            if "NextToken" not in answer:
                reason = answer.get("StatusReason", "")
                return ChangeSet(answer["Status"], reason, tuple(changes))
            which["NextToken"] = answer["NextToken"]

    def execute(self, stack: str, change_set: str) -> None:
        self._client.call("execute_change_set", StackName=stack, ChangeSetName=change_set)

    def discard(self, stack: str, change_set: str) -> None:
        self._client.call("delete_change_set", StackName=stack, ChangeSetName=change_set)

    def delete(self, stack_id: str) -> None:
        self._client.call("delete_stack", StackName=stack_id)


def _stack(one: dict[str, Any]) -> Stack:
    return Stack(
        id=one["StackId"],
        name=one["StackName"],
        status=one["StackStatus"],
        reason=one.get("StackStatusReason") or "",
        outputs={o["OutputKey"]: o["OutputValue"] for o in one.get("Outputs", ())},
        parameters={
            p["ParameterKey"]: p.get("ParameterValue", "") for p in one.get("Parameters", ())
        },
    )


def _event(one: dict[str, Any]) -> Event:
    return Event(
        id=one["EventId"],
        at=one["Timestamp"],
        stack_id=one["StackId"],
        resource=one.get("LogicalResourceId", ""),
        kind=one.get("ResourceType", ""),
        status=one.get("ResourceStatus", ""),
        reason=one.get("ResourceStatusReason") or "",
        physical_id=one.get("PhysicalResourceId") or "",
    )


def _change(one: dict[str, Any]) -> Change:
    return Change(
        action=one["Action"],
        resource=one["LogicalResourceId"],
        kind=one["ResourceType"],
        replacement=one.get("Replacement", ""),
        nested=one.get("ChangeSetId", ""),
    )
