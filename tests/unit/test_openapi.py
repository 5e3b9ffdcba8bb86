"""The committed description and the template are the code's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from app import app
from control.contracts.problem import MEDIA_TYPE, TYPE_PREFIX, Problem
from control.entrypoints import cell_api, openapi
from control.entrypoints.http import ROUTES
from ops.cell.files import ROOT
from ops.cell.intrinsics import read_yaml


def test_the_committed_openapi_file_is_the_codes() -> None:
    remedy = "run python -m control.entrypoints.openapi"
    assert cell_api.OPENAPI.read_text() == openapi.text(), remedy


def test_the_template_names_every_route_with_its_credentials() -> None:
    functions = read_yaml(Path(ROOT / "template.yaml"))["Resources"]
    events = functions["ApiFunction"]["Properties"]["Events"].values()
    named = {
        (e["Properties"]["Method"].upper(), e["Properties"]["Path"], "Auth" in e["Properties"])
        for e in events
    }
    assert named == {(r.method, r.path, r.signed) for r in ROUTES}


def test_the_app_serves_every_described_route() -> None:
    served = {(method, path) for path, methods in app.routes.items() for method in methods}
    assert served == {(route.method, route.path) for route in ROUTES}


# What the gateway puts in place of $context variables; messageString comes with its quotes.
CONTEXT = {"error.messageString": '"Missing Authentication Token"', "status": "403"}


def gateway_responses() -> dict[str, dict[str, Any]]:
    api = read_yaml(ROOT / "template.yaml")["Resources"]["Api"]["Properties"]
    found: dict[str, dict[str, Any]] = api["GatewayResponses"]
    return found


def test_what_the_gateway_itself_refuses_is_a_problem_like_ours() -> None:
    responses = gateway_responses()

    assert {"DEFAULT_4XX", "DEFAULT_5XX"} <= set(responses)
    for response in responses.values():
        ((media_type, template),) = response["ResponseTemplates"].items()
        text = re.sub(r"\$context\.([\w.]+\w)", lambda name: CONTEXT[name[1]], template)
        problem = Problem.model_validate_json(text)
        assert media_type == MEDIA_TYPE
        assert problem.type.startswith(TYPE_PREFIX)
        assert response.get("StatusCode", problem.status) == problem.status
        assert "$" not in text


def test_a_caller_that_the_gateway_throttles_is_told_when_to_come_again() -> None:
    throttled = gateway_responses()["THROTTLED"]

    assert throttled["StatusCode"] == 429
    assert throttled["ResponseParameters"]["Headers"]["Retry-After"] == "'1'"


def test_every_route_that_the_gateway_signs_for_says_so_in_openapi() -> None:
    described = openapi.describe()["paths"]

    for route in ROUTES:
        security = described[route.path][route.method.lower()]["security"]
        assert ({"sigv4": []} in security) == route.signed


def test_a_call_with_a_body_takes_json_and_answers_problems_by_default() -> None:
    described = openapi.describe()["paths"]

    for route in ROUTES:
        operation = described[route.path][route.method.lower()]
        taken = set(operation.get("requestBody", {}).get("content", {}))
        served = set(app.routes[route.path][route.method].content_types)
        assert taken <= {"application/json"} <= served
        assert set(operation["responses"]["default"]["content"]) == {MEDIA_TYPE}
