"""All groups of a region, and what is asked of them that moto lacks or does otherwise."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Sequence
from typing import Any

from moto.autoscaling import models, urls
from moto.autoscaling.exceptions import ValidationError
from moto.autoscaling.models import AutoScalingBackend, InstanceState, autoscaling_backends
from moto.autoscaling.responses import AutoScalingResponse
from moto.core.responses import ActionResult, EmptyResult
from moto.ec2.models.instances import Instance

from ops.cell.aws_gaps.group import LocalGroup, Surroundings
from ops.cell.aws_gaps.words import Activity

SETTLE_EVERY_S = 0.2


class LocalGroups(AutoScalingBackend):
    """moto's groups under one lock: a request and the clock may want the same one at once."""

    __module__ = AutoScalingBackend.__module__  # beside which moto looks for the routes
    autoscaling_groups: dict[str, LocalGroup]  # type: ignore[assignment]

    def __init__(self, region_name: str, account_id: str) -> None:
        super().__init__(region_name, account_id)
        self.lock = threading.RLock()

    def settle(self) -> None:
        """As ``LocalGroup.settle``, all of them."""
        with self.lock:
            for group in list(self.autoscaling_groups.values()):
                group.settle(time.time())

    def find(self, node: str) -> tuple[LocalGroup, InstanceState]:
        """The group that has the node. Raises ValidationError."""
        for group in self.autoscaling_groups.values():
            for state in group.instance_states:
                if state.instance_id == node:
                    return group, state
        raise ValidationError(
            f"Instance Id not found - No managed instance found for instance ID: {node}"
        )

    def terminate(self, node: str, should_decrement: bool) -> Activity:
        """The activity that ends once its hook lets the node go."""
        with self.lock:
            group, state = self.find(node)
            going = state.lifecycle_state.startswith("Terminat")
            if should_decrement and not going:
                desired = group.desired_capacity or 0
                if desired <= (group.min_size or 0):
                    raise ValidationError(
                        f"Currently, desiredSize equals minSize ({group.min_size}). Terminating "
                        "instance without replacement will violate group's min size constraint. "
                        "Either set shouldDecrementDesiredCapacity flag to false or lower group's "
                        "min size."
                    )
                group.desired_capacity = desired - 1
            activity = group.leave(state, "in response to a user request")
            group.settle(time.time())
            return activity

    def set_desired_capacity(self, group_name: str, desired_capacity: int | None) -> None:
        """Raises ValidationError: no such group, or outside of its bounds."""
        with self.lock:
            if group_name not in self.autoscaling_groups:
                raise ValidationError("AutoScalingGroup name not found - null")
            group = self.autoscaling_groups[group_name]
            group.set_desired_capacity(desired_capacity)
            group.settle(time.time())

    def update_auto_scaling_group(self, name: str, **given: Any) -> Any:  # type: ignore[override]
        """moto's, and what follows from it."""
        with self.lock:
            group = super().update_auto_scaling_group(name=name, **given)
            self.autoscaling_groups[name].settle(time.time())
            return group

    def delete_auto_scaling_group(self, group_name: str) -> None:
        """Its nodes go with it, protected or not."""
        with self.lock:
            if (group := self.autoscaling_groups.get(group_name)) is not None:
                for hook in self.describe_lifecycle_hooks(group_name):
                    self.delete_lifecycle_hook(group_name, hook.name)
                group.min_size = 0
                group.forget()
            super().delete_auto_scaling_group(group_name)

    def notify_terminate_instances(self, instance_ids: list[str]) -> None:
        """EC2 ended them, whoever asked: their groups find them unhealthy."""
        with self.lock:
            for node in instance_ids:
                try:
                    group, state = self.find(node)
                except ValidationError:
                    continue
                self._tell_of(state.instance)
                state.health_status = "Unhealthy"
                group.settle(time.time())

    def end_machine(self, instance: Instance) -> None:
        """The group lets it go: EC2 ends it, where it has not already."""
        if instance.state != "terminated":
            self.ec2_backend.terminate_instances([instance.id])
            self._tell_of(instance)

    def activities(self, names: Sequence[str], wanted: Sequence[str]) -> list[Activity]:
        """Of these groups, or all; of these ids, or all; the newest first."""
        with self.lock:
            groups = self.autoscaling_groups.values()
            found = [a for g in groups if not names or g.name in names for a in g.activities]
        chosen = [one for one in found if not wanted or one.activity_id in wanted]
        return sorted(chosen, key=lambda one: one.start_time, reverse=True)

    def _tell_of(self, instance: Instance) -> None:
        arn = f"arn:aws:ec2:{self.region_name}:{self.account_id}:instance/{instance.id}"
        for state in ("shutting-down", "terminated"):
            detail = {"instance-id": instance.id, "state": state}
            what = "EC2 Instance State-change Notification"
            LocalGroup.around.emit(self.region_name, "aws.ec2", what, [arn], detail)


def _backend(response: AutoScalingResponse) -> LocalGroups:
    backend = response.autoscaling_backend
    assert isinstance(backend, LocalGroups)
    return backend


class Calls(AutoScalingResponse):
    """The calls that moto lacks, or answers otherwise than AWS."""

    def create_auto_scaling_group(self) -> ActionResult:
        """With its hooks, before its first node."""
        backend, name = _backend(self), self._get_param("AutoScalingGroupName")
        with backend.lock:
            result = super().create_auto_scaling_group()
            for hook in self._get_param("LifecycleHookSpecificationList", []):
                backend.create_lifecycle_hook(
                    name=hook["LifecycleHookName"],
                    as_name=name,
                    transition=hook["LifecycleTransition"],
                    timeout=hook.get("HeartbeatTimeout"),
                    result=hook.get("DefaultResult"),
                )
            backend.autoscaling_groups[name].settle(time.time())
        return result

    def terminate_instance_in_auto_scaling_group(self) -> ActionResult:
        """Its hook is waited for."""
        decrement = self._get_bool_param("ShouldDecrementDesiredCapacity", False)
        activity = _backend(self).terminate(self._get_param("InstanceId"), decrement)
        return ActionResult({"Activity": activity})

    def describe_scaling_activities(self) -> ActionResult:
        """A page of them, at most a hundred."""
        name, start = self._get_param("AutoScalingGroupName"), int(self._get_param("NextToken", 0))
        names, wanted = [name] if name else [], self._get_param("ActivityIds", [])
        found = _backend(self).activities(names, wanted)
        end = start + min(100, self._get_int_param("MaxRecords", 100))
        token = str(end) if len(found) > end else None
        return ActionResult({"Activities": found[start:end], "NextToken": token})

    def complete_lifecycle_action(self) -> ActionResult:
        """Raises ValidationError where it is over already."""
        backend = _backend(self)
        with backend.lock:
            group, action = self._action(backend)
            result = self._get_param("LifecycleActionResult")
            if result not in ("CONTINUE", "ABANDON"):
                raise ValidationError(f"{result} is not a valid lifecycle action result")
            group.end_action(action, result)
            group.settle(time.time())
        return EmptyResult()

    def record_lifecycle_action_heartbeat(self) -> ActionResult:
        """Raises ValidationError where it is over already."""
        backend = _backend(self)
        with backend.lock:
            group, action = self._action(backend)
            group.beat(action)
        return EmptyResult()

    def _action(self, backend: LocalGroups) -> Any:
        name, hook = self._get_param("AutoScalingGroupName"), self._get_param("LifecycleHookName")
        token, node = self._get_param("LifecycleActionToken"), self._get_param("InstanceId")
        group = backend.autoscaling_groups.get(name)
        if group is None:
            raise ValidationError("AutoScalingGroup name not found - null")
        if node is None:
            node = next((a.node for a in group.actions.values() if a.token == token), "")
        return group, group.action(node, token, hook)


def install(around: Surroundings) -> None:
    """moto's groups are these from now on; to be called before the first one is made."""
    LocalGroup.around = around
    autoscaling_backends.backend = LocalGroups
    models.FakeAutoScalingGroup = LocalGroup  # type: ignore[misc]
    urls.url_paths["{0}/$"] = Calls.dispatch
    threading.Thread(target=_keep, name="groups", daemon=True).start()


def _keep() -> None:
    while True:
        time.sleep(SETTLE_EVERY_S)
        for _, _, backend in list(autoscaling_backends.iter_backends()):
            assert isinstance(backend, LocalGroups)
            try:
                backend.settle()
            except Exception:  # noqa: BLE001 (the next round tries again; the log says what it was)
                sys.stderr.write(traceback.format_exc())
