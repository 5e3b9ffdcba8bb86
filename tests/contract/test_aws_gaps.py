"""The local AWS beside plain moto: the same wherever moto has the call, AWS's way where it has not.

What only AWS can confirm is as its API reference and its events' examples say.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import httpx
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from ops.cell.aws import start_aws
from ops.cell.deploy import LocalAws
from ops.cell.intrinsics import ACCOUNT_ID
from ops.cell.ports import free_port
from ops.cell.supervisor import Supervisor

REGION = "us-east-1"
NAMES = (f"g{n}" for n in range(1000))
Make = Callable[[str], Any]


class Told:
    """Stands where the functions are; ``events`` are those that rules sent, as they come."""

    def __init__(self) -> None:
        told = self
        self.events: queue.Queue[dict[str, Any]] = queue.Queue()
        self.refused = 0
        """How many of the next are answered with 503."""

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                taken = told.refused == 0
                if taken:
                    told.events.put({"path": self.path, **json.loads(body)})
                else:
                    told.refused -= 1
                self.send_response(202 if taken else 503)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def next(self, detail_type: str, of: str = "") -> dict[str, Any]:
        """The next event of that kind and of that group or node; others are passed over."""
        while True:
            event = self.events.get(timeout=15)
            if event["detail-type"] == detail_type and of in json.dumps(event["detail"]):
                return event

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def told() -> Iterator[Told]:
    here = Told()
    yield here
    here.close()


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, told: Told) -> Iterator[LocalAws]:
    folder = tmp_path_factory.mktemp("aws")
    supervisor = Supervisor(folder, lambda death: pytest.exit(death.describe()))
    try:
        url = start_aws(supervisor, free_port(), told.url, region=REGION, seed=1)
        aws = LocalAws(url, REGION)
        events = aws.client("events")
        pattern = {"source": ["aws.autoscaling", "aws.ec2"]}
        events.put_rule(Name="all", EventPattern=json.dumps(pattern))
        arn = f"arn:aws:lambda:{REGION}:{ACCOUNT_ID}:function:Told"
        events.put_targets(Rule="all", Targets=[{"Id": "1", "Arn": arn}])
        yield aws
    finally:
        supervisor.stop_all()


@pytest.fixture(params=["moto", "ours"])
def make(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Clients of either."""
    if request.param == "ours":
        yield request.getfixturevalue("local").client
        return
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "none")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        yield lambda service: boto3.client(service, REGION)  # type: ignore[call-overload]


@pytest.fixture
def ours(local: LocalAws, told: Told) -> Make:
    """Clients of the local AWS, and nothing told yet."""
    while not told.events.empty():
        told.events.get_nowait()
    return local.client


class Group:
    """One of its own, with at most four nodes."""

    def __init__(
        self,
        make: Make,
        desired: int,
        hooks: tuple[str, ...] = (),
        *,
        spot: bool = False,
        protected: bool = True,
        heartbeat_s: int = 600,
    ) -> None:
        self.name = next(NAMES)
        self.api = make("autoscaling")
        self.ec2 = make("ec2")
        template = self.ec2.create_launch_template(
            LaunchTemplateName=self.name,
            LaunchTemplateData={"ImageId": "ami-12c6146b", "InstanceType": "g5.xlarge"},
        )["LaunchTemplate"]["LaunchTemplateId"]
        mix = {
            "InstancesDistribution": {
                "OnDemandBaseCapacity": 0,
                "OnDemandPercentageAboveBaseCapacity": 0 if spot else 100,
            },
            "LaunchTemplate": {
                "LaunchTemplateSpecification": {"LaunchTemplateId": template, "Version": "1"},
                "Overrides": [{"InstanceType": "g5.xlarge"}],
            },
        }
        hooked = [
            {
                "LifecycleHookName": way.lower(),
                "LifecycleTransition": f"autoscaling:EC2_INSTANCE_{way}",
                "HeartbeatTimeout": heartbeat_s,
                "DefaultResult": "ABANDON" if way == "LAUNCHING" else "CONTINUE",
            }
            for way in hooks
        ]
        self.api.create_auto_scaling_group(
            AutoScalingGroupName=self.name,
            MinSize=0,
            MaxSize=4,
            DesiredCapacity=desired,
            AvailabilityZones=[f"{REGION}a", f"{REGION}b"],
            MixedInstancesPolicy=mix,
            NewInstancesProtectedFromScaleIn=protected,
            Tags=[{"Key": "rapido:pool", "Value": "g5.xlarge", "PropagateAtLaunch": True}],
            **({"LifecycleHookSpecificationList": hooked} if hooked else {}),
        )

    def seen(self) -> dict[str, Any]:
        (found,) = self.api.describe_auto_scaling_groups(AutoScalingGroupNames=[self.name])[
            "AutoScalingGroups"
        ]
        return dict(found)

    def nodes(self) -> dict[str, str]:
        """Lifecycle state by node."""
        return {one["InstanceId"]: one["LifecycleState"] for one in self.seen()["Instances"]}

    def want(self, desired: int) -> None:
        self.api.set_desired_capacity(AutoScalingGroupName=self.name, DesiredCapacity=desired)

    def terminate(self, node: str, decrement: bool = True) -> dict[str, Any]:
        return dict(
            self.api.terminate_instance_in_auto_scaling_group(
                InstanceId=node, ShouldDecrementDesiredCapacity=decrement
            )["Activity"]
        )

    def complete(self, node: str, hook: str, result: str = "CONTINUE", **more: str) -> None:
        self.api.complete_lifecycle_action(
            AutoScalingGroupName=self.name,
            LifecycleHookName=hook,
            InstanceId=node,
            LifecycleActionResult=result,
            **more,
        )

    def activities(self) -> list[dict[str, Any]]:
        return list(
            self.api.describe_scaling_activities(AutoScalingGroupName=self.name)["Activities"]
        )

    def machine(self, node: str) -> dict[str, Any]:
        found = self.ec2.describe_instances(InstanceIds=[node])["Reservations"]
        return dict(found[0]["Instances"][0])


def eventually(holds: Callable[[], bool], limit_s: float = 10.0) -> None:
    deadline = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# ---- the same in both ----------------------------------------------------------------------------


def test_a_group_without_hooks_has_what_it_wants_at_once(make: Make) -> None:
    group = Group(make, 2)

    assert list(group.nodes().values()) == ["InService"] * 2
    seen = group.seen()
    assert (seen["MinSize"], seen["MaxSize"], seen["DesiredCapacity"]) == (0, 4, 2)
    assert all(one["ProtectedFromScaleIn"] for one in seen["Instances"])
    assert {one["InstanceType"] for one in seen["Instances"]} == {"g5.xlarge"}
    tags = {one["Key"]: one["Value"] for one in group.machine(next(iter(group.nodes())))["Tags"]}
    assert tags["rapido:pool"] == "g5.xlarge"
    assert tags["aws:autoscaling:groupName"] == group.name


def test_more_are_launched_and_protected_ones_stay(make: Make) -> None:
    group = Group(make, 1)
    (first,) = group.nodes()

    group.want(3)
    assert first in group.nodes()
    assert len(group.nodes()) == 3
    group.want(0)

    assert len(group.nodes()) == 3
    assert group.seen()["DesiredCapacity"] == 0


def test_a_node_that_is_not_protected_goes_when_fewer_are_wanted(make: Make) -> None:
    group = Group(make, 2)
    node = sorted(group.nodes())[0]
    group.api.set_instance_protection(
        AutoScalingGroupName=group.name, InstanceIds=[node], ProtectedFromScaleIn=False
    )

    group.want(1)

    assert node not in group.nodes()
    assert group.machine(node)["State"]["Name"] == "terminated"


@pytest.mark.parametrize("decrement", [True, False])
def test_a_terminated_node_is_replaced_unless_the_group_shrinks_by_it(
    make: Make, decrement: bool
) -> None:
    group = Group(make, 2)
    node = sorted(group.nodes())[0]

    activity = group.terminate(node, decrement)

    assert node in activity["Description"]
    assert activity["AutoScalingGroupName"] == group.name
    assert group.machine(node)["State"]["Name"] == "terminated"
    assert node not in group.nodes()
    assert len(group.nodes()) == group.seen()["DesiredCapacity"] == (1 if decrement else 2)


def test_a_machine_that_ec2_ended_is_replaced(make: Make) -> None:
    group = Group(make, 1)
    (node,) = group.nodes()

    group.ec2.terminate_instances(InstanceIds=[node])

    assert node not in group.nodes()
    assert len(group.nodes()) == 1


def test_an_update_keeps_what_it_does_not_name(make: Make) -> None:
    group = Group(make, 1)

    group.api.update_auto_scaling_group(AutoScalingGroupName=group.name, MinSize=2)

    seen = group.seen()
    assert (seen["MinSize"], seen["MaxSize"], seen["DesiredCapacity"]) == (2, 4, 2)
    assert len(seen["Instances"]) == 2


def test_hooks_are_told_of(make: Make) -> None:
    group = Group(make, 0)
    group.api.put_lifecycle_hook(
        AutoScalingGroupName=group.name,
        LifecycleHookName="terminating",
        LifecycleTransition="autoscaling:EC2_INSTANCE_TERMINATING",
        HeartbeatTimeout=30,
        DefaultResult="CONTINUE",
    )

    (hook,) = group.api.describe_lifecycle_hooks(AutoScalingGroupName=group.name)["LifecycleHooks"]

    assert (hook["LifecycleHookName"], hook["HeartbeatTimeout"]) == ("terminating", 30)
    assert hook["DefaultResult"] == "CONTINUE"


def test_a_group_that_is_deleted_takes_its_nodes_along(make: Make) -> None:
    group = Group(make, 1, protected=False)
    (node,) = group.nodes()

    group.api.delete_auto_scaling_group(AutoScalingGroupName=group.name, ForceDelete=True)

    assert group.machine(node)["State"]["Name"] == "terminated"
    assert not group.api.describe_auto_scaling_groups(AutoScalingGroupNames=[group.name])[
        "AutoScalingGroups"
    ]


def test_spot_prices_have_the_same_form(make: Make) -> None:
    (zone,) = {
        one["AvailabilityZone"]
        for one in make("ec2").describe_spot_price_history(
            InstanceTypes=["g5.xlarge"],
            Filters=[{"Name": "availability-zone", "Values": [f"{REGION}a"]}],
        )["SpotPriceHistory"]
        if one["InstanceType"] == "g5.xlarge" and float(one["SpotPrice"]) > 0 and one["Timestamp"]
    }
    assert zone == f"{REGION}a"


def test_a_rule_sends_what_its_pattern_matches(make: Make) -> None:
    events, sqs = make("events"), make("sqs")
    name = next(NAMES)
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    pattern = {"source": ["own"], "detail": {"group": [{"prefix": "rapido-a"}, "exactly"]}}
    events.put_rule(Name=name, EventPattern=json.dumps(pattern))
    arn = f"arn:aws:sqs:{REGION}:{ACCOUNT_ID}:{name}"
    events.put_targets(Rule=name, Targets=[{"Id": "1", "Arn": arn}])

    groups = ("rapido-a-1", "rapido-b-1", "exactly", "exactly-not")
    events.put_events(
        Entries=[
            {"Source": "own", "DetailType": "x", "Detail": json.dumps({"group": one})}
            for one in groups
        ]
    )

    told = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    assert {json.loads(one["Body"])["detail"]["group"] for one in told} == {
        "rapido-a-1", "exactly",
    }  # fmt: skip


# ---- where moto has nothing ----------------------------------------------------------------------


def test_a_node_waits_at_the_launching_hook_until_it_says_that_it_is_ready(
    ours: Make, told: Told
) -> None:
    group = Group(ours, 1, ("LAUNCHING",))
    ((node, state),) = group.nodes().items()
    event = told.next("EC2 Instance-launch Lifecycle Action", group.name)
    launch = group.activities()[0]

    assert state == "Pending:Wait"
    assert event["path"].endswith("%3Afunction%3ATold/invocations")
    assert event["resources"] == [group.seen()["AutoScalingGroupARN"]]
    assert event["detail"] == event["detail"] | {
        "AutoScalingGroupName": group.name,
        "LifecycleHookName": "launching",
        "EC2InstanceId": node,
        "LifecycleTransition": "autoscaling:EC2_INSTANCE_LAUNCHING",
    }
    assert (launch["StatusCode"], launch["Progress"]) == ("InProgress", 0)

    group.complete(node, "launching")

    assert group.nodes() == {node: "InService"}
    assert group.activities()[0]["StatusCode"] == "Successful"
    assert told.next("EC2 Instance Launch Successful", node)["detail"]["StatusCode"] == "Successful"


def test_a_launch_that_nobody_completes_is_given_up_and_tried_again(ours: Make, told: Told) -> None:
    group = Group(ours, 1, ("LAUNCHING",), heartbeat_s=1)
    (node,) = group.nodes()

    failed = told.next("EC2 Instance Launch Unsuccessful", group.name)

    assert failed["detail"]["EC2InstanceId"] == node
    eventually(lambda: node not in group.nodes() and len(group.nodes()) == 1)
    assert group.machine(node)["State"]["Name"] == "terminated"
    group.api.delete_auto_scaling_group(AutoScalingGroupName=group.name, ForceDelete=True)


def test_a_node_waits_at_the_terminating_hook_and_runs_on(ours: Make, told: Told) -> None:
    group = Group(ours, 2, ("TERMINATING",))
    node, other = group.nodes()

    activity = group.terminate(node)
    event = told.next("EC2 Instance-terminate Lifecycle Action", group.name)
    token = event["detail"]["LifecycleActionToken"]

    assert activity["StatusCode"] == "InProgress"
    assert group.nodes() == {node: "Terminating:Wait", other: "InService"}
    assert group.machine(node)["State"]["Name"] == "running"
    assert group.seen()["DesiredCapacity"] == 1
    assert event["detail"]["Origin"] == "AutoScalingGroup"

    group.complete(node, "terminating", LifecycleActionToken=token)

    assert group.nodes() == {other: "InService"}
    assert group.machine(node)["State"]["Name"] == "terminated"
    gone = [told.next("EC2 Instance State-change Notification", node) for _ in range(2)]
    assert all(
        one["resources"] == [f"arn:aws:ec2:{REGION}:{ACCOUNT_ID}:instance/{node}"] for one in gone
    )
    # EventBridge keeps no order
    assert {one["detail"]["state"] for one in gone} == {"shutting-down", "terminated"}


def test_terminating_twice_is_one_going_and_one_decrement(ours: Make) -> None:
    group = Group(ours, 3, ("TERMINATING",))
    node = next(iter(group.nodes()))

    first, second = group.terminate(node), group.terminate(node)

    assert first["ActivityId"] == second["ActivityId"]
    assert group.seen()["DesiredCapacity"] == 2


def test_a_heartbeat_keeps_the_action_from_running_out(ours: Make) -> None:
    group = Group(ours, 1, ("TERMINATING",), heartbeat_s=2)
    (node,) = group.nodes()
    group.terminate(node)

    began = time.monotonic()
    while time.monotonic() - began < 3:
        group.api.record_lifecycle_action_heartbeat(
            AutoScalingGroupName=group.name, LifecycleHookName="terminating", InstanceId=node
        )
        time.sleep(0.3)

    assert group.nodes() == {node: "Terminating:Wait"}
    eventually(lambda: not group.nodes())


@pytest.mark.parametrize("call", ["complete_lifecycle_action", "record_lifecycle_action_heartbeat"])
def test_an_action_that_is_over_is_refused(ours: Make, call: str) -> None:
    group = Group(ours, 1, ("TERMINATING",))
    (node,) = group.nodes()
    group.terminate(node)
    group.complete(node, "terminating")
    result = {"LifecycleActionResult": "CONTINUE"} if call.startswith("complete") else {}

    with pytest.raises(ClientError, match="No active Lifecycle Action found") as refused:
        getattr(group.api, call)(
            AutoScalingGroupName=group.name,
            LifecycleHookName="terminating",
            InstanceId=node,
            **result,
        )

    assert refused.value.response["Error"]["Code"] == "ValidationError"


def test_a_token_of_another_action_is_refused(ours: Make) -> None:
    group = Group(ours, 1, ("TERMINATING",))
    (node,) = group.nodes()
    group.terminate(node)

    with pytest.raises(ClientError, match="No active Lifecycle Action found"):
        group.complete(node, "terminating", LifecycleActionToken="0" * 36)

    assert group.nodes() == {node: "Terminating:Wait"}


def test_capacity_outside_of_the_groups_bounds_is_refused(ours: Make) -> None:
    group = Group(ours, 1)

    with pytest.raises(ClientError, match="5 is above max value 4"):
        group.want(5)


def test_an_unknown_node_and_one_below_the_minimum_are_refused(ours: Make) -> None:
    group = Group(ours, 1)
    group.api.update_auto_scaling_group(AutoScalingGroupName=group.name, MinSize=1)
    (node,) = group.nodes()

    with pytest.raises(ClientError, match="desiredSize equals minSize"):
        group.terminate(node)
    with pytest.raises(ClientError, match="No managed instance found"):
        group.terminate("i-0123456789abcdef0")

    assert group.nodes() == {node: "InService"}


def test_an_unhealthy_node_is_replaced_behind_its_hook(ours: Make) -> None:
    group = Group(ours, 1, ("TERMINATING",))
    (node,) = group.nodes()

    group.api.set_instance_health(InstanceId=node, HealthStatus="Unhealthy")

    eventually(lambda: len(group.nodes()) == 2)
    assert group.nodes()[node] == "Terminating:Wait"


@pytest.fixture
def spot_capacity(local: LocalAws) -> Iterator[Callable[[float], None]]:
    """Sets the share of spot launches that fail; none again afterwards."""

    def fail(share: float) -> None:
        httpx.put(
            f"{local.url}/desk/capacity", json={"g5.xlarge-spot": share}, timeout=15
        ).raise_for_status()

    yield fail
    fail(0.0)


def test_without_capacity_a_launch_fails_and_comes_once_there_is_some(
    ours: Make, told: Told, spot_capacity: Callable[[float], None]
) -> None:
    group = Group(ours, 0, spot=True)
    spot_capacity(1.0)

    group.want(1)
    event = told.next("EC2 Instance Launch Unsuccessful", group.name)
    (failed,) = group.activities()

    assert group.nodes() == {}
    assert (failed["StatusCode"], failed["Progress"]) == ("Failed", 100)
    assert "no Spot capacity available" in failed["StatusMessage"]
    assert event["detail"]["AutoScalingGroupName"] == group.name
    assert event["detail"]["ActivityId"] == failed["ActivityId"]

    spot_capacity(0.0)
    eventually(lambda: len(group.nodes()) == 1, 15)
    (node,) = group.nodes()
    assert group.machine(node)["InstanceLifecycle"] == "spot"


def test_an_interrupted_node_is_warned_of_and_gone_when_its_notice_ran_out(
    ours: Make, local: LocalAws, told: Told
) -> None:
    group = Group(ours, 1, ("TERMINATING",), spot=True)
    (node,) = group.nodes()

    answer = httpx.post(f"{local.url}/desk/interruptions", json={"of": node, "notice_s": 0.5})
    warning = told.next("EC2 Spot Instance Interruption Warning", node)

    assert answer.json()["node"] == node
    assert warning["detail"] == {"instance-id": node, "instance-action": "terminate"}
    assert warning["resources"][0].endswith(f":instance/{node}")
    eventually(lambda: group.machine(node)["State"]["Name"] == "terminated")
    eventually(lambda: group.nodes().get(node) == "Terminating:Wait")
    assert len(group.nodes()) == 2


def test_an_on_demand_node_is_not_interrupted(ours: Make, local: LocalAws) -> None:
    (node,) = Group(ours, 1).nodes()

    answer = httpx.post(f"{local.url}/desk/interruptions", json={"of": node})

    assert answer.status_code == 400
    assert "no spot node" in answer.json()["detail"]


def test_spot_prices_are_those_of_the_table_a_zone(ours: Make) -> None:
    page = ours("ec2").describe_spot_price_history(
        InstanceTypes=["g5.xlarge"], ProductDescriptions=["Linux/UNIX"]
    )["SpotPriceHistory"]

    by_zone = {one["AvailabilityZone"]: float(one["SpotPrice"]) for one in page}
    assert {f"{REGION}{letter}" for letter in "abc"} <= set(by_zone)
    assert all(0.4 < price < 0.6 for price in by_zone.values())


def test_the_price_list_knows_what_a_type_costs_on_demand(ours: Make) -> None:
    filters = [
        {"Type": "TERM_MATCH", "Field": field, "Value": value}
        for field, value in (
            ("instanceType", "g5.xlarge"), ("regionCode", REGION), ("operatingSystem", "Linux"),
        )
    ]  # fmt: skip

    (text,) = ours("pricing").get_products(ServiceCode="AmazonEC2", Filters=filters)["PriceList"]

    (term,) = json.loads(text)["terms"]["OnDemand"].values()
    (price,) = term["priceDimensions"].values()
    assert float(price["pricePerUnit"]["USD"]) == pytest.approx(1.006)


def test_an_event_comes_again_when_its_function_does_not_take_it(ours: Make, told: Told) -> None:
    told.refused = 2

    ours("events").put_events(
        Entries=[{"Source": "aws.ec2", "DetailType": "again", "Detail": "{}", "Resources": ["a"]}]
    )

    event = told.next("again")
    assert event["resources"] == ["a"]
    assert event["time"].endswith("Z")
