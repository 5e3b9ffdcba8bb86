"""Every deployment that the parameters allow makes stacks; what they do not allow is refused."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from tests.templates import examples
from tests.templates.examples import CELL
from tests.templates.rendering import RenderError, render
from tests.templates.sam import transformed


@pytest.mark.parametrize("path", examples.by_themselves(), ids=lambda path: path.name)
def test_every_combination_of_parameters_makes_a_stack_whose_references_hold(path: Path) -> None:
    faults: dict[str, dict[str, str]] = {}
    for parameters in examples.combinations(path):
        try:
            render(path, parameters, "rapido", examples.REGION)
        except RenderError as error:
            faults.setdefault(str(error), parameters)

    assert faults == {}


def test_every_parameter_of_a_cell_has_examples_here() -> None:
    assert set(transformed(CELL)["Parameters"]) == set(examples.VALUES)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CellName", "US-East"),
        ("CellName", "x" * 31),
        ("CellName", "us--east"),
        ("CellName", "us-east-"),
        ("HomeRegion", "virginia"),
        ("ViewerHost", "https://rapido.example.com"),
        ("HostedZoneId", "rapido.example.com"),
        ("WorkerImage", "123456789012.dkr.ecr.us-east-1.amazonaws.com/worker:latest"),
        ("AvatarsUri", "https://bucket/avatars"),
        ("MinNodes", "-1"),
        ("MaxNodes", "1001"),
        ("MaxNodes", "many"),
        ("Size", "tiny"),
        ("Zones", "us-east-1a,us-east-1b"),
        ("AlarmEmail", "ops"),
        ("MonthlyBudgetUsd", "-5"),
        ("Tracing", "yes"),
        ("WarmRooms", "21"),
        ("LogDays", "31"),
    ],
)
def test_nonsense_is_refused_before_anything_is_made(name: str, value: str) -> None:
    with pytest.raises(RenderError, match=name):
        examples.cell(**{name: value})


def test_an_address_without_its_zone_is_refused() -> None:
    with pytest.raises(RenderError, match="HostedZoneId"):
        examples.cell(HostedZoneId="")


def test_workers_without_avatars_are_refused() -> None:
    with pytest.raises(RenderError, match="AvatarsUri"):
        examples.cell(AvatarsUri="")


# What the services take; AWS's own schemas know a few of these only.
LONGEST = {
    "AliasName": 256,
    "AutoScalingGroupName": 255,
    "DBInstanceIdentifier": 63,
    "DashboardName": 255,
    "QueueName": 80,
    "ReplicationGroupId": 40,
    "RoleName": 64,
    "StateMachineName": 80,
    "TopicName": 256,
    "UserGroupId": 40,
    "UserId": 40,
}


def test_the_longest_names_fit_where_they_go() -> None:
    parameters = examples.deployment(CellName="c" * 30)
    cell = render(CELL, parameters, "rapido-" + "c" * 30, "ap-southeast-2")
    named = [
        (key, value)
        for stack in cell.all()
        for resource in stack.resources.values()
        for key, value in resource["Properties"].items()
        if key in LONGEST
    ]

    assert {key for key, _ in named} == set(LONGEST)
    assert [(key, value) for key, value in named if len(value) > LONGEST[key]] == []


CHILD = """
    Parameters:
      Zone: {Type: String, AllowedPattern: "^[a-z]$"}
      Deep: {Type: String, Default: "no"}
    Conditions: {IsDeep: !Equals [!Ref Deep, "yes"]}
    Resources: {Q: {Type: AWS::SQS::Queue}}
    Outputs:
      Deep: {Condition: IsDeep, Value: !Ref Q}
"""


@pytest.mark.parametrize(
    ("resource", "fault"),
    [
        ("{Type: AWS::SQS::Queue, Properties: {QueueName: !Ref Lost}}", "Lost is neither"),
        ("{Type: AWS::SQS::Queue, Properties: {QueueName: !Ref Absent}}", "Absent does not exist"),
        ("{Type: AWS::SQS::Queue, DependsOn: Lost}", "there is no Lost"),
        ("{Type: AWS::SQS::Queue, Properties: {QueueName: !Ref Q}}", "depends on itself"),
        (
            "{Type: AWS::CloudFormation::Stack, Properties: {TemplateURL: child.yaml, "
            "Parameters: {Zone: 7}}}",
            "Zone is '7': does not match",
        ),
        (
            "{Type: AWS::CloudFormation::Stack, Properties: {TemplateURL: child.yaml}}",
            "Zone has no value",
        ),
        (
            "{Type: AWS::SQS::Queue, Properties: {QueueName: !GetAtt Below.Outputs.Deep}}",
            "Below.Outputs.Deep has no value",
        ),
    ],
)
def test_a_reference_that_does_not_hold_is_named(tmp_path: Path, resource: str, fault: str) -> None:
    (tmp_path / "child.yaml").write_text(dedent(CHILD), encoding="utf-8")
    text = f"""
        Conditions: {{Never: !Equals [a, b]}}
        Resources:
          Absent: {{Type: AWS::SQS::Queue, Condition: Never}}
          Below:
            Type: AWS::CloudFormation::Stack
            Properties: {{TemplateURL: child.yaml, Parameters: {{Zone: a}}}}
          Q: {resource}
    """
    path = tmp_path / "parent.yaml"
    path.write_text(dedent(text), encoding="utf-8")

    with pytest.raises(RenderError, match=fault):
        render(path, {}, "parent", examples.REGION)
