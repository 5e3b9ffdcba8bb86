"""A cell whose workers are nodes of groups, as its operator and its learners see it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any, TypeVar

from ops.cell.at_desk import AtDesk
from ops.cell.cell import Cell
from ops.cell.deploy import LocalAws
from ops.cell.intrinsics import ACCOUNT_ID
from ops.client import CellClient

Found = TypeVar("Found")


class Fleet:
    """What can be asked of it, and done to it."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.desk = AtDesk(cell.aws_url)
        self.client = CellClient(cell.url, cell.client_key)
        self.operator = CellClient(cell.url, cell.operator_key)
        aws = LocalAws(cell.aws_url, cell.region)
        self._groups, self._states = aws.client("autoscaling"), aws.client("stepfunctions")

    def want(self, pool: str, nodes: int) -> None:
        self._groups.set_desired_capacity(
            AutoScalingGroupName=f"rapido-{self.cell.name}-{pool}", DesiredCapacity=nodes
        )

    def nodes(self, pool: str) -> dict[str, str]:
        """Lifecycle states by node."""
        (group,) = self._groups.describe_auto_scaling_groups(
            AutoScalingGroupNames=[f"rapido-{self.cell.name}-{pool}"]
        )["AutoScalingGroups"]
        return {one["InstanceId"]: one["LifecycleState"] for one in group["Instances"]}

    def activities(self, pool: str) -> list[dict[str, Any]]:
        return list(
            self._groups.describe_scaling_activities(
                AutoScalingGroupName=f"rapido-{self.cell.name}-{pool}"
            )["Activities"]
        )

    def terminate(self, node: str) -> None:
        self._groups.terminate_instance_in_auto_scaling_group(
            InstanceId=node, ShouldDecrementDesiredCapacity=True
        )

    def workers(self) -> dict[str, dict[str, Any]]:
        """Those that are alive."""
        page = self.operator.call("GET", "/api/v1/workers")["workers"]
        return {one["worker_id"]: one for one in page if one["alive"]}

    def serving(self, pool: str, count: int) -> list[str]:
        """Waits for that many nodes of a pool in service, their workers ready."""

        def those() -> list[str] | None:
            ready = {name for name, one in self.workers().items() if one["state"] == "ready"}
            nodes = [n for n, s in self.nodes(pool).items() if s == "InService" and n in ready]
            return nodes if len(nodes) == count else None

        return until(those, 60)

    def lesson(self) -> dict[str, Any]:
        """A live one."""
        session = self.client.start(secrets.token_hex(4), wait=False)["session_id"]
        return until(lambda: self._live(session))

    def ended(self, machine: str) -> list[str]:
        """Statuses of all executions of a state machine, once none runs any more."""
        machines = f"arn:aws:states:{self.cell.region}:{ACCOUNT_ID}:stateMachine"
        arn = f"{machines}:rapido-{self.cell.name}-{machine}"

        def over() -> list[str] | None:
            page = self._states.list_executions(stateMachineArn=arn)["executions"]
            found = [one["status"] for one in page]
            return found if found and "RUNNING" not in found else None

        return until(over, 60)

    def _live(self, session: str) -> dict[str, Any] | None:
        found = self.client.show(session)
        return found if found["status"] == "live" else None


def until(find: Callable[[], Found | None], limit_s: float = 30.0) -> Found:
    """What ``find`` gives once it gives something."""
    deadline = time.monotonic() + limit_s
    while not (found := find()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found
