"""How Auto Scaling and EC2 put things: scaling activities, and the events of a node's life."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

LAUNCHING = "autoscaling:EC2_INSTANCE_LAUNCHING"
TERMINATING = "autoscaling:EC2_INSTANCE_TERMINATING"

Status = Literal["PreInService", "InProgress", "Successful", "Failed", "Cancelled"]


@dataclass
class Activity:
    """One scaling activity; the names are those of DescribeScalingActivities in snake case."""

    auto_scaling_group_name: str
    description: str
    cause: str
    start_time: datetime
    status_code: Status
    details: str
    status_message: str = ""
    progress: int = 0
    end_time: datetime | None = None
    activity_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    def end(self, status: Status, at: datetime, message: str = "") -> None:
        """It goes on no more."""
        self.status_code, self.end_time, self.progress = status, at, 100
        if message:
            self.status_message = message


def moment(now_s: float) -> datetime:
    """As the API's answers carry it."""
    return datetime.fromtimestamp(now_s, UTC)


def launch(group: str, desired: int, held: int, zone: str, subnet: str, at: datetime) -> Activity:
    """A launch that begins."""
    return Activity(
        auto_scaling_group_name=group,
        description="Launching a new EC2 instance",
        cause=(
            f"At {at:%Y-%m-%dT%H:%M:%SZ} an instance was started in response to a difference "
            f"between desired and actual capacity, increasing the capacity from {held} to "
            f"{min(desired, held + 1)}."
        ),
        start_time=at,
        status_code="InProgress",
        details=json.dumps({"Subnet ID": subnet, "Availability Zone": zone}),
    )


def termination(group: str, node: str, why: str, zone: str, at: datetime) -> Activity:
    """A termination that begins; ``why`` as in "in response to a user request"."""
    return Activity(
        auto_scaling_group_name=group,
        description=f"Terminating EC2 instance: {node}",
        cause=f"At {at:%Y-%m-%dT%H:%M:%SZ} instance {node} was taken out of service {why}.",
        start_time=at,
        status_code="InProgress",
        details=json.dumps({"Availability Zone": zone}),
    )


def no_capacity(instance_type: str, zone: str, spot: bool) -> str:
    """What an activity says that could not launch."""
    if spot:
        return (
            "Could not launch Spot Instances. InsufficientInstanceCapacity - There is no Spot "
            "capacity available that matches your request. Launching EC2 instance failed."
        )
    return (
        f"We currently do not have sufficient {instance_type} capacity in the Availability Zone "
        f"you requested ({zone}). Our system will be working on provisioning additional capacity. "
        "Launching EC2 instance failed."
    )


def told_of(activity: Activity, node: str) -> dict[str, Any]:
    """The detail of EC2 Instance Launch and Terminate, Successful and Unsuccessful."""
    ended = activity.end_time or activity.start_time
    return {
        "StatusCode": "Failed" if activity.status_code == "Failed" else "Successful",
        "AutoScalingGroupName": activity.auto_scaling_group_name,
        "ActivityId": activity.activity_id,
        "RequestId": activity.activity_id,
        "Details": json.loads(activity.details),
        "StatusMessage": activity.status_message,
        "Description": activity.description,
        "Cause": activity.cause,
        "StartTime": f"{activity.start_time:%Y-%m-%dT%H:%M:%S.000Z}",
        "EndTime": f"{ended:%Y-%m-%dT%H:%M:%S.000Z}",
        "EC2InstanceId": node,
    }


def at_hook(group: str, node: str, hook: str, transition: str, token: str) -> dict[str, Any]:
    """The detail of a lifecycle action."""
    comes = transition == LAUNCHING
    return {
        "LifecycleActionToken": token,
        "AutoScalingGroupName": group,
        "LifecycleHookName": hook,
        "EC2InstanceId": node,
        "LifecycleTransition": transition,
        "Origin": "EC2" if comes else "AutoScalingGroup",
        "Destination": "AutoScalingGroup" if comes else "EC2",
    }
