"""The provisioner between the local AWS's real groups and machines that are played."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from ops.cell.autoscale import Autoscale
from ops.cell.aws import start_aws
from ops.cell.deploy import LocalAws
from ops.cell.files import ROOT
from ops.cell.pools import make_pools
from ops.cell.ports import free_port
from ops.cell.provisioner import LocalNode, Provisioner
from ops.cell.supervisor import PartError, Supervisor
from ops.cell.template import Template

REGION = "us-west-2"
NAMES = (f"c{n}x" for n in range(100))
POOL, SPOT = "g5.xlarge-on-demand", "g5.xlarge-spot"


class PlayedMachines:
    """Workers are ready at once, unless the next start is to fail."""

    def __init__(self) -> None:
        self.started: list[LocalNode] = []
        self.running: dict[str, threading.Event] = {}
        self.failing = 0

    def start(self, node: LocalNode) -> threading.Event:
        if self.failing:
            self.failing -= 1
            raise PartError("it ended")
        self.started.append(node)
        self.running[node.node_id] = threading.Event()
        return self.running[node.node_id]

    def stop(self, node: LocalNode) -> None:
        self.end(node.node_id)

    def end(self, node: str) -> None:
        if (ended := self.running.pop(node, None)) is not None:
            ended.set()


class Desk:
    """A cell's pools, without the cell."""

    def __init__(self, aws: LocalAws, **settings: object) -> None:
        self.cell = next(NAMES)
        self.aws = aws
        self.machines = PlayedMachines()
        self.lines: list[str] = []
        chosen = Autoscale(**{"boot_s": (0.0, 0.0), **settings})  # type: ignore[arg-type]
        given = {
            "CellName": self.cell, "LivekitServers": "[]", "LivekitSecretId": "livekit",
            **chosen.parameters(),
        }  # fmt: skip
        self.pools = make_pools(aws, Template(ROOT / "template.yaml"), given)
        self.provisioner = Provisioner(
            aws.client, self.cell, self.machines, chosen, self.lines.append
        )
        self.provisioner.start()

    def nodes(self, pool: str = POOL) -> dict[str, str]:
        """Lifecycle states by node."""
        return {
            one["InstanceId"]: one["LifecycleState"]
            for group in self.aws.groups(self.cell)
            if group["AutoScalingGroupName"] == f"rapido-{self.cell}-{pool}"
            for one in group["Instances"]
        }

    def want(self, nodes: int, pool: str = POOL) -> None:
        self.aws.client("autoscaling").set_desired_capacity(
            AutoScalingGroupName=f"rapido-{self.cell}-{pool}", DesiredCapacity=nodes
        )


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    supervisor = Supervisor(tmp_path_factory.mktemp("aws"), lambda d: pytest.exit(d.describe()))
    try:
        nobody = f"http://127.0.0.1:{free_port()}"
        yield LocalAws(start_aws(supervisor, free_port(), nobody, region=REGION, seed=1), REGION)
    finally:
        supervisor.stop_all()


@pytest.fixture
def desk(aws: LocalAws) -> Iterator[Callable[..., Desk]]:
    made: list[Desk] = []

    def make(**settings: object) -> Desk:
        made.append(Desk(aws, **settings))
        return made[-1]

    yield make
    for one in made:
        one.provisioner.close()
        assert not one.machines.running


def until(holds: Callable[[], object], limit_s: float = 15.0) -> None:
    deadline = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_groups_are_those_of_the_templates(desk: Callable[..., Desk]) -> None:
    here = desk(start_nodes=2, most_nodes=3)

    groups = {one["AutoScalingGroupName"]: one for one in here.aws.groups(here.cell)}

    assert set(groups) == set(here.pools)
    group = groups[f"rapido-{here.cell}-{POOL}"]
    assert (group["MinSize"], group["MaxSize"], group["DesiredCapacity"]) == (1, 3, 2)
    assert group["NewInstancesProtectedFromScaleIn"]
    assert {one["Key"]: one["Value"] for one in group["Tags"]}["rapido:pool"] == POOL
    (spot,) = (groups[name] for name in groups if name.endswith("g4dn.2xlarge-spot"))
    shares = spot["MixedInstancesPolicy"]["InstancesDistribution"]
    assert shares["OnDemandPercentageAboveBaseCapacity"] == 0


def test_a_ready_worker_takes_its_node_into_service(desk: Callable[..., Desk]) -> None:
    here = desk(start_nodes=1)

    until(lambda: list(here.nodes().values()) == ["InService"])

    (node,) = here.machines.started
    assert node.node_id in here.nodes()
    assert (node.instance_type, node.market) == ("g5.xlarge", "on-demand")
    here.want(1, SPOT)
    until(lambda: list(here.nodes(SPOT).values()) == ["InService"])
    assert here.machines.started[-1].market == "spot"


def test_a_node_that_boots_waits_at_its_hook(desk: Callable[..., Desk]) -> None:
    here = desk(boot_s=(600.0, 900.0))

    until(lambda: here.provisioner.nodes)

    assert list(here.nodes().values()) == ["Pending:Wait"]
    assert here.machines.started == []


def test_on_a_stillborn_node_no_worker_ever_starts(desk: Callable[..., Desk]) -> None:
    here = desk(stillborn=1.0)
    until(lambda: here.provisioner.nodes)
    (node,) = here.nodes()

    here.aws.client("ec2").terminate_instances(InstanceIds=[node])
    until(lambda: node not in here.provisioner.nodes)

    assert here.machines.started == []


def test_a_worker_that_ends_or_does_not_start_is_started_again(desk: Callable[..., Desk]) -> None:
    here = desk()
    until(lambda: list(here.nodes().values()) == ["InService"])
    (node,) = here.nodes()

    here.machines.failing = 1
    here.machines.end(node)

    until(lambda: len(here.machines.started) == 2)
    assert [one.node_id for one in here.machines.started] == [node, node]
    assert any("did not start" in line for line in here.lines)
    assert list(here.nodes().values()) == ["InService"]


def test_a_node_runs_as_long_as_its_machine_does_and_no_longer(desk: Callable[..., Desk]) -> None:
    here = desk(start_nodes=2)
    until(lambda: list(here.nodes().values()) == ["InService"] * 2)
    node = next(iter(here.nodes()))
    groups = here.aws.client("autoscaling")

    groups.terminate_instance_in_auto_scaling_group(
        InstanceId=node, ShouldDecrementDesiredCapacity=True
    )
    here.provisioner.look()
    assert here.nodes()[node] == "Terminating:Wait"
    assert node in here.machines.running
    groups.complete_lifecycle_action(
        AutoScalingGroupName=f"rapido-{here.cell}-{POOL}",
        LifecycleHookName="terminating",
        InstanceId=node,
        LifecycleActionResult="CONTINUE",
    )

    until(lambda: node not in here.machines.running)
    assert len(here.machines.running) == 1
