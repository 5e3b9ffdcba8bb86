"""Makes the template's queues, secret, state machines and rules in the local AWS."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import boto3

from ops.cell.intrinsics import ACCOUNT_ID
from ops.cell.template import Deployment, Queue, function_arn, machine_arn

_ROLE = f"arn:aws:iam::{ACCOUNT_ID}:role/local"


class LocalAws:
    """Clients of one local AWS, by its address."""

    def __init__(self, url: str, region: str) -> None:
        self.url = url
        self.region = region
        self._options = {
            "endpoint_url": url,
            "region_name": region,
            "aws_access_key_id": "local",
            "aws_secret_access_key": "local",
        }

    def client(self, service: str) -> Any:
        """A boto3 client that speaks to this machine."""
        make: Any = boto3.client
        return make(service, **self._options)

    @cached_property
    def _scaling(self) -> Any:
        return self.client("autoscaling")

    def groups(self, cell: str) -> list[dict[str, Any]]:
        """The cell's pools, as DescribeAutoScalingGroups has them."""
        ours = [{"Name": "tag:rapido:cell", "Values": [cell]}]
        answer = self._scaling.describe_auto_scaling_groups(Filters=ours)
        found: list[dict[str, Any]] = answer["AutoScalingGroups"]
        return found

    def put_secret(self, name: str, value: Mapping[str, str]) -> None:
        """A secret with JSON content."""
        client = self.client("secretsmanager")
        client.create_secret(Name=name, SecretString=json.dumps(dict(value)))

    def make_queues(self, queues: Mapping[str, Queue]) -> None:
        """All queues, then who takes whose dead letters: a target must exist first."""
        client = self.client("sqs")
        urls = {}
        for queue in queues.values():
            plain = {k: v for k, v in queue.attributes.items() if k != "RedrivePolicy"}
            answer = client.create_queue(QueueName=queue.name, Attributes=plain)
            urls[queue.logical_id] = answer["QueueUrl"]
        for queue in queues.values():
            if "RedrivePolicy" in queue.attributes:
                policy = {"RedrivePolicy": queue.attributes["RedrivePolicy"]}
                client.set_queue_attributes(QueueUrl=urls[queue.logical_id], Attributes=policy)

    def make_state_machines(self, deployment: Deployment) -> None:
        """All state machines, by the names the template gives."""
        client = self.client("stepfunctions")
        for machine in deployment.state_machines.values():
            client.create_state_machine(
                name=machine.name, definition=machine.definition, roleArn=_ROLE
            )

    def make_rules(self, deployment: Deployment) -> None:
        """What EventBridge tells functions and state machines of."""
        client = self.client("events")
        machines, functions = deployment.state_machines.values(), deployment.functions.values()
        sources = [(machine_arn(self.region, one.name), one.rules) for one in machines]
        sources += [(function_arn(self.region, one.name), one.rules) for one in functions]
        for arn, rules in sources:
            for rule in rules:
                client.put_rule(Name=rule.name, EventPattern=json.dumps(rule.pattern))
                target = {"Id": "target", "Arn": arn}
                if rule.input is not None:
                    target["Input"] = rule.input
                client.put_targets(Rule=rule.name, Targets=[target])


def queue_urls(deployment: Deployment, aws_url: str) -> dict[str, str]:
    """What ``!Ref QUEUE`` gives on this machine, by logical id."""
    return {
        queue.logical_id: f"{aws_url}/{ACCOUNT_ID}/{queue.name}"
        for queue in deployment.queues.values()
    }


def warm_up(aws: LocalAws) -> None:
    """Runs one execution that calls a function which does not exist, and forgets it.

    moto loads its interpreter and makes its clients at the first execution: no session pays that.
    """
    client = aws.client("stepfunctions")
    task = {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke",
        "Parameters": {"FunctionName": "warm-up", "Payload": {}},
        "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Done"}],
        "Next": "Done",
    }
    states = {"StartAt": "Call", "States": {"Call": task, "Done": {"Type": "Succeed"}}}
    machine = client.create_state_machine(
        name="warm-up", definition=json.dumps(states), roleArn=_ROLE
    )["stateMachineArn"]
    client.start_execution(stateMachineArn=machine, name="warm-up", input="{}")
    client.delete_state_machine(stateMachineArn=machine)
