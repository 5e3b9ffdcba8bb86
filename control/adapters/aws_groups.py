"""The cell's pools: Auto Scaling groups with its tag, and their instances in EC2."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, TypeVar

from control.adapters.aws import client
from control.domain.fleet.catalogue import pool
from control.services.scaling_ports import (
    Group,
    GroupsAway,
    Instance,
    LaunchFailure,
    Shortage,
)

_CELL_TAG = "rapido:cell"
_POOL_TAG = "rapido:pool"
_GONE = ("Terminated", "Detached")
_RECENT = 50
"""Activities looked at a group; a group that fails tries again every few minutes."""
_KINDS: tuple[tuple[str, Shortage], ...] = (
    ("MaxSpotInstanceCountExceeded", "spot-quota"),
    ("Max spot instance count exceeded", "spot-quota"),
    ("VcpuLimitExceeded", "quota"),
    ("vCPU limit", "quota"),
    ("InstanceLimitExceeded", "quota"),
    ("InsufficientInstanceCapacity", "capacity"),
    ("UnfulfillableCapacity", "capacity"),
    ("do not have sufficient", "capacity"),
    ("no Spot capacity available", "capacity"),
)

Answer = TypeVar("Answer")


class ScalingPools:
    """The groups of one cell, as the port Groups says."""

    def __init__(self, cell: str) -> None:
        self._cell = cell

    @cached_property
    def _groups(self) -> Any:
        return client("autoscaling")

    @cached_property
    def _ec2(self) -> Any:
        return client("ec2")

    def pools(self) -> tuple[Group, ...]:
        """A group whose tag names no pool is nobody's to plan, and left out."""
        found = _asked(lambda: list(self._described()))
        launched = _asked(self._launched) if any(one["Instances"] for one in found) else {}
        return tuple(group for one in found if (group := _group(one, launched)) is not None)

    def _described(self) -> Iterator[dict[str, Any]]:
        ours = [{"Name": f"tag:{_CELL_TAG}", "Values": [self._cell]}]
        pages = self._groups.get_paginator("describe_auto_scaling_groups")
        for page in pages.paginate(Filters=ours):
            yield from page["AutoScalingGroups"]

    def _launched(self) -> dict[str, float]:
        ours = [
            {"Name": f"tag:{_CELL_TAG}", "Values": [self._cell]},
            {"Name": "instance-state-name", "Values": ["pending", "running"]},
        ]
        pages = self._ec2.get_paginator("describe_instances").paginate(Filters=ours)
        return {
            one["InstanceId"]: one["LaunchTime"].timestamp()
            for page in pages
            for reservation in page["Reservations"]
            for one in reservation["Instances"]
        }

    def grow(self, pool: str, desired: int) -> int:
        """Looked at anew right before: what somebody else wants meanwhile is not undone."""
        group = self._named(pool)
        wanted = min(desired, group.most)
        if wanted <= group.desired:
            return group.desired
        self._set(group, wanted)
        return wanted

    def settle(self, pool: str) -> int:
        group = self._named(pool)
        kept = max(group.least, group.there)
        if kept >= group.desired:
            return 0
        self._set(group, kept)
        return group.desired - kept

    def _set(self, group: Group, desired: int) -> None:
        name = group.name
        _asked(
            lambda: self._groups.set_desired_capacity(
                AutoScalingGroupName=name, DesiredCapacity=desired, HonorCooldown=False
            )
        )

    def _named(self, pool: str) -> Group:
        for told in _asked(lambda: list(self._described())):
            group = _group(told, {})
            if group is not None and group.pool.name == pool:
                return group
        raise GroupsAway(f"the cell {self._cell} has no group for the pool {pool}")

    def terminate(self, node_id: str, *, shrink: bool) -> bool:
        from botocore.exceptions import ClientError

        try:
            self._groups.terminate_instance_in_auto_scaling_group(
                InstanceId=node_id, ShouldDecrementDesiredCapacity=shrink
            )
        except ClientError as error:
            # unknown, going already, or the group would be under its minimum
            if error.response["Error"]["Code"] == "ValidationError":
                return False
            raise GroupsAway(str(error)) from error
        return True

    def failures(self, groups: Sequence[Group], since_s: float) -> tuple[LaunchFailure, ...]:
        found = [
            failure
            for group in groups
            for one in self._activities(group)
            if (failure := _failure(group, one)) is not None and failure.at_s >= since_s
        ]
        return tuple(sorted(found, key=lambda one: one.at_s))

    def _activities(self, group: Group) -> list[dict[str, Any]]:
        answer = _asked(
            lambda: self._groups.describe_scaling_activities(
                AutoScalingGroupName=group.name, MaxRecords=_RECENT
            )
        )
        found: list[dict[str, Any]] = answer["Activities"]
        return found

    def pool_of(self, node_id: str) -> str | None:
        answer = _asked(lambda: self._groups.describe_auto_scaling_instances(InstanceIds=[node_id]))
        prefix = f"rapido-{self._cell}-"
        for one in answer["AutoScalingInstances"]:
            name = str(one["AutoScalingGroupName"])
            if name.startswith(prefix) and _known(name.removeprefix(prefix)):
                return name.removeprefix(prefix)
        return None


def _asked(ask: Callable[[], Answer]) -> Answer:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return ask()
    except (BotoCoreError, ClientError) as error:
        raise GroupsAway(str(error)) from error


def _known(name: str) -> bool:
    try:
        pool(name)
    except ValueError:
        return False
    return True


def _group(told: dict[str, Any], launched: dict[str, float]) -> Group | None:
    tags = {one["Key"]: one["Value"] for one in told.get("Tags", ())}
    name = tags.get(_POOL_TAG, "")
    if not _known(name):
        return None
    instances = tuple(
        Instance(
            node_id=one["InstanceId"],
            zone=one["AvailabilityZone"],
            state=one["LifecycleState"],
            healthy=one["HealthStatus"].lower() == "healthy",
            launched_s=launched.get(one["InstanceId"]),
        )
        for one in told["Instances"]
        if one["LifecycleState"] not in _GONE
    )
    return Group(
        pool=pool(name),
        name=told["AutoScalingGroupName"],
        least=told["MinSize"],
        most=told["MaxSize"],
        desired=told["DesiredCapacity"],
        instances=instances,
    )


def _failure(group: Group, activity: dict[str, Any]) -> LaunchFailure | None:
    """None of an activity that did not fail, or launched nothing."""
    launching = str(activity.get("Description", "")).startswith("Launching")
    if activity.get("StatusCode") != "Failed" or not launching:
        return None
    text = str(activity.get("StatusMessage", ""))
    other: Shortage = "other"
    kind = next((kind for words, kind in _KINDS if words.lower() in text.lower()), other)
    start: datetime = activity["StartTime"]
    at = start if start.tzinfo else start.replace(tzinfo=UTC)
    return LaunchFailure(
        group.pool.name, _zone(activity.get("Details")), kind, at.timestamp(), text[:500]
    )


def _zone(details: str | None) -> str | None:
    try:
        zone = json.loads(details or "{}").get("Availability Zone")
    except (ValueError, AttributeError):
        return None
    return str(zone) if zone else None
