"""An AWS account, by the credentials that boto3 finds."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import boto3

from ops.deploy import names
from ops.deploy.aws_client import Client, translated
from ops.deploy.aws_fleet import AwsFunctions, AwsLimits, AwsPools, AwsQueues
from ops.deploy.aws_leftovers import AwsLeftovers
from ops.deploy.aws_stacks import AwsStacks
from ops.deploy.aws_stores import AwsObjects, AwsSecrets
from ops.deploy.facts import Identity, Zone
from ops.deploy.ports import Region


class Aws:
    """See the port Cloud."""

    def __init__(self) -> None:
        """Raises CloudError: the profile that AWS_PROFILE names is not there."""
        with translated("AWS_PROFILE"):
            self._session = boto3.Session()
        self._regions: dict[str, Region] = {}
        # a session's clients are safe to share between threads, but not to make in two at once
        self._making = threading.Lock()

    def identity(self) -> Identity:
        answer = self._client("sts", names.EDGE_REGION).call("get_caller_identity")
        return Identity(answer["Account"], answer["Arn"])

    def regions(self) -> frozenset[str]:
        answer = self._client("ec2", names.EDGE_REGION).call("describe_regions")
        return frozenset(str(one["RegionName"]) for one in answer["Regions"])

    def zones(self) -> Sequence[Zone]:
        found = self._client("route53", names.EDGE_REGION).pages("list_hosted_zones", "HostedZones")
        return [
            Zone(one["Id"].rpartition("/")[2], one["Name"].rstrip("."))
            for one in found
            if not one["Config"]["PrivateZone"]
        ]

    def region(self, name: str) -> Region:
        with self._making:
            if name not in self._regions:
                self._regions[name] = self._make(name)
            return self._regions[name]

    def _make(self, name: str) -> Region:
        tagging = self._client("resourcegroupstaggingapi", name)
        s3, ec2 = self._client("s3", name), self._client("ec2", name)
        kept = [self._client(each, name) for each in ("ecr", "rds", "kms")]
        return Region(
            name=name,
            stacks=AwsStacks(self._client("cloudformation", name)),
            objects=AwsObjects(s3),
            secrets=AwsSecrets(self._client("secretsmanager", name), name),
            functions=AwsFunctions(self._client("lambda", name)),
            pools=AwsPools(self._client("autoscaling", name)),
            queues=AwsQueues(self._client("sqs", name)),
            limits=AwsLimits(self._client("service-quotas", name), ec2),
            leftovers=AwsLeftovers(tagging, s3, *kept),
        )

    def _client(self, service: str, region: str) -> Client:
        return Client(self._session, service, region)
