"""Groups: moto's Auto Scaling behind the real adapter, and the one that tests play, do the same.

What moto has no word for (hooks, failed launches, a minimum that holds) is tried with the local
cell's own groups.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Protocol

import boto3
import pytest
from moto import mock_aws

from control.adapters import aws
from control.adapters.aws_groups import ScalingPools
from control.services.scaling_ports import Group, Groups, GroupsAway
from tests.played_pools import PlayedPools

CELL = "us-east-1"
POOL, OTHER = "g5.xlarge-on-demand", "g5.2xlarge-spot"


class World(Protocol):
    """Groups, and a way to make one."""

    pools: Groups

    def make(self, pool: str, least: int = 0, most: int = 10, desired: int = 0) -> None: ...


class MotoWorld:
    def __init__(self) -> None:
        client: Any = boto3.client
        self._groups = client("autoscaling", region_name="us-east-1")
        ec2 = client("ec2", region_name="us-east-1")
        image = ec2.describe_images()["Images"][0]["ImageId"]
        data = {"ImageId": image, "InstanceType": "g5.xlarge"}
        ec2.create_launch_template(LaunchTemplateName="node", LaunchTemplateData=data)
        self.pools: Groups = ScalingPools(CELL)

    def make(
        self, pool: str, least: int = 0, most: int = 10, desired: int = 0, cell: str = CELL
    ) -> None:
        tags = {"rapido:cell": cell, "rapido:pool": pool}
        self._groups.create_auto_scaling_group(
            AutoScalingGroupName=f"rapido-{cell}-{pool}",
            LaunchTemplate={"LaunchTemplateName": "node", "Version": "$Latest"},
            MinSize=least,
            MaxSize=most,
            DesiredCapacity=desired,
            AvailabilityZones=["us-east-1a"],
            NewInstancesProtectedFromScaleIn=True,
            Tags=[
                {"Key": key, "Value": value, "PropagateAtLaunch": True}
                for key, value in tags.items()
            ],
        )


class Prompt(PlayedPools):
    """Launches at once, as moto does."""

    def pools(self) -> tuple[Group, ...]:
        self.launch()
        return super().pools()


class PlayedWorld:
    def __init__(self) -> None:
        played = Prompt(CELL, time.time)
        self.pools: Groups = played
        self.make = played.make


@pytest.fixture(params=["moto", "played"])
def world(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    if request.param == "played":
        yield PlayedWorld()
        return
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    aws._session.cache_clear()
    with mock_aws():
        yield MotoWorld()
    aws._session.cache_clear()


def only(pools: Groups) -> Any:
    (group,) = pools.pools()
    return group


def test_a_pool_is_told_with_its_bounds_and_its_nodes(world: World) -> None:
    world.make(POOL, least=1, most=5, desired=2)

    group = only(world.pools)

    assert (group.pool.type, group.pool.market) == ("g5.xlarge", "on-demand")
    assert group.name == f"rapido-{CELL}-{POOL}"
    assert (group.least, group.most, group.desired) == (1, 5, 2)
    assert (group.there, group.missing) == (2, 0)
    for one in group.instances:
        assert one.node_id.startswith("i-")
        assert (one.zone, one.state, one.healthy) == ("us-east-1a", "InService", True)
        assert one.launched_s is not None
        assert abs(one.launched_s - time.time()) < 60


def test_no_group_is_no_pool(world: World) -> None:
    assert world.pools.pools() == ()


def test_a_group_grows_to_what_is_wanted_and_again_is_the_same(world: World) -> None:
    world.make(POOL, desired=1)
    world.make(OTHER)

    assert [world.pools.grow(POOL, 3) for _ in range(2)] == [3, 3]

    assert {one.pool.name: one.there for one in world.pools.pools()} == {POOL: 3, OTHER: 0}


def test_growing_never_lowers_and_stops_at_the_maximum(world: World) -> None:
    world.make(POOL, most=4, desired=3)

    assert world.pools.grow(POOL, 2) == 3
    assert world.pools.grow(POOL, 9) == 4
    assert only(world.pools).desired == 4


def test_a_pool_without_a_group_cannot_grow(world: World) -> None:
    world.make(POOL)

    with pytest.raises(GroupsAway, match="no group for the pool"):
        world.pools.grow("g6.xlarge-spot", 1)


def test_a_node_that_is_ended_takes_its_place_with_it_or_leaves_it(world: World) -> None:
    world.make(POOL, desired=3)
    first, second, _ = (one.node_id for one in only(world.pools).instances)

    assert world.pools.terminate(first, shrink=True)
    assert only(world.pools).desired == 2
    assert world.pools.terminate(second, shrink=False)
    group = only(world.pools)
    assert (group.desired, group.there) == (2, 2)
    assert not {first, second} & {one.node_id for one in group.instances if not one.leaving}


def test_settling_a_group_that_has_what_it_wants_changes_nothing(world: World) -> None:
    world.make(POOL, desired=2)

    assert world.pools.settle(POOL) == 0
    assert only(world.pools).desired == 2


def test_the_pool_of_a_node_is_known_and_of_a_stranger_none(world: World) -> None:
    world.make(POOL, desired=1)
    (node,) = only(world.pools).instances

    assert world.pools.pool_of(node.node_id) == POOL
    assert world.pools.pool_of("i-0bbbbbbbbbbbbbbbb") is None


def test_a_group_whose_launches_succeed_has_no_failures(world: World) -> None:
    world.make(POOL, desired=1)

    assert world.pools.failures(world.pools.pools(), 0.0) == ()


@pytest.mark.parametrize("world", ["moto"], indirect=True)
def test_groups_of_other_cells_and_of_no_pool_are_left_out(world: MotoWorld) -> None:
    world.make(POOL, desired=1)
    world.make(POOL, desired=1, cell="us-east-10")
    world.make("turn-servers", desired=1)

    assert [one.name for one in world.pools.pools()] == [f"rapido-{CELL}-{POOL}"]
