"""Machines of the local cell: a worker process for each instance that its groups launch.

The instances of the local EC2 are the truth. A node here does what a node's first script does on
AWS (infra/gpu_pool.yaml): it starts the worker, says to its group that it is in service once the
worker is ready, and starts it again when it ends.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from ops.cell.autoscale import Autoscale
from ops.cell.supervisor import PartError

POLL_S = 0.3
RESTART_S = 2.0
"""As systemd waits on a real node."""


@dataclass
class LocalNode:
    """One machine, from its launch to its end."""

    node_id: str
    group: str
    zone: str
    instance_type: str
    market: str
    boot_s: float
    stillborn: bool
    gone: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    """Its worker runs no more, or never ran."""


class Machines(Protocol):
    """Worker processes, by the node's name."""

    def start(self, node: LocalNode) -> threading.Event:
        """Returns once the worker is ready, or the node is gone: what is set when it ends.

        Raises PartError.
        """

    def stop(self, node: LocalNode) -> None:
        """As a machine that shuts down; nothing where it does not run."""


class Provisioner(threading.Thread):
    """Until ``close``; ``tell`` gets a line for what becomes of each node."""

    def __init__(
        self,
        client: Callable[[str], Any],
        cell: str,
        machines: Machines,
        settings: Autoscale,
        tell: Callable[[str], None],
    ) -> None:
        super().__init__(name="provisioner", daemon=True)
        self._ec2 = client("ec2")
        self._groups = client("autoscaling")
        self._cell = cell
        self._machines = machines
        self._settings = settings
        self._tell = tell
        self._chance = random.Random(settings.seed)  # noqa: S311 (a trial that can be run again)
        self._nodes: dict[str, LocalNode] = {}
        self._closing = threading.Event()

    @property
    def nodes(self) -> tuple[str, ...]:
        """Those that are there, booting ones among them."""
        return tuple(name for name, node in list(self._nodes.items()) if not node.gone.is_set())

    def knows(self, name: str) -> bool:
        """Whether a part of that name is one of its nodes, or was."""
        return name in self._nodes

    def run(self) -> None:
        """Makes the machines what EC2 says, again and again."""
        while not self._closing.wait(POLL_S):
            try:
                self.look()
            except (BotoCoreError, ClientError) as error:
                if not self._closing.is_set():
                    self._tell(f"the local AWS does not answer the provisioner: {error}")

    def look(self) -> None:
        """Once."""
        there = self._there()
        for node_id, instance in there.items():
            if node_id not in self._nodes:
                self._begin(node_id, instance)
        for node_id, node in self._nodes.items():
            if node_id not in there and not node.gone.is_set():
                self._tell(f"node {node_id} of {node.group} is gone")
                self._end(node)

    def close(self) -> None:
        """All machines end, and are waited for."""
        self._closing.set()
        for node in self._nodes.values():
            self._end(node)
        for node in self._nodes.values():
            node.ended.wait()

    def _there(self) -> dict[str, dict[str, Any]]:
        ours = [
            {"Name": "tag:rapido:cell", "Values": [self._cell]},
            {"Name": "instance-state-name", "Values": ["pending", "running"]},
        ]
        pages = self._ec2.get_paginator("describe_instances").paginate(Filters=ours)
        return {
            one["InstanceId"]: one
            for page in pages
            for reservation in page["Reservations"]
            for one in reservation["Instances"]
        }

    def _begin(self, node_id: str, instance: dict[str, Any]) -> None:
        tags = {one["Key"]: one["Value"] for one in instance["Tags"]}
        node = LocalNode(
            node_id,
            tags["aws:autoscaling:groupName"],
            instance["Placement"]["AvailabilityZone"],
            instance["InstanceType"],
            instance.get("InstanceLifecycle", "on-demand"),
            self._chance.uniform(*self._settings.boot_s),
            self._chance.random() < self._settings.stillborn,
        )
        self._nodes[node_id] = node
        self._tell(f"node {node_id} of {node.group} boots")
        threading.Thread(target=self._live, args=(node,), name=node_id, daemon=True).start()

    def _end(self, node: LocalNode) -> None:
        if node.gone.is_set():
            return
        node.gone.set()
        threading.Thread(target=self._machines.stop, args=(node,), daemon=True).start()

    def _live(self, node: LocalNode) -> None:
        try:
            if node.gone.wait(node.boot_s) or (node.stillborn and node.gone.wait()):
                return
            in_service = False
            while not node.gone.is_set():
                ended = self._work(node)
                if ended is not None and not node.gone.is_set():
                    in_service = in_service or self._enter_service(node)
                    ended.wait()
                node.gone.wait(RESTART_S)
        finally:
            self._machines.stop(node)
            node.ended.set()

    def _work(self, node: LocalNode) -> threading.Event | None:
        try:
            return self._machines.start(node)
        except PartError as error:
            if not node.gone.is_set():
                self._tell(f"node {node.node_id}: its worker did not start: {error}")
            return None

    def _enter_service(self, node: LocalNode) -> bool:
        """Its launching hook waits for that, unless it has given up; False: the node is gone."""
        while not node.gone.is_set():
            try:
                self._groups.complete_lifecycle_action(
                    AutoScalingGroupName=node.group,
                    LifecycleHookName="launching",
                    InstanceId=node.node_id,
                    LifecycleActionResult="CONTINUE",
                )
            except ClientError as error:
                code = error.response["Error"]["Code"]
                self._tell(f"node {node.node_id} was not waited for: {code}")
                return True
            except BotoCoreError:
                node.gone.wait(RESTART_S)
                continue
            self._tell(f"node {node.node_id} of {node.group} is in service")
            return True
        return False
