"""The fake account of the deployer's tests beside moto's, through the deployer's own ports.

Only what moto truly does is held against it: stacks by change sets, their events, conditional
writes, secrets and their copies. Roll-backs, nested stacks, outputs, latency and what happens
to single resources are the fake's own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from ops.deploy.aws import Aws
from ops.deploy.facts import Conflict, Identity, Leftover, Stack, Submission
from ops.deploy.pace import Pace
from ops.deploy.ports import Cloud, Objects
from ops.deploy.progress import Line
from ops.deploy.stacks import Driver
from tests.fake_cloud import FakeCloud

REGION = "us-west-2"
TEMPLATE = json.dumps(
    {
        "Parameters": {"Seconds": {"Type": "String"}, "Name": {"Type": "String", "Default": "a"}},
        "Resources": {
            "Queue": {
                "Type": "AWS::SQS::Queue",
                "Properties": {"VisibilityTimeout": {"Ref": "Seconds"}},
            }
        },
    }
)


@pytest.fixture(params=["fake", "moto"])
def cloud(request: pytest.FixtureRequest, moto: Aws) -> Cloud:
    return moto if request.param == "moto" else FakeCloud()


@pytest.fixture
def moto(monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "none")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        yield Aws()


@pytest.fixture
def bucket(cloud: Cloud) -> str:
    if isinstance(cloud, FakeCloud):
        cloud.buckets["bucket"] = {}
    else:
        where = {"LocationConstraint": REGION}
        _client("s3").create_bucket(Bucket="bucket", CreateBucketConfiguration=where)
    return "bucket"


def _client(service: str) -> Any:
    make: Any = boto3.client
    return make(service, region_name=REGION)


class Operator:
    """Brings a stack, and keeps what was told."""

    def __init__(self, cloud: Cloud, bucket: str) -> None:
        self.lines: list[Line] = []
        here = cloud.region(REGION)
        self.driver = Driver(REGION, here.stacks, self.lines.append, Pace(0.0))
        digest = hashlib.sha256(TEMPLATE.encode()).hexdigest()
        here.objects.put_file(bucket, "t.json", TEMPLATE.encode(), digest)
        self.url = f"https://{bucket}.s3.{REGION}.amazonaws.com/t.json"

    def bring(self, **parameters: str | None) -> tuple[Stack, bool]:
        return self.driver.bring(Submission("stack", self.url, parameters, {"a": "b"}))

    def statuses(self) -> list[str]:
        return [line.status for line in self.lines if line.resource == "stack"]


@pytest.fixture
def operator(cloud: Cloud, bucket: str) -> Operator:
    return Operator(cloud, bucket)


def test_a_stack_is_made_by_a_change_set(operator: Operator) -> None:
    stack, _ = operator.bring(Seconds="30")

    assert stack.status == "CREATE_COMPLETE"
    assert dict(stack.parameters) == {"Seconds": "30", "Name": "a"}
    assert operator.statuses() == ["CREATE_IN_PROGRESS", "CREATE_COMPLETE"]


def test_the_same_again_is_nothing_to_change(operator: Operator) -> None:
    operator.bring(Seconds="30", Name="a")

    stack, changed = operator.bring(Seconds="30", Name="a")

    assert not changed
    assert stack.status == "CREATE_COMPLETE"
    assert operator.statuses() == ["CREATE_IN_PROGRESS", "CREATE_COMPLETE", "UNCHANGED"]


def test_another_parameter_is_an_update_and_none_keeps_the_one_before(operator: Operator) -> None:
    operator.bring(Seconds="30", Name="b")

    stack, _ = operator.bring(Seconds="60", Name=None)

    assert stack.status == "UPDATE_COMPLETE"
    assert dict(stack.parameters) == {"Seconds": "60", "Name": "b"}
    assert operator.statuses()[2:] == ["UPDATE_IN_PROGRESS", "UPDATE_COMPLETE"]


def test_a_stack_that_is_gone_is_found_by_its_id_only(operator: Operator, cloud: Cloud) -> None:
    stack, _ = operator.bring(Seconds="30")

    assert operator.driver.remove("stack")

    stacks = cloud.region(REGION).stacks
    assert stacks.find("stack") is None
    gone = stacks.find(stack.id)
    assert gone is not None
    assert gone.status == "DELETE_COMPLETE"
    assert not operator.driver.remove("stack")


def test_a_stack_says_what_it_has(operator: Operator, cloud: Cloud) -> None:
    stack, _ = operator.bring(Seconds="30")

    (queue,) = cloud.region(REGION).stacks.resources(stack.id)

    assert (queue.logical_id, queue.kind) == ("Queue", "AWS::SQS::Queue")
    assert queue.physical_id


def test_a_change_set_that_was_not_executed_leaves_a_stack_in_review(
    operator: Operator, cloud: Cloud
) -> None:
    stacks = cloud.region(REGION).stacks
    asked = Submission("stack", operator.url, {"Seconds": "30"})
    stacks.propose("one", asked, create=True, nested=False)
    left = stacks.find("stack")
    assert left is not None
    assert left.status == "REVIEW_IN_PROGRESS"

    stack, _ = operator.bring(Seconds="30")

    assert stack.status == "CREATE_COMPLETE"
    assert stack.id != left.id


@pytest.fixture
def objects(cloud: Cloud) -> Objects:
    return cloud.region(REGION).objects


def test_what_was_stored_is_known_by_its_digest(objects: Objects, bucket: str) -> None:
    digest = hashlib.sha256(b"content").hexdigest()
    assert objects.sha256(bucket, "key") is None

    objects.put_file(bucket, "key", b"content", digest)

    assert objects.sha256(bucket, "key") == digest


def test_only_the_first_writes_where_nothing_is(objects: Objects, bucket: str) -> None:
    etag = objects.write_if(bucket, "lock", b"one", None)

    with pytest.raises(Conflict):
        objects.write_if(bucket, "lock", b"two", None)

    held = objects.read(bucket, "lock")
    assert held is not None
    assert (held.body, held.etag) == (b"one", etag)
    assert 0 <= held.age_s + 1 < 60


def test_only_who_knows_what_is_there_replaces_or_removes_it(objects: Objects, bucket: str) -> None:
    first = objects.write_if(bucket, "lock", b"one", None)
    second = objects.write_if(bucket, "lock", b"two", first)

    with pytest.raises(Conflict):
        objects.write_if(bucket, "lock", b"three", first)
    with pytest.raises(Conflict):
        objects.remove_if(bucket, "lock", first)
    objects.remove_if(bucket, "lock", second)

    assert objects.read(bucket, "lock") is None


def test_a_secret_is_made_once_and_copied(cloud: Cloud) -> None:
    here, there = cloud.region(REGION).secrets, cloud.region("us-east-1").secrets
    assert here.current("edge") is None
    here.create("edge", "value", "what it is")

    with pytest.raises(Conflict):
        here.create("edge", "other", "what it is")
    here.replicate("edge", ["us-east-1"])

    assert here.replicas("edge") == ["us-east-1"]
    first, copy = here.current("edge"), there.current("edge")
    assert first is not None
    assert copy is not None
    assert (first.value, copy.value) == ("value", "value")


def test_a_secret_goes_with_its_copies_and_only_where_it_was_made(cloud: Cloud) -> None:
    here, there = cloud.region(REGION).secrets, cloud.region("us-east-1").secrets
    here.create("edge", "value", "what it is")
    here.replicate("edge", ["us-east-1"])

    there.delete("edge")
    assert here.current("edge") is not None
    here.delete("edge")

    assert here.current("edge") is None
    assert there.current("edge") is None


# what only moto answers: the adapter's own questions


def test_the_account_tells_who_calls_its_regions_and_its_public_zones(moto: Aws) -> None:
    route53 = _client("route53")
    route53.create_hosted_zone(Name="example.com", CallerReference="1")
    route53.create_hosted_zone(
        Name="inner.example.com",
        CallerReference="2",
        HostedZoneConfig={"PrivateZone": True},
        VPC={"VPCRegion": REGION, "VPCId": "vpc-1"},
    )

    assert moto.identity() == Identity("123456789012", moto.identity().arn)
    assert REGION in moto.regions()
    assert [zone.domain for zone in moto.zones()] == ["example.com"]


def test_a_region_tells_which_nodes_it_has_and_what_is_used(moto: Aws) -> None:
    limits = moto.region(REGION).limits

    assert limits.offered(("g5.xlarge", "g5.never")) == {"g5.xlarge"}
    assert limits.networks() == 1
    before = limits.addresses()
    _client("ec2").allocate_address(Domain="vpc")
    assert limits.addresses() == before + 1


def test_a_queue_tells_its_letters_and_where_dead_ones_go(moto: Aws) -> None:
    sqs = _client("sqs")
    dead = sqs.create_queue(QueueName="dead")["QueueUrl"]
    asked = {"QueueUrl": dead, "AttributeNames": ["QueueArn"]}
    arn = sqs.get_queue_attributes(**asked)["Attributes"]["QueueArn"]
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 3})
    live = sqs.create_queue(QueueName="live", Attributes={"RedrivePolicy": policy})["QueueUrl"]
    sqs.send_message(QueueUrl=dead, MessageBody="poison")

    queues = moto.region(REGION).queues

    assert queues.describe(live).dead_arn == arn
    assert (queues.describe(dead).arn, queues.describe(dead).messages) == (arn, 1)


def test_pools_are_found_by_the_cells_tag_and_emptied(moto: Aws) -> None:
    scaling, ec2 = _client("autoscaling"), _client("ec2")
    image = ec2.describe_images()["Images"][0]["ImageId"]
    scaling.create_launch_configuration(
        LaunchConfigurationName="l", ImageId=image, InstanceType="t3.micro"
    )
    for name, tags in (("pool", ("rapido:cell", "rapido:pool")), ("rooms", ("rapido:cell",))):
        scaling.create_auto_scaling_group(
            AutoScalingGroupName=name,
            LaunchConfigurationName="l",
            MinSize=1,
            MaxSize=2,
            AvailabilityZones=[f"{REGION}a"],
            NewInstancesProtectedFromScaleIn=True,
            Tags=[
                {"Key": key, "Value": "us-west-2", "PropagateAtLaunch": True, "ResourceId": name}
                for key in tags
            ],
        )
    pools = moto.region(REGION).pools

    (group,) = pools.groups("us-west-2")
    assert [node.protected for node in group.instances] == [True]
    pools.empty(group.name, [node.id for node in group.instances])

    assert [group.instances for group in pools.groups("us-west-2")] == [()]


def test_what_a_stack_left_is_found_by_its_tag_and_deleted_with_all_it_holds(moto: Aws) -> None:
    tag = [{"Key": "rapido:stack", "Value": "rapido-x"}]
    s3, kms = _client("s3"), _client("kms")
    where = {"LocationConstraint": REGION}
    for name in ("ours", "others"):
        s3.create_bucket(Bucket=name, CreateBucketConfiguration=where)
    s3.put_bucket_tagging(Bucket="ours", Tagging={"TagSet": tag})
    s3.put_bucket_versioning(Bucket="ours", VersioningConfiguration={"Status": "Enabled"})
    for body in (b"1", b"2"):
        s3.put_object(Bucket="ours", Key="k", Body=body)
    s3.delete_object(Bucket="ours", Key="k")
    key = kms.create_key(Tags=[{"TagKey": "rapido:stack", "TagValue": "rapido-x"}])
    leftovers = moto.region(REGION).leftovers

    found = leftovers.of("rapido-x")
    assert set(found) == {Leftover("bucket", "ours"), Leftover("key", key["KeyMetadata"]["KeyId"])}
    for one in (*found, *found):
        leftovers.delete(one)

    assert [one["Name"] for one in s3.list_buckets()["Buckets"]] == ["others"]
    (left,) = kms.list_keys()["Keys"]
    assert kms.describe_key(KeyId=left["KeyId"])["KeyMetadata"]["KeyState"] == "PendingDeletion"
