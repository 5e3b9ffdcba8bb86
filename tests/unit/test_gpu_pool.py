"""A pool's template: what its nodes run when they start, and what its group may do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from cfnlint.decode.cfn_yaml import load

from gpu_node.settings import from_environment
from tests.shell import shell_faults

VALUES = {
    "CellUrl": "https://cell.example.com/cell",
    "AvatarsUri": "s3://avatars/prod",
    "CellName": "use1",
    "InstanceType": "g5.xlarge",
    "Market": "spot",
}


@pytest.fixture(scope="module")
def resources() -> dict[str, Any]:
    found: dict[str, Any] = load(str(Path(__file__).parents[2] / "infra" / "gpu_pool.yaml"))
    return found["Resources"]


@pytest.fixture(scope="module")
def script(resources: dict[str, Any]) -> str:
    """The user data, as CloudFormation fills it in."""
    data = resources["LaunchTemplate"]["Properties"]["LaunchTemplateData"]["UserData"]
    text, _ = data["Fn::Base64"]["Fn::Sub"]
    return re.sub(r"\$\{(\w+)\}", lambda found: VALUES.get(found[1], "x"), text)


def test_a_shell_linter_finds_nothing_in_what_a_node_runs_at_its_start(script: str) -> None:
    assert shell_faults(script) == ""


def test_a_node_gives_its_worker_settings_that_a_worker_takes(script: str) -> None:
    text = script.split("worker.env <<END\n", 1)[1].split("\nEND\n", 1)[0]
    told = {"id": "i-0123456789abcdef0", "address": "10.0.1.7", "region": "eu-central-1"}
    told["zone"] = "eu-central-1b"
    filled = re.sub(r"\$(\w+)", lambda found: told[found[1]], text)
    environment = dict(line.split("=", 1) for line in filled.splitlines())

    settings = from_environment(environment)

    assert settings.worker_id == told["id"]
    assert settings.url(8080) == "http://10.0.1.7:8080"
    assert (settings.device, settings.emf, settings.avatars) == ("cuda", True, "s3://avatars/prod")
    assert "video" in environment["NVIDIA_DRIVER_CAPABILITIES"]


def test_nothing_but_a_drained_node_leaves_and_the_net_only_adds(resources: dict[str, Any]) -> None:
    group = resources["Group"]["Properties"]
    net = resources["Net"]["Properties"]["TargetTrackingConfiguration"]
    hooks = {one["LifecycleTransition"] for one in group["LifecycleHookSpecificationList"]}

    assert group["NewInstancesProtectedFromScaleIn"] is True
    assert group["CapacityRebalance"] is False
    assert net["DisableScaleIn"] is True
    assert hooks == {
        "autoscaling:EC2_INSTANCE_LAUNCHING",
        "autoscaling:EC2_INSTANCE_TERMINATING",
    }


def test_credentials_of_a_node_are_asked_for_by_token_only(resources: dict[str, Any]) -> None:
    data = resources["LaunchTemplate"]["Properties"]["LaunchTemplateData"]

    assert data["MetadataOptions"]["HttpTokens"] == "required"
    assert data["NetworkInterfaces"][0]["AssociatePublicIpAddress"] is False
    assert data["BlockDeviceMappings"][0]["Ebs"]["Encrypted"] is True
    assert "KeyName" not in data
