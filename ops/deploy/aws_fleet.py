"""Lambda, Auto Scaling, SQS and the account's limits in one region."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ops.deploy.aws_client import Client
from ops.deploy.facts import CloudError, Group, Instance, Queue

_HOOK = "terminating"  # of infra/gpu_pool.yaml
_AT_ONCE = 50  # SetInstanceProtection takes no more


class AwsFunctions:
    """See the port."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def invoke(self, name: str, payload: Mapping[str, Any]) -> Any:
        body = json.dumps(dict(payload)).encode()
        answer = self._client.call("invoke", FunctionName=name, Payload=body)
        said = answer["Payload"].read().decode()
        if "FunctionError" in answer:
            raise CloudError(answer["FunctionError"], f"function {name} failed: {said[:500]}")
        return json.loads(said or "null")


class AwsPools:
    """See the port."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def groups(self, cell: str) -> Sequence[Group]:
        found = self._client.pages(
            "describe_auto_scaling_groups",
            "AutoScalingGroups",
            Filters=[
                {"Name": "tag:rapido:cell", "Values": [cell]},
                {"Name": "tag-key", "Values": ["rapido:pool"]},
            ],
        )
        return [
            Group(
                one["AutoScalingGroupName"],
                tuple(
                    Instance(i["InstanceId"], i["LifecycleState"], i["ProtectedFromScaleIn"])
                    for i in one["Instances"]
                ),
            )
            for one in found
        ]

    def empty(self, group: str, instances: Sequence[str]) -> None:
        for at in range(0, len(instances), _AT_ONCE):
            self._client.call(
                "set_instance_protection",
                AutoScalingGroupName=group,
                InstanceIds=list(instances[at : at + _AT_ONCE]),
                ProtectedFromScaleIn=False,
            )
        self._client.call(
            "update_auto_scaling_group",
            AutoScalingGroupName=group,
            MinSize=0,
            DesiredCapacity=0,
            NewInstancesProtectedFromScaleIn=False,
        )

    def let_go(self, group: str, instance: str) -> None:
        self._client.found(
            ("ValidationError",),  # it went by itself
            "complete_lifecycle_action",
            AutoScalingGroupName=group,
            LifecycleHookName=_HOOK,
            InstanceId=instance,
            LifecycleActionResult="CONTINUE",
        )


class AwsQueues:
    """See the port."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def describe(self, url: str) -> Queue:
        answer = self._client.call("get_queue_attributes", QueueUrl=url, AttributeNames=["All"])
        held = answer["Attributes"]
        redrive = json.loads(held.get("RedrivePolicy", "{}"))
        return Queue(
            url,
            held["QueueArn"],
            int(held["ApproximateNumberOfMessages"]),
            str(redrive.get("deadLetterTargetArn", "")),
        )


class AwsLimits:
    """See the port."""

    def __init__(self, quotas: Client, ec2: Client) -> None:
        self._quotas = quotas
        self._ec2 = ec2

    def quota(self, service: str, code: str) -> float:
        asked = {"ServiceCode": service, "QuotaCode": code}
        # a quota that was never changed may be known by its default only
        answer = self._quotas.found(("NoSuchResourceException",), "get_service_quota", **asked)
        if answer is None:
            answer = self._quotas.call("get_aws_default_service_quota", **asked)
        return float(answer["Quota"]["Value"])

    def offered(self, types: Sequence[str]) -> frozenset[str]:
        found = self._ec2.pages(
            "describe_instance_type_offerings",
            "InstanceTypeOfferings",
            LocationType="region",
            Filters=[{"Name": "instance-type", "Values": list(types)}],
        )
        return frozenset(str(one["InstanceType"]) for one in found)

    def networks(self) -> int:
        return sum(1 for _ in self._ec2.pages("describe_vpcs", "Vpcs"))

    def addresses(self) -> int:
        return len(self._ec2.call("describe_addresses")["Addresses"])
