"""Every function of the template starts in the package and answers what AWS would send it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from ops.cell.emulator import FunctionFailed
from ops.cell.files import ROOT
from ops.cell.template import FUNCTION, Function, Template
from tests.integration.package.conftest import EVENTS, Emulate, Stage

FUNCTIONS = Template(ROOT / "template.yaml").names(FUNCTION)


def recorded(function: str) -> dict[str, dict[str, Any]]:
    found = sorted(EVENTS.glob(f"{function}/*.json"))
    return {path.stem: json.loads(path.read_text()) for path in found}


def refusal(event: dict[str, Any], answer: Any) -> str | None:
    """Why the answer is none that the caller could use."""
    if "httpMethod" in event and not 200 <= answer["statusCode"] < 300:
        return f"{answer['statusCode']}: {answer['body']}"
    if "Records" in event and answer.get("batchItemFailures") != []:
        return f"messages come again: {answer}"
    return None


def test_every_function_has_recorded_events_and_every_event_has_a_function() -> None:
    folders = {path.parent.name for path in EVENTS.glob("*/*.json")}

    assert folders == set(FUNCTIONS)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_answers_its_recorded_events(
    name: str, functions: dict[str, Function], emulate: Emulate, stage: Stage
) -> None:
    function = emulate(functions[name])

    for what, event in recorded(name).items():
        answer = function.invoke(stage.live(event))

        assert refusal(event, answer) is None, f"{what}: {refusal(event, answer)}"


def test_a_traced_function_finds_in_the_package_what_tracing_needs(
    functions: dict[str, Function], emulate: Emulate, stage: Stage
) -> None:
    tick = functions["TickFunction"]
    traced = emulate(replace(tick, environment={**tick.environment, "RAPIDO_TRACING": "1"}))

    answer = traced.invoke(stage.live(recorded("TickFunction")["every_minute"]))

    assert "recorded" in answer


def test_a_handler_that_the_package_lacks_is_noticed(
    functions: dict[str, Function], emulate: Emulate
) -> None:
    gone = "control.entrypoints.events.tock"
    function = emulate(replace(functions["TickFunction"], handler=gone))

    with pytest.raises(FunctionFailed, match="HandlerNotFound"):
        function.invoke({})


def test_a_variable_that_the_template_lacks_is_noticed(
    functions: dict[str, Function], emulate: Emulate
) -> None:
    tick = functions["TickFunction"]
    poor = {key: value for key, value in tick.environment.items() if key != "RAPIDO_CELL"}
    function = emulate(replace(tick, environment=poor))

    with pytest.raises(FunctionFailed, match="RAPIDO_CELL is not set"):
        function.invoke({})
