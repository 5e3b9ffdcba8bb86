"""State machines are what the Amazon States Language allows, told by two validators.

statelint follows transitions and paths, cfn-lint's E3601 knows each state's fields; neither sees
all that the other does.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from cfnlint.api import lint
from statelint.linter import Linter

from ops.cell.files import ROOT
from tests.templates import examples
from tests.templates.permissions import definition_of

FILES = sorted((ROOT / "statemachines").glob("*.asl.json"))
ROLE = "arn:aws:iam::123456789012:role/machine"


def faults(definition: dict[str, Any]) -> list[str]:
    """Of the quick one, else of the thorough one."""
    properties = {"RoleArn": ROLE, "Definition": definition}
    machine = {"Type": "AWS::StepFunctions::StateMachine", "Properties": properties}
    return [str(one) for one in Linter.validate(definition)] or [
        one.message for one in lint(json.dumps({"Resources": {"Machine": machine}}))
    ]


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "statemachines" / name).read_text("utf-8"))
    return found


def test_every_machine_of_the_cell_is_valid_with_its_functions_named() -> None:
    machines = dict(examples.cell().of_type("AWS::StepFunctions::StateMachine"))

    found = {name: faults(definition_of(one)) for name, one in machines.items()}

    assert len(machines) == len(FILES)
    assert found == {name: [] for name in machines}
    assert "${" not in json.dumps([definition_of(one) for one in machines.values()])


def state(name: str, **fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda machine: machine["States"][name].update(fields)


def without(name: str, field: str) -> Callable[[dict[str, Any]], None]:
    return lambda machine: machine["States"][name].pop(field)


DEFECTS: dict[str, Callable[[dict[str, Any]], None]] = {
    "a start that is not there": lambda machine: machine.update(StartAt="Nowhere"),
    "a next state that is not there": state("Place the session", Next="Nowhere"),
    "a default that is not there": state("Is a worker leased already?", Default="Nowhere"),
    "a state that nothing leads to": lambda machine: machine["States"].update(
        Lost={"Type": "Pass", "End": True}
    ),
    "a state without a way on": without("Place the session", "Next"),
    "a task without a resource": without("Place the session", "Resource"),
    "a resource that is none": state("Place the session", Resource="lambda"),
    "a type that is none": state("No avatar", Type="Failed"),
    "a field that is none": state("Start the stream", TimeoutSecond=3),
    "a field of the machine that is none": lambda machine: machine.update(Timeout=3),
    "a path without its beginning": state("Start the stream", ResultPath="stream"),
    "a payload's path without its beginning": state(
        "Place the session", Parameters={"FunctionName": ROLE, "Payload": {"given.$": "given"}}
    ),
    "a path that does not parse": state(
        "Place the session", Parameters={"FunctionName": ROLE, "Payload": {"given.$": "$.a[?"}}
    ),
    "an output's path without its beginning": state("Place the session", OutputPath="Payload"),
    "a result in the context": state("Start the stream", ResultPath="$$.stream"),
    "a catch-all that is not the last": lambda machine: machine["States"]["Start the stream"][
        "Catch"
    ].reverse(),
    "fewer than no attempts": state(
        "Fail the session", Retry=[{"ErrorEquals": ["States.ALL"], "MaxAttempts": -1}]
    ),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_is_seen(defect: str) -> None:
    machine = copy.deepcopy(read("session_setup.asl.json"))

    DEFECTS[defect](machine)

    assert faults(machine)
