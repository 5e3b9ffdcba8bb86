"""Roles hold what their programs call: all of it, and nothing else.

What is called comes from the text (tests/templates/walk.py), what is allowed from the template as
SAM transforms it, so a call that no test runs is found as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import app  # noqa: F401 (it fills ROUTES)
from control.entrypoints.http import ROUTES, Auth
from ops.cell.files import ROOT
from tests.templates import asl, examples, iam, worker
from tests.templates.objects import Use
from tests.templates.permissions import (
    called_by,
    definition_of,
    differences,
    keys_behind,
    misses,
    role_of,
)
from tests.templates.rendering import Stack, render

DEPLOYMENTS = {
    "home": {},
    "away": {"HomeCell": "us-west-2"},
    "own stores": {name: examples.VALUES[name][1] for name in ("StoreUrl", "DatabaseUrl")},
}
# What services do as a role that they are given, as their guides list it.
FLOW_LOGS = ("CreateLogStream", "DescribeLogGroups", "DescribeLogStreams", "PutLogEvents")
STATES_LOGS = (
    "CreateLogDelivery", "DeleteLogDelivery", "DescribeLogGroups", "DescribeResourcePolicies",
    "GetLogDelivery", "ListLogDeliveries", "PutResourcePolicy", "UpdateLogDelivery",
)  # fmt: skip
STATES_TRACES = (
    "GetSamplingRules", "GetSamplingTargets", "PutTelemetryRecords", "PutTraceSegments",
)  # fmt: skip
KEPT_BY_AWS = {
    "apigateway.amazonaws.com": "AmazonAPIGatewayPushToCloudWatchLogs",
    "codedeploy.amazonaws.com": "AWSCodeDeployRoleForLambdaLimited",
    "monitoring.rds.amazonaws.com": "AmazonRDSEnhancedMonitoringRole",
}
ON_EVERYTHING = {
    "logs:DescribeLogGroups": "it is asked for all groups, before the one it writes to is known",
}


@pytest.fixture(params=DEPLOYMENTS)
def cell(request: pytest.FixtureRequest) -> Stack:
    return examples.cell(**DEPLOYMENTS[request.param])


def own(root: Stack, role: dict[str, Any]) -> list[iam.Grant]:
    return [one for one in iam.grants(root, role) if not one.of_aws]


def kept_by_aws(root: Stack, role: dict[str, Any]) -> set[str]:
    return {one.source for one in iam.grants(root, role) if one.of_aws}


def roles(root: Stack, principal: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for stack in root.all():
        for name, role in stack.of_type("AWS::IAM::Role"):
            for one in role["AssumeRolePolicyDocument"]["Statement"]:
                if principal in iam.listed(one["Principal"].get("Service", ())):
                    yield name, role


def started(root: Stack) -> list[Use]:
    """What the scripts ask for that nodes run when they start."""
    return [
        use
        for stack in root.all()
        for name, template in stack.of_type("AWS::EC2::LaunchTemplate")
        for use in worker.of_script(template["LaunchTemplateData"]["UserData"], name)
    ]


def test_a_function_may_do_what_its_code_can_come_to_call_and_nothing_else(
    cell: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for name, function in cell.of_type("AWS::Lambda::Function"):
        # peers are called as the cell's peer role
        uses = [u for u in called_by(function, monkeypatch) if u.action != "execute-api:Invoke"]
        allowed = own(cell, role_of(cell, function["Role"]))
        uses += keys_behind(cell, uses, allowed)
        found += differences(name, uses, allowed)
        found += misses(name, uses, allowed, cell.place.region)

    assert found == []


def test_what_lambda_does_for_a_function_is_allowed_by_the_policies_that_aws_keeps(
    cell: Stack,
) -> None:
    polled = [one["FunctionName"] for _, one in cell.of_type("AWS::Lambda::EventSourceMapping")]
    found = []
    for name, function in cell.of_type("AWS::Lambda::Function"):
        wanted = {"AWSLambdaBasicExecutionRole"}
        if "VpcConfig" in function:
            wanted.add("AWSLambdaVPCAccessExecutionRole")
        if "TracingConfig" in function:
            wanted.add("AWSXrayWriteOnlyAccess")
        if any(one.startswith(cell.arn(name)) or one == cell.reference(name) for one in polled):
            wanted.add("AWSLambdaSQSQueueExecutionRole")
        held = kept_by_aws(cell, role_of(cell, function["Role"]))
        found += [f"{name}: {wanted ^ held}"] if held != wanted else []

    assert found == []


@pytest.mark.parametrize("tracing", ["0", "1"])
def test_a_state_machine_may_do_what_its_states_ask_for_and_nothing_else(tracing: str) -> None:
    cell = examples.cell(Tracing=tracing)
    found = []
    for name, machine in cell.of_type("AWS::StepFunctions::StateMachine"):
        uses = list(asl.uses(definition_of(machine), name))
        if "LoggingConfiguration" in machine:
            uses += [Use(f"logs:{one}", f"{name}'s logging") for one in STATES_LOGS]
        if tracing == "1":
            uses += [Use(f"xray:{one}", f"{name}'s traces") for one in STATES_TRACES]
        allowed = iam.grants(cell, role_of(cell, machine["RoleArn"]))
        found += differences(name, uses, allowed)
        found += misses(name, uses, allowed, cell.place.region)

    assert found == []


def test_a_rule_may_start_its_machine_and_nothing_else(cell: Stack) -> None:
    targets = [
        (name, target)
        for name, rule in cell.of_type("AWS::Events::Rule")
        for target in rule["Targets"]
        if "RoleArn" in target
    ]

    assert targets
    for name, target in targets:
        use = Use("states:StartExecution", name, (), {"stateMachineArn": target["Arn"]})
        allowed = iam.grants(cell, role_of(cell, target["RoleArn"]))
        assert differences(name, [use], allowed) == []
        assert misses(name, [use], allowed, cell.place.region) == []


def test_the_calendar_may_start_its_machine_and_nothing_else(cell: Stack) -> None:
    ((name, one),) = cell.of_type("AWS::Scheduler::Schedule")

    use = Use("states:StartExecution", name, (), {"stateMachineArn": one["Target"]["Arn"]})
    allowed = iam.grants(cell, role_of(cell, one["Target"]["RoleArn"]))

    assert differences(name, [use], allowed) == []
    assert misses(name, [use], allowed, cell.place.region) == []
    asked = json.loads(one["Target"]["Input"])
    assert asked == {"region": cell.place.region, "slots": 120, "reason": "calendar 1"}


def test_a_worker_may_do_what_its_node_its_container_and_its_program_do_and_nothing_else() -> None:
    cell = examples.cell()
    ((name, role),) = roles(cell, "ec2.amazonaws.com")

    uses = [*worker.of_program(ROOT / "gpu_node"), *started(cell)]

    assert differences(name, uses, own(cell, role)) == []
    assert kept_by_aws(cell, role) == {"AmazonSSMManagedInstanceCore"}


@pytest.mark.parametrize("path", examples.by_themselves()[1:], ids=lambda path: path.name)
def test_nodes_beside_a_cell_may_do_what_their_start_asks_for_and_nothing_else(path: Path) -> None:
    (parameters, *_) = examples.combinations(path)
    stack = render(path, parameters, "beside", examples.REGION)
    nodes = list(roles(stack, "ec2.amazonaws.com"))

    services = [one for principal in KEPT_BY_AWS for one in roles(stack, principal)]
    looked_at = sorted(name for name, _ in [*nodes, *services])
    assert looked_at == sorted(name for name, _ in stack.of_type("AWS::IAM::Role"))
    for _, role in services:
        assert own(stack, role) == []
        assert kept_by_aws(stack, role) <= set(KEPT_BY_AWS.values())
    for name, role in nodes:
        assert differences(name, started(stack), own(stack, role)) == []
        assert kept_by_aws(stack, role) == {"AmazonSSMManagedInstanceCore"}


def paths(auth: Auth, **parts: str) -> set[str]:
    """METHOD/path of the routes that ask for that signature."""
    found = {f"{one.method}{one.path}" for one in ROUTES if one.auth == auth}
    return {one.format_map(parts) for one in found}


def invoked(root: Stack, role: dict[str, Any]) -> set[str]:
    """The resources of execute-api, from the method on."""
    return {
        resource.split("/cell/", 1)[1]
        for one in own(root, role)
        if one.action == "execute-api:Invoke"
        for resource in one.resources
    }


def test_a_worker_may_call_the_workers_routes_of_its_own_cell_and_no_others(cell: Stack) -> None:
    ((_, role),) = roles(cell, "ec2.amazonaws.com")
    (api,) = (cell.reference(name) for name, _ in cell.of_type("AWS::ApiGateway::RestApi"))
    grants = [one for one in own(cell, role) if one.action == "execute-api:Invoke"]

    assert invoked(cell, role) == paths("worker", worker_id="*")
    assert all(f":{api}/" in resource for one in grants for resource in one.resources)


def test_a_cell_may_call_the_peers_routes_and_tells_of_none_but_itself(cell: Stack) -> None:
    (role,) = (one for name, one in cell.of_type("AWS::IAM::Role") if name == "PeerRole")

    assert {one.action for one in iam.grants(cell, role)} == {"execute-api:Invoke"}
    assert invoked(cell, role) == paths("peer", cell=cell.parameters["CellName"], digest="*")


def test_services_may_do_with_their_roles_what_their_guides_list(cell: Stack) -> None:
    ((_, writer),) = roles(cell, "vpc-flow-logs.amazonaws.com")

    assert {one.action for one in iam.grants(cell, writer)} == {f"logs:{x}" for x in FLOW_LOGS}
    for principal, policy in KEPT_BY_AWS.items():
        for _, role in roles(cell, principal):
            assert (own(cell, role), kept_by_aws(cell, role)) == ([], {policy})


def test_every_role_is_one_that_is_looked_at_here(cell: Stack) -> None:
    known = {"ec2.amazonaws.com", "events.amazonaws.com", "lambda.amazonaws.com"}
    known |= {
        "scheduler.amazonaws.com",
        "states.amazonaws.com",
        "vpc-flow-logs.amazonaws.com",
        *KEPT_BY_AWS,
    }
    strange = [
        name
        for stack in cell.all()
        for name, role in stack.of_type("AWS::IAM::Role")
        for one in role["AssumeRolePolicyDocument"]["Statement"]
        if name != "PeerRole"
        and not set(iam.listed(one["Principal"].get("Service", "nobody"))) <= known
    ]

    assert strange == []


def test_a_policy_names_actions_that_exist_and_its_resources_wherever_aws_lets_it(
    cell: Stack,
) -> None:
    found = []
    for stack in cell.all():
        for name, role in stack.of_type("AWS::IAM::Role"):
            for one in own(cell, role):
                if "*" in one.action or not iam.exists(one.action):
                    found.append(f"{name}: {one.action} is no action")
                elif one.action in ON_EVERYTHING or not iam.takes_resources(one.action):
                    continue
                elif "*" in one.resources:
                    found.append(f"{name}: {one.action} on everything")

    assert found == []
