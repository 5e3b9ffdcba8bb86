"""The edge's template: what CloudFront passes on, what it keeps, and what it never may."""

from __future__ import annotations

import fnmatch
import json
import re
from pathlib import Path
from typing import Any

import pytest

from control.contracts.problem import MEDIA_TYPE, Problem
from ops.cell.intrinsics import read_yaml

ROOT = Path(__file__).parents[2]
CACHING_DISABLED = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
ALL_VIEWER_AND_CLOUDFRONT_HEADERS = "33f36d7e-f396-46d9-90e0-52428a34d9dc"
GATEWAY_LIMIT_S = 29
OPENAPI = json.loads((ROOT / "control/entrypoints/openapi.json").read_text(encoding="utf-8"))
CALLS = [
    (method.upper(), re.sub(r"\{\w+\}", "x", path))
    for path, item in OPENAPI["paths"].items()
    for method in item
    if method in ("get", "post", "put", "patch", "delete")
]


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    return read_yaml(ROOT / "infra/edge.yaml")


@pytest.fixture(scope="module")
def resources(template: dict[str, Any]) -> dict[str, Any]:
    return template["Resources"]  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def distribution(resources: dict[str, Any]) -> dict[str, Any]:
    return resources["Distribution"]["Properties"]["DistributionConfig"]  # type: ignore[no-any-return]


def behaviour_of(distribution: dict[str, Any], path: str) -> dict[str, Any]:
    """The one that CloudFront takes: the first whose pattern fits."""
    for one in distribution["CacheBehaviors"]:
        if fnmatch.fnmatchcase(path, one["PathPattern"]):
            return one  # type: ignore[no-any-return]
    return distribution["DefaultCacheBehavior"]  # type: ignore[no-any-return]


def origin(distribution: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [one for one in distribution["Origins"] if one["Id"] == name]
    return found  # type: ignore[no-any-return]


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_every_call_of_the_api_reaches_a_cell(
    distribution: dict[str, Any], method: str, path: str
) -> None:
    behaviour = behaviour_of(distribution, path)

    assert behaviour["TargetOriginId"] == "cells"
    assert method in behaviour["AllowedMethods"]


def test_no_answer_of_a_cell_is_kept_and_none_is_asked_for_in_the_clear(
    distribution: dict[str, Any],
) -> None:
    to_cells = [b for b in distribution["CacheBehaviors"] if b["TargetOriginId"] == "cells"]

    assert to_cells
    assert {one["CachePolicyId"] for one in to_cells} == {CACHING_DISABLED}
    assert {one["ViewerProtocolPolicy"] for one in to_cells} == {"https-only"}


def test_a_cell_gets_the_viewers_host_and_where_the_viewer_is(
    distribution: dict[str, Any],
) -> None:
    to_cells = [b for b in distribution["CacheBehaviors"] if b["TargetOriginId"] == "cells"]

    assert {one["OriginRequestPolicyId"] for one in to_cells} == {ALL_VIEWER_AND_CLOUDFRONT_HEADERS}


def test_cells_are_found_by_name_over_tls_and_have_time_to_answer(
    distribution: dict[str, Any],
) -> None:
    cells = origin(distribution, "cells")
    how = cells["CustomOriginConfig"]

    assert cells["DomainName"] == {"Fn::Sub": "origin.${ViewerHost}"}
    assert how["OriginProtocolPolicy"] == "https-only"
    assert how["OriginSSLProtocols"] == ["TLSv1.2"]
    assert how["OriginReadTimeout"] > GATEWAY_LIMIT_S
    assert "OriginGroups" not in distribution


def test_the_proof_that_a_call_came_through_is_read_from_a_secret(
    distribution: dict[str, Any],
) -> None:
    (header,) = origin(distribution, "cells")["OriginCustomHeaders"]
    _, pinned, current = header["HeaderValue"]["Fn::If"]

    assert header["HeaderName"] == "x-rapido-edge"
    for value in (pinned, current):
        assert value["Fn::Sub"].startswith("{{resolve:secretsmanager:${EdgeSecretId}:SecretString")


def test_a_path_that_is_nobodys_is_answered_with_a_problem(
    distribution: dict[str, Any], resources: dict[str, Any]
) -> None:
    (association,) = behaviour_of(distribution, "/wp-login.php")["FunctionAssociations"]
    code = resources["NotFound"]["Properties"]["FunctionCode"]
    body = re.search(r"data: '(.*)'", code)
    assert body is not None
    problem = Problem.model_validate_json(body[1])

    assert association["EventType"] == "viewer-request"
    assert association["FunctionARN"] == {"Fn::GetAtt": ["NotFound", "FunctionARN"]}
    assert f"statusCode: {problem.status}," in code
    assert problem.status == 404
    assert MEDIA_TYPE in code


def test_static_files_are_read_by_this_distribution_only(
    distribution: dict[str, Any], resources: dict[str, Any]
) -> None:
    behaviour = behaviour_of(distribution, "/static/tutor.png")
    allowed = [
        one
        for one in resources["StaticPolicy"]["Properties"]["PolicyDocument"]["Statement"]
        if one["Effect"] == "Allow"
    ]
    access = resources["StaticAccess"]["Properties"]["OriginAccessControlConfig"]

    assert behaviour["TargetOriginId"] == "static"
    assert behaviour["AllowedMethods"] == ["GET", "HEAD"]
    assert origin(distribution, "static")["OriginAccessControlId"] == {"Ref": "StaticAccess"}
    assert (access["SigningBehavior"], access["SigningProtocol"]) == ("always", "sigv4")
    assert [one["Principal"] for one in allowed] == [{"Service": "cloudfront.amazonaws.com"}]
    source = allowed[0]["Condition"]["StringEquals"]["aws:SourceArn"]["Fn::Sub"]
    assert source.endswith("distribution/${Distribution}")


def test_viewers_speak_tls_1_2_at_least(distribution: dict[str, Any]) -> None:
    every = [*distribution["CacheBehaviors"], distribution["DefaultCacheBehavior"]]

    assert distribution["ViewerCertificate"]["MinimumProtocolVersion"] == "TLSv1.2_2021"
    assert {one["ViewerProtocolPolicy"] for one in every} <= {"https-only", "redirect-to-https"}
    assert all("ResponseHeadersPolicyId" in one for one in every)


@pytest.mark.parametrize("policy", ["AnswerHeaders", "PageHeaders"])
def test_browsers_are_told_to_be_careful(resources: dict[str, Any], policy: str) -> None:
    config = resources[policy]["Properties"]["ResponseHeadersPolicyConfig"]
    headers = config["SecurityHeadersConfig"]
    content = headers["ContentSecurityPolicy"]["ContentSecurityPolicy"]

    assert headers["StrictTransportSecurity"]["AccessControlMaxAgeSec"] >= 31_536_000
    assert headers["FrameOptions"]["FrameOption"] == "DENY"
    assert all(one["Override"] is True for one in headers.values())
    assert "frame-ancestors 'none'" in content
    assert "unsafe" not in content


def test_the_address_is_told_for_both_kinds_of_ip(resources: dict[str, Any]) -> None:
    records = [
        one["Properties"] for one in resources.values() if one["Type"] == "AWS::Route53::RecordSet"
    ]

    assert {one["Type"] for one in records} == {"A", "AAAA"}
    assert all(one["Name"] == {"Ref": "ViewerHost"} for one in records)
    assert all("Distribution" in str(one["AliasTarget"]["DNSName"]) for one in records)


def test_it_is_refused_where_cloudfront_takes_no_certificate(template: dict[str, Any]) -> None:
    (assertion,) = template["Rules"]["InNorthVirginia"]["Assertions"]

    assert assertion["Assert"] == {"Fn::Equals": [{"Ref": "AWS::Region"}, "us-east-1"]}
    assert "us-east-1" in assertion["AssertDescription"]
