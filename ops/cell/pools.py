"""The template's pools as Auto Scaling groups of the local AWS, sized for a desk.

A pool is what the template deploys ``infra/gpu_pool.yaml`` as: its groups, hooks and tags are that
template's own. Alarms, logs and what a node's first script does are left to AWS.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ops.cell.deploy import LocalAws
from ops.cell.intrinsics import ACCOUNT_ID, Resolver
from ops.cell.template import Template

STACK = "AWS::CloudFormation::Stack"
_IMAGE = "ami-0123456789abcdef0"
_POOL = "infra/gpu_pool.yaml"
_WHOLE = ("MinSize", "MaxSize", "DesiredCapacity", "DefaultInstanceWarmup")
_KEPT = (
    *_WHOLE, "AutoScalingGroupName", "NewInstancesProtectedFromScaleIn", "CapacityRebalance",
    "HealthCheckType", "HealthCheckGracePeriod", "LifecycleHookSpecificationList",
    "MixedInstancesPolicy", "Tags",
)  # fmt: skip


def make_pools(aws: LocalAws, template: Template, parameters: Mapping[str, str]) -> tuple[str, ...]:
    """Makes every pool's launch template and group; the groups' names.

    Raises:
        TemplateError: a pool's properties refer to something that is not known here.
    """
    resolver = template.resolver(parameters, _network(aws.client("ec2")), aws.region)
    pool = Template(template.path.parent / _POOL)
    return tuple(
        _make(aws, pool, resolver.value(template.properties(name)["Parameters"], name), name)
        for name in template.present(STACK, resolver)
        if template.properties(name).get("TemplateURL") == _POOL
    )


def _network(ec2: Any) -> dict[str, Any]:
    """What the pools are given of other stacks; subnets and group are moto's default ones."""
    subnets = [one["SubnetId"] for one in ec2.describe_subnets()["Subnets"]]
    (group,) = ec2.describe_security_groups(
        Filters=[{"Name": "group-name", "Values": ["default"]}]
    )["SecurityGroups"]
    return {
        "Network.Outputs.PrivateSubnetIds": subnets,
        "Network.Outputs.WorkersGroupId": group["GroupId"],
        "WorkerProfile.Arn": f"arn:aws:iam::{ACCOUNT_ID}:instance-profile/worker",
        "Alarms.Outputs.TopicArn": "",
        "Key.Arn": "",
    }


def _make(aws: LocalAws, pool: Template, given: Mapping[str, str], name: str) -> str:
    # nothing of it but an image: what a node's first script does, the provisioner does here
    made = aws.client("ec2").create_launch_template(
        LaunchTemplateName=f"{given['CellName']}-{name}", LaunchTemplateData={"ImageId": _IMAGE}
    )
    known = {
        "LaunchTemplate": made["LaunchTemplate"]["LaunchTemplateId"],
        "LaunchTemplate.LatestVersionNumber": "1",
    }
    return _group(aws, pool, pool.resolver(given, known, aws.region))


def _group(aws: LocalAws, pool: Template, resolver: Resolver) -> str:
    written = pool.properties("Group")
    found = resolver.value({k: written[k] for k in _KEPT if k in written}, "Group")
    for key in _WHOLE:
        if key in found:
            found[key] = int(found[key])
    found["HealthCheckGracePeriod"] = int(found["HealthCheckGracePeriod"])
    for hook in found["LifecycleHookSpecificationList"]:
        hook["HeartbeatTimeout"] = int(hook["HeartbeatTimeout"])
    subnets = resolver.value(written["VPCZoneIdentifier"], "Group.VPCZoneIdentifier")
    aws.client("autoscaling").create_auto_scaling_group(
        **found, VPCZoneIdentifier=",".join(subnets)
    )
    return str(found["AutoScalingGroupName"])
