"""The network's template, made by moto's EC2, which refuses ranges that overlap and tells what is
where. It makes no associations of subnets and route tables: the template's names pair those."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from moto import mock_aws

from ops.cell.files import ROOT

REGION = "us-east-1"


@dataclass(frozen=True)
class Network:
    """``made`` is each resource's physical id by its logical one."""

    made: dict[str, str]
    ec2: Any

    def zone(self, subnet: str) -> str:
        (found,) = self.ec2.describe_subnets(SubnetIds=[subnet])["Subnets"]
        return str(found["AvailabilityZone"])

    def way_out(self, routes: str) -> dict[str, str]:
        (found,) = self.ec2.describe_route_tables(RouteTableIds=[self.made[routes]])["RouteTables"]
        return next(
            one for one in found["Routes"] if one.get("DestinationCidrBlock") == "0.0.0.0/0"
        )


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "none")
    with mock_aws():
        yield


def network(**parameters: str) -> Network:
    given = {"CellName": "desk", "KeyArn": f"arn:aws:kms:{REGION}:123456789012:key/1", **parameters}
    stacks: Any = boto3.client("cloudformation", REGION)
    stacks.create_stack(
        StackName="network",
        TemplateBody=(ROOT / "infra" / "network.yaml").read_text(encoding="utf-8"),
        Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in given.items()],
        Capabilities=["CAPABILITY_IAM"],
    )
    resources = stacks.list_stack_resources(StackName="network")["StackResourceSummaries"]
    made = {one["LogicalResourceId"]: one["PhysicalResourceId"] for one in resources}
    return Network(made, boto3.client("ec2", REGION))


def test_a_zone_that_is_lost_takes_only_its_own_way_out_with_it(account: None) -> None:
    made = network(Size="full")

    for letter in "ABC":
        gateway = made.way_out(f"Routes{letter}")["NatGatewayId"]
        (nat,) = made.ec2.describe_nat_gateways(NatGatewayIds=[gateway])["NatGateways"]
        assert made.zone(nat["SubnetId"]) == made.zone(made.made[f"Private{letter}"])
    assert len({made.zone(made.made[f"Private{letter}"]) for letter in "ABC"}) == 3


def test_a_small_cell_has_one_way_out_for_three_zones(account: None) -> None:
    made = network(Size="small")

    assert len(made.ec2.describe_nat_gateways()["NatGateways"]) == 1
    assert len({made.way_out(f"Routes{letter}")["NatGatewayId"] for letter in "ABC"}) == 1


def test_chosen_zones_are_kept(account: None) -> None:
    made = network(Zones="us-east-1b,us-east-1d,us-east-1f")

    zones = [made.zone(made.made[f"Private{letter}"]) for letter in "ABC"]

    assert zones == ["us-east-1b", "us-east-1d", "us-east-1f"]


def test_avatars_and_images_come_from_s3_past_the_gateways_that_are_paid_by_the_gib(
    account: None,
) -> None:
    made = network()

    (endpoint,) = made.ec2.describe_vpc_endpoints()["VpcEndpoints"]

    assert endpoint["ServiceName"] == f"com.amazonaws.{REGION}.s3"
    assert set(endpoint["RouteTableIds"]) == {made.made[f"Routes{letter}"] for letter in "ABC"}


def test_only_the_functions_reach_workers_and_nobody_reaches_the_functions(account: None) -> None:
    made = network()

    groups = made.ec2.describe_security_groups(
        GroupIds=[made.made["WorkersGroup"], made.made["FunctionsGroup"]]
    )["SecurityGroups"]
    inward = {one["GroupId"]: one["IpPermissions"] for one in groups}

    (rule,) = inward[made.made["WorkersGroup"]]
    assert (rule["FromPort"], rule["ToPort"], rule["IpRanges"]) == (8080, 8080, [])
    assert [one["GroupId"] for one in rule["UserIdGroupPairs"]] == [made.made["FunctionsGroup"]]
    assert inward[made.made["FunctionsGroup"]] == []
