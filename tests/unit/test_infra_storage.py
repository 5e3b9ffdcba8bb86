"""Every bucket and repository of the templates: private, encrypted, kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cfnlint.decode.cfn_yaml import load

INFRA = Path(__file__).parents[2] / "infra"


def of_type(kind: str) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (file.name, name, resource)
        for file in sorted(INFRA.glob("*.yaml"))
        for name, resource in load(str(file))["Resources"].items()
        if resource["Type"] == kind
    ]


BUCKETS = of_type("AWS::S3::Bucket")


def named(one: object) -> str:
    return one if isinstance(one, str) else ""


@pytest.mark.parametrize(("file", "name", "bucket"), BUCKETS, ids=named)
def test_a_bucket_is_private_encrypted_and_outlives_its_stack(
    file: str, name: str, bucket: dict[str, Any]
) -> None:
    properties = bucket["Properties"]
    blocks = properties["PublicAccessBlockConfiguration"]
    rules = properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]

    assert len(blocks) == 4
    assert set(blocks.values()) == {True}
    assert properties["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    assert rules[0]["ServerSideEncryptionByDefault"]["SSEAlgorithm"] in ("AES256", "aws:kms")
    assert bucket["DeletionPolicy"] == bucket["UpdateReplacePolicy"] == "Retain"
    assert "BucketName" not in properties


@pytest.mark.parametrize(("file", "name", "bucket"), BUCKETS, ids=named)
def test_a_bucket_is_reached_over_tls_only(file: str, name: str, bucket: dict[str, Any]) -> None:
    (policy,) = [
        one["Properties"]
        for where, _, one in of_type("AWS::S3::BucketPolicy")
        if where == file and one["Properties"]["Bucket"] == {"Ref": name}
    ]
    (denied,) = [one for one in policy["PolicyDocument"]["Statement"] if one["Effect"] == "Deny"]

    assert denied["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert (denied["Principal"], denied["Action"]) == ("*", "s3:*")
    assert denied["Resource"] == [
        {"Fn::GetAtt": [name, "Arn"]},
        {"Fn::Sub": "${" + name + ".Arn}/*"},
    ]


@pytest.mark.parametrize(("file", "name", "bucket"), BUCKETS, ids=named)
def test_a_bucket_gives_nothing_to_everyone(file: str, name: str, bucket: dict[str, Any]) -> None:
    allowed = [
        statement
        for where, _, one in of_type("AWS::S3::BucketPolicy")
        if where == file and one["Properties"]["Bucket"] == {"Ref": name}
        for statement in one["Properties"]["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Allow"
    ]

    for statement in allowed:
        assert set(statement["Principal"]) == {"Service"}
        assert any("aws:Source" in key for key in statement["Condition"]["StringEquals"])


def test_an_avatar_that_workers_fetch_never_expires_and_a_package_outlives_a_roll_back() -> None:
    (rules,) = [
        one["Properties"]["LifecycleConfiguration"]["Rules"]
        for file, _, one in BUCKETS
        if file == "artifacts.yaml"
    ]
    expiring = {one.get("Prefix", ""): one for one in rules if "ExpirationInDays" in one}

    assert set(expiring) == {"packages/"}
    assert expiring["packages/"]["ExpirationInDays"] >= 180


def test_an_image_is_never_replaced_and_is_looked_at_when_it_comes() -> None:
    ((_, _, repository),) = of_type("AWS::ECR::Repository")
    properties = repository["Properties"]
    (rule,) = json.loads(properties["LifecyclePolicy"]["LifecyclePolicyText"])["rules"]

    assert properties["ImageTagMutability"] == "IMMUTABLE"
    assert properties["ImageScanningConfiguration"]["ScanOnPush"] is True
    assert rule["selection"]["countNumber"] == 20
    assert repository["DeletionPolicy"] == "Retain"
