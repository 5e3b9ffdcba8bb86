"""What Ref and GetAtt give for resources that do not exist: names and ARNs of the right form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ops.cell.intrinsics import ACCOUNT_ID

_NAMES = (
    "FunctionName", "RoleName", "QueueName", "TopicName", "StateMachineName", "ManagedPolicyName",
    "LogGroupName", "AutoScalingGroupName", "DBInstanceIdentifier", "ReplicationGroupId", "UserId",
    "BucketName", "InstanceProfileName", "RepositoryName", "UserGroupId", "Name",
)  # fmt: skip
_ARNS = {
    "AWS::AutoScaling::AutoScalingGroup":
        "autoscaling:{at}:autoScalingGroup:*:autoScalingGroupName/{name}",
    "AWS::EC2::LaunchTemplate": "ec2:{at}:launch-template/{name}",
    "AWS::ECR::Repository": "ecr:{at}:repository/{name}",
    "AWS::ElastiCache::ReplicationGroup": "elasticache:{at}:replicationgroup:{name}",
    "AWS::ElastiCache::User": "elasticache:{at}:user:{name}",
    "AWS::Events::Rule": "events:{at}:rule/{name}",
    "AWS::IAM::InstanceProfile": "iam::{account}:instance-profile/{name}",
    "AWS::IAM::ManagedPolicy": "iam::{account}:policy/{name}",
    "AWS::IAM::Role": "iam::{account}:role/{name}",
    "AWS::KMS::Key": "kms:{at}:key/{name}",
    "AWS::Lambda::Function": "lambda:{at}:function:{name}",
    "AWS::Logs::LogGroup": "logs:{at}:log-group:{name}:*",
    "AWS::RDS::DBInstance": "rds:{at}:db:{name}",
    "AWS::S3::Bucket": "s3:::{name}",
    "AWS::SNS::Topic": "sns:{at}:{name}",
    "AWS::SQS::Queue": "sqs:{at}:{name}",
    "AWS::SecretsManager::Secret": "secretsmanager:{at}:secret:{name}-AbCdEf",
    "AWS::StepFunctions::StateMachine": "states:{at}:stateMachine:{name}",
}  # fmt: skip
_ARN_IS_REF = {
    "AWS::IAM::ManagedPolicy", "AWS::SNS::Topic", "AWS::SecretsManager::Secret",
    "AWS::StepFunctions::StateMachine",
}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Where a stack stands."""

    stack: str
    region: str

    @property
    def at(self) -> str:
        """The middle of most ARNs."""
        return f"{self.region}:{ACCOUNT_ID}"


def name_of(place: Place, logical_id: str, properties: Mapping[str, Any]) -> str:
    """Its own name, or one as CloudFormation makes it."""
    for key in _NAMES:
        if isinstance(properties.get(key), str):
            return str(properties[key])
    return f"{place.stack}-{logical_id}-1ABCDEFGHIJKL"


def arn_of(place: Place, logical_id: str, kind: str, properties: Mapping[str, Any]) -> str:
    """``logical_id`` where the type's ARNs are of no interest here."""
    form = _ARNS.get(kind)
    if form is None:
        return f"arn:aws:unknown:{place.at}:{logical_id}"
    name = name_of(place, logical_id, properties)
    return "arn:aws:" + form.format(at=place.at, account=ACCOUNT_ID, name=name)


def reference(place: Place, logical_id: str, kind: str, properties: Mapping[str, Any]) -> str:
    """What Ref gives."""
    if kind in ("AWS::Lambda::Alias", "AWS::Lambda::Version"):
        function, version = properties["FunctionName"], properties.get("Name", 1)
        return f"arn:aws:lambda:{place.at}:function:{function}:{version}"
    if kind in _ARN_IS_REF:
        return arn_of(place, logical_id, kind, properties)
    name = name_of(place, logical_id, properties)
    if kind == "AWS::SQS::Queue":
        return f"https://sqs.{place.region}.amazonaws.com/{ACCOUNT_ID}/{name}"
    return name
