"""One Auto Scaling group: instances wait at its hooks, and a launch can find no capacity."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from moto.autoscaling.exceptions import ValidationError
from moto.autoscaling.models import (
    ASG_NAME_TAG,
    FakeAutoScalingGroup,
    InstanceState,
    LifecycleHook,
)
from moto.moto_api._internal import mock_random

from ops.cell.aws_gaps import words
from ops.cell.aws_gaps.words import Activity

RETRY_S = 10.0
"""How long after a launch that found no capacity the group tries again."""
_KEPT_ACTIVITIES = 500
_MACHINES = ("mixed_instances_policy", "launch_template", "launch_config_name")
_MOST_WAIT_S = 172_800
"""Two days, or a hundred heartbeats: no action goes on for longer, whoever beats."""


class Surroundings(Protocol):
    """What a group needs to know of the world."""

    def refuses(self, pool: str) -> bool:
        """Whether this launch finds no capacity; ``pool`` is TYPE-MARKET."""

    def cheapest_first(self, instance_type: str, region: str, zones: list[str]) -> list[str]:
        """The zones by their spot price."""

    def emit(
        self, region: str, source: str, detail_type: str, resources: list[str], detail: Any
    ) -> None:
        """To EventBridge."""


@dataclass
class Action:
    """A lifecycle action under way."""

    hook: LifecycleHook
    node: str
    until_s: float
    last_s: float
    token: str = field(default_factory=lambda: str(mock_random.uuid4()))


class LocalGroup(FakeAutoScalingGroup):
    """moto's group; ``settle`` makes what it has what it wants. The backend's lock is held."""

    around: Surroundings
    """Of all groups of this process."""

    def __init__(self, **given: Any) -> None:
        self.activities: deque[Activity] = deque(maxlen=_KEPT_ACTIVITIES)
        self.actions: dict[str, Action] = {}
        self._open: dict[str, Activity] = {}
        self._try_from_s = 0.0
        super().__init__(**given)
        self._places = itertools.cycle(self._zones())

    @property
    def spot(self) -> bool:
        """Whether everything above its base is spot, and there is no base."""
        shares = (self.mixed_instances_policy or {}).get("InstancesDistribution", {})
        above = int(shares.get("OnDemandPercentageAboveBaseCapacity", 100))
        return above == 0 and int(shares.get("OnDemandBaseCapacity", 0)) == 0

    @property
    def kind(self) -> str:
        """The instance type: the first override, else the launch template's."""
        overrides = (self.mixed_instances_policy or {}).get("LaunchTemplate", {}).get("Overrides")
        return str(overrides[0]["InstanceType"] if overrides else self.instance_type)

    @property
    def pool(self) -> str:
        """TYPE-MARKET."""
        return f"{self.kind}-{'spot' if self.spot else 'on-demand'}"

    def set_desired_capacity(self, new_capacity: int | None) -> None:
        """``settle`` does it; moto would launch and terminate at once."""
        wanted = (self.min_size if new_capacity is None else new_capacity) or 0
        least, most = self.min_size or 0, self.max_size or 0
        if not least <= (wanted or 0) <= most:
            beyond = (
                f"above max value {most}" if (wanted or 0) > most else f"below min value {least}"
            )
            raise ValidationError(
                f"New SetDesiredCapacity value {wanted} is {beyond} for the AutoScalingGroup."
            )
        self.desired_capacity = wanted

    def update(self, **given: Any) -> None:  # type: ignore[override]
        """moto's forgets the mix where a call does not name it again."""
        kept = self.mixed_instances_policy
        super().update(**given)
        if not any(given.get(one) for one in _MACHINES):
            self.mixed_instances_policy = kept

    def held(self) -> list[InstanceState]:
        """Instances that count: what is about to go is not among them."""
        return [s for s in self.instance_states if not s.lifecycle_state.startswith("Terminat")]

    def settle(self, now_s: float) -> None:
        """Ends actions whose time is over, replaces the unhealthy, launches and terminates."""
        for action in list(self.actions.values()):
            if now_s >= action.until_s:
                self.end_action(action, action.hook.default_result)
        for state in self.held():
            if state.health_status == "Unhealthy":
                self.leave(state, "in response to an EC2 health check")
        missing = (self.desired_capacity or 0) - len(self.held())
        for _ in range(missing if now_s >= self._try_from_s else 0):
            if not self._launch(now_s):
                self._try_from_s = now_s + RETRY_S
                break
        free = [state for state in self.held() if not state.protected_from_scale_in]
        for state in free[: max(0, -missing)]:
            self.leave(state, "in response to a difference between desired and actual capacity")

    def leave(self, state: InstanceState, why: str) -> Activity:
        """It goes, once its hook lets it; asked again it is the same going."""
        if state.lifecycle_state.startswith("Terminat"):
            return self._open[state.instance_id]
        self.actions.pop(state.instance_id, None)
        if (launching := self._open.pop(state.instance_id, None)) is not None:
            launching.end("Cancelled", words.moment(time.time()))
        at = words.moment(time.time())
        activity = words.termination(self.name, state.instance_id, why, state.availability_zone, at)
        self._keep(state.instance_id, activity)
        state.lifecycle_state = "Terminating:Wait"
        if not self._wait(state, words.TERMINATING):
            self._gone(state)
        return activity

    def action(self, node: str, token: str | None, hook: str) -> Action:
        """The action that a call names. Raises ValidationError where there is none."""
        found = self.actions.get(node)
        if found is None or found.hook.name != hook or token not in (None, found.token):
            raise ValidationError(f"No active Lifecycle Action found with instance ID {node}")
        return found

    def beat(self, action: Action) -> None:
        """The hook's time starts anew."""
        action.until_s = min(action.last_s, time.time() + action.hook.heartbeat_timeout)

    def end_action(self, action: Action, result: str) -> None:
        """CONTINUE or ABANDON; a node that goes goes either way."""
        state = next(s for s in self.instance_states if s.instance_id == action.node)
        del self.actions[action.node]
        if action.hook.lifecycle_transition == words.TERMINATING:
            self._gone(state)
        elif result == "CONTINUE":
            self._in_service(state)
        else:
            activity = self._open[action.node]
            activity.end("Failed", words.moment(time.time()), "The lifecycle action was abandoned.")
            self._tell("EC2 Instance Launch Unsuccessful", activity, action.node)
            self.leave(state, "because its launch was abandoned")

    def forget(self) -> None:
        """Deleted with all that it has: no hook holds anything."""
        self.actions.clear()
        for state in list(self.instance_states):
            self.leave(state, "in response to a user request")
            self.actions.clear()
            if state in self.instance_states:
                self._gone(state)

    def _launch(self, now_s: float) -> bool:
        zone, subnet = self._place()
        at = words.moment(now_s)
        wanted, held = self.desired_capacity or 0, len(self.held())
        activity = words.launch(self.name, wanted, held, zone, subnet or "", at)
        if self.around.refuses(self.pool):
            activity.end("Failed", at, words.no_capacity(self.kind, zone, self.spot))
            activity.description += f".  Status Reason: {activity.status_message}"
            self.activities.appendleft(activity)
            self._tell("EC2 Instance Launch Unsuccessful", activity, "")
            return False
        state = self._run(zone, subnet)
        activity.description += f": {state.instance_id}"
        self._keep(state.instance_id, activity)
        state.lifecycle_state = "Pending:Wait"
        if not self._wait(state, words.LAUNCHING):
            self._in_service(state)
        return True

    def _run(self, zone: str, subnet: str | None) -> InstanceState:
        ec2 = self.autoscaling_backend.ec2_backend
        template = self.ec2_launch_template
        reservation = ec2.run_instances(
            self.image_id,
            1,
            self.user_data,
            self.security_groups,
            instance_type=self.kind,
            tags={
                "instance": {
                    **self.get_propagated_tags(), **self.instance_tags, ASG_NAME_TAG: self.name,
                }
            },
            placement=zone,
            launch_config=self.launch_config,
            launch_template={"LaunchTemplateId": template.id} if template else None,
            is_instance_type_default=False,
            associate_public_ip=None,
            subnet_id=subnet,
        )  # fmt: skip
        (instance,) = reservation.instances
        instance.lifecycle = "spot" if self.spot else None
        instance.autoscaling_group = self  # type: ignore[attr-defined]
        protected = self.new_instances_protected_from_scale_in
        state = InstanceState(instance, protected_from_scale_in=protected)
        self.instance_states.append(state)
        return state

    def _zones(self) -> Iterator[tuple[str, str | None]]:
        if not self.vpc_zone_identifier:
            return iter([(zone, None) for zone in self.availability_zones])
        ids = self.vpc_zone_identifier.split(",")
        subnets = self.autoscaling_backend.ec2_backend.describe_subnets(subnet_ids=ids)
        return iter([(one.availability_zone, one.id) for one in subnets])

    def _place(self) -> tuple[str, str | None]:
        if not self.spot:
            return next(self._places)
        by_zone = dict(self._zones())
        best = self.around.cheapest_first(self.kind, self.region, list(by_zone))[0]
        return best, by_zone[best]

    def _wait(self, state: InstanceState, transition: str) -> bool:
        hooks = self.autoscaling_backend.describe_lifecycle_hooks(self.name)
        hook = next((one for one in hooks if one.lifecycle_transition == transition), None)
        if hook is None:
            return False
        now_s, beat_s = time.time(), hook.heartbeat_timeout
        last_s = now_s + min(_MOST_WAIT_S, 100 * beat_s)
        action = Action(hook, state.instance_id, now_s + beat_s, last_s)
        self.actions[state.instance_id] = action
        way = "launch" if transition == words.LAUNCHING else "terminate"
        detail = words.at_hook(self.name, action.node, hook.name, transition, action.token)
        self._emit(f"EC2 Instance-{way} Lifecycle Action", detail)
        return True

    def _in_service(self, state: InstanceState) -> None:
        state.lifecycle_state = "InService"
        activity = self._open.pop(state.instance_id)
        activity.end("Successful", words.moment(time.time()))
        self._tell("EC2 Instance Launch Successful", activity, state.instance_id)

    def _gone(self, state: InstanceState) -> None:
        self.instance_states = [one for one in self.instance_states if one is not state]
        backend: Any = self.autoscaling_backend
        backend.end_machine(state.instance)
        activity = self._open.pop(state.instance_id)
        activity.end("Successful", words.moment(time.time()))
        self._tell("EC2 Instance Terminate Successful", activity, state.instance_id)

    def _keep(self, node: str, activity: Activity) -> None:
        self._open[node] = activity
        self.activities.appendleft(activity)

    def _tell(self, what: str, activity: Activity, node: str) -> None:
        self._emit(what, words.told_of(activity, node))

    def _emit(self, what: str, detail: Any) -> None:
        self.around.emit(self.region, "aws.autoscaling", what, [self.arn], detail)
