"""What the templates beside a cell take, and what they refuse before anything is made."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from cfnlint.decode.cfn_yaml import load

INFRA = Path(__file__).parents[2] / "infra"
PARAMETERS = [
    (file, name, declared)
    for file in ("artifacts.yaml", "edge.yaml", "gpu_pool.yaml", "livekit.yaml")
    for name, declared in load(str(INFRA / file))["Parameters"].items()
]
TEXTS = [one for one in PARAMETERS if one[2]["Type"] == "String"]
NUMBERS = [one for one in PARAMETERS if one[2]["Type"] == "Number"]


def takes(declared: dict[str, Any], value: str) -> bool:
    """As CloudFormation decides: the pattern has to fit the whole value."""
    if "AllowedValues" in declared:
        return value in declared["AllowedValues"]
    return re.fullmatch(declared["AllowedPattern"], value) is not None


def label(one: object) -> str:
    return one if isinstance(one, str) else ""


@pytest.mark.parametrize(("file", "name", "declared"), TEXTS, ids=label)
@pytest.mark.parametrize("value", ["a b", "'; rm -rf /", "$(id)", "${AWS::Region}", "x\ny"])
def test_no_text_can_carry_a_command_or_a_reference(
    file: str, name: str, declared: dict[str, Any], value: str
) -> None:
    assert not takes(declared, value)


@pytest.mark.parametrize(("file", "name", "declared"), TEXTS, ids=label)
def test_a_default_is_a_value_that_is_taken(file: str, name: str, declared: dict[str, Any]) -> None:
    assert "Default" not in declared or takes(declared, declared["Default"])


@pytest.mark.parametrize(("file", "name", "declared"), NUMBERS, ids=label)
def test_a_number_has_bounds_that_hold_its_default(
    file: str, name: str, declared: dict[str, Any]
) -> None:
    assert declared["MinValue"] <= declared["Default"] <= declared["MaxValue"]


@pytest.mark.parametrize(
    ("file", "name", "good", "bad"),
    [
        ("edge.yaml", "ViewerHost", "rapido.example.com", "https://rapido.example.com"),
        ("edge.yaml", "ViewerHost", "a.io", "Rapido.example.com"),
        ("edge.yaml", "ViewerHost", "rapido.example.com", "rapido"),
        ("edge.yaml", "HostedZoneId", "Z0123456789ABC", "example.com"),
        ("edge.yaml", "EdgeSecretId", "rapido-prod-edge", "rapido:prod"),
        ("edge.yaml", "PriceClass", "PriceClass_All", "100"),
        ("edge.yaml", "WebAclArn", "", "arn:aws:wafv2:eu-west-1:123456789012:regional/webacl/a/b"),
        ("artifacts.yaml", "CellName", "staging-us-east-1", "us_east_1"),
        ("livekit.yaml", "InstanceType", "c6i.xlarge", "c6i"),
        ("livekit.yaml", "AlarmEmail", "ops@example.com", "ops"),
        ("livekit.yaml", "LivekitImage", f"a/b:v1.13.5@sha256:{'0' * 64}", "a/b:latest"),
    ],
)
def test_a_value_of_its_kind_is_taken_and_nonsense_is_not(
    file: str, name: str, good: str, bad: str
) -> None:
    (declared,) = [one for where, called, one in PARAMETERS if (where, called) == (file, name)]

    assert takes(declared, good)
    assert not takes(declared, bad)
