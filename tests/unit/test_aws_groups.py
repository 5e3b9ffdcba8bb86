"""What AWS's answers say of launches that failed and of prices; botocore's own stub answers."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.session import Session
from botocore.stub import ANY, Stubber

from control.adapters.aws_groups import ScalingPools
from control.adapters.aws_prices import AwsPrices
from control.domain.fleet.catalogue import pool
from control.services.scaling_ports import Group, GroupsAway, PricesAway

NAME = "rapido-home-g5.xlarge-spot"
GROUP = Group(pool("g5.xlarge-spot"), NAME, 0, 10, 3)
AT = datetime(2026, 11, 26, 12, tzinfo=UTC)


def stubbed(service: str) -> tuple[Any, Stubber]:
    client = Session().create_client(
        service, "us-east-1", aws_access_key_id="none", aws_secret_access_key="none"
    )
    stub = Stubber(client)
    stub.activate()
    return client, stub


def activity(**changes: Any) -> dict[str, Any]:
    return {
        "ActivityId": "a",
        "AutoScalingGroupName": NAME,
        "Cause": "At 2026-11-26T12:00:00Z an instance was started",
        "Description": "Launching a new EC2 instance.  Status Reason: …",
        "Details": json.dumps({"Availability Zone": "us-east-1b", "Subnet ID": "subnet-1"}),
        "StartTime": AT,
        "StatusCode": "Failed",
        "StatusMessage": "failed",
    } | changes


def failures(*activities: dict[str, Any], since_s: float = 0.0) -> list[Any]:
    pools = ScalingPools("home")
    client, stub = stubbed("autoscaling")
    pools._groups = client
    stub.add_response(
        "describe_scaling_activities",
        {"Activities": list(activities)},
        {"AutoScalingGroupName": NAME, "MaxRecords": ANY},
    )
    return list(pools.failures([GROUP], since_s))


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (
            "Could not launch Spot Instances. InsufficientInstanceCapacity - There is no Spot "
            "capacity available that matches your request. Launching EC2 instance failed.",
            "capacity",
        ),
        (
            "We currently do not have sufficient g5.xlarge capacity in the Availability Zone you "
            "requested (us-east-1b). Launching EC2 instance failed.",
            "capacity",
        ),
        ("Could not launch Spot Instances. UnfulfillableCapacity - Unable to fulfill", "capacity"),
        (
            "Could not launch Spot Instances. MaxSpotInstanceCountExceeded - Max spot instance "
            "count exceeded. Launching EC2 instance failed.",
            "spot-quota",
        ),
        (
            "Could not launch On-Demand Instances. VcpuLimitExceeded - You have requested more "
            "vCPU capacity than your current vCPU limit of 32 allows",
            "quota",
        ),
        ("The image id '[ami-0]' does not exist. Launching EC2 instance failed.", "other"),
    ],
)
def test_why_a_launch_failed_is_told_apart(message: str, kind: str) -> None:
    (one,) = failures(activity(StatusMessage=message))

    assert (one.kind, one.pool, one.zone) == (kind, "g5.xlarge-spot", "us-east-1b")
    assert one.at_s == AT.timestamp()
    assert message.startswith(one.text[:50])


@pytest.mark.parametrize(
    "changes",
    [
        {"StatusCode": "Successful"},
        {"StatusCode": "Cancelled"},
        {"Description": "Terminating EC2 instance: i-0123456789abcdef0"},
        {"StartTime": datetime(2026, 11, 26, 11, tzinfo=UTC)},
    ],
)
def test_other_activities_are_no_failed_launches(changes: dict[str, Any]) -> None:
    assert failures(activity(**changes), since_s=AT.timestamp() - 600) == []


@pytest.mark.parametrize("details", ["", "no JSON", "[]", '{"Subnet ID": "subnet-1"}'])
def test_a_failure_without_a_zone_is_one_all_the_same(details: str) -> None:
    (one,) = failures(activity(Details=details, StatusMessage="InsufficientInstanceCapacity"))

    assert (one.kind, one.zone) == ("capacity", None)


def test_a_call_that_is_refused_says_so_in_awss_words() -> None:
    pools = ScalingPools("home")
    pools._groups, stub = stubbed("autoscaling")
    stub.add_client_error("describe_auto_scaling_groups", "Throttling", "Rate exceeded")

    with pytest.raises(GroupsAway, match="Rate exceeded"):
        pools.pools()


def test_a_node_that_is_gone_or_a_group_at_its_least_is_no_error() -> None:
    pools = ScalingPools("home")
    pools._groups, stub = stubbed("autoscaling")
    stub.add_client_error(
        "terminate_instance_in_auto_scaling_group", "ValidationError", "Instance Id not found"
    )

    assert not pools.terminate("i-0123456789abcdef0", shrink=True)


def product(usd: str, unit: str = "Hrs") -> str:
    dimension = {"unit": unit, "pricePerUnit": {"USD": usd}}
    return json.dumps({"terms": {"OnDemand": {"x": {"priceDimensions": {"y": dimension}}}}})


def prices(history: list[dict[str, Any]], listed: list[str]) -> AwsPrices:
    found = AwsPrices("us-east-1")
    found._ec2, ec2 = stubbed("ec2")
    found._list, pricing = stubbed("pricing")
    ec2.add_response("describe_spot_price_history", {"SpotPriceHistory": history})
    pricing.add_response("get_products", {"FormatVersion": "aws_v1", "PriceList": listed})
    return found


def spot(zone: str, usd: str, hour: int) -> dict[str, Any]:
    return {
        "InstanceType": "g5.xlarge", "AvailabilityZone": zone, "SpotPrice": usd,
        "ProductDescription": "Linux/UNIX", "Timestamp": datetime(2026, 11, 26, hour, tzinfo=UTC),
    }  # fmt: skip


def test_of_each_zone_the_newest_spot_price_is_todays() -> None:
    told_of = [("us-east-1a", "0.5", 3), ("us-east-1a", "0.6", 7), ("us-east-1b", "0.4", 1)]
    history = [spot(*one) for one in told_of]

    told = prices(history, [product("1.006")]).now(["g5.xlarge"])

    assert told.spot == {"g5.xlarge": {"us-east-1a": 0.6, "us-east-1b": 0.4}}
    assert told.on_demand == {"g5.xlarge": 1.006}


def test_a_type_that_is_not_listed_has_no_price() -> None:
    told = prices([], [product("0", "Quantity")]).now(["g5.xlarge"])

    assert (told.spot, told.on_demand) == ({}, {})


def test_a_price_list_of_another_form_is_told() -> None:
    with pytest.raises(PricesAway, match="has another form"):
        prices([], ["{}"]).now(["g5.xlarge"])
