"""The templates under a security scanner of the field, checkov, which calls nobody here."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ops.cell.files import ROOT, plain_environment
from ops.cell.intrinsics import read_yaml

CHECKOV = ROOT / ".venv-scan" / "bin" / "checkov"
TEMPLATES = (ROOT / "template.yaml", *sorted((ROOT / "infra").glob("*.yaml")))


OPEN = "Resources:\n  B: {Type: AWS::S3::Bucket, Properties: {AccessControl: PublicRead}}\n"


@dataclass(frozen=True)
class Scan:
    """Results by kind; ``planted`` are the failures in a template that is made to fail."""

    ours: dict[str, list[dict[str, Any]]]
    planted: list[dict[str, Any]]


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Scan:
    assert CHECKOV.exists(), "checkov is not installed: run make test once"
    planted = tmp_path_factory.mktemp("planted") / "open.yaml"
    planted.write_text(OPEN, encoding="utf-8")
    command = [CHECKOV, "--framework", "cloudformation", "--skip-download", "--output", "json"]
    done = subprocess.run(
        [*command, "--file", *TEMPLATES, planted],
        cwd=ROOT,
        env=plain_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    results = json.loads(done.stdout)["results"]
    failed = results["failed_checks"]
    there = [one for one in failed if one["file_abs_path"] == str(planted)]
    return Scan(results | {"failed_checks": [one for one in failed if one not in there]}, there)


def told(results: list[dict[str, Any]]) -> list[str]:
    return [
        f"{one['check_id']} {one['resource']} {one['file_path']}: {one['check_name']}"
        for one in results
    ]


def suppressions() -> Iterator[tuple[Path, str, str, str]]:
    for path in TEMPLATES:
        for name, resource in read_yaml(path)["Resources"].items():
            skips = resource.get("Metadata", {}).get("checkov", {}).get("skip", ())
            for one in skips:
                yield path, f"{resource['Type']}.{name}", one["id"], one.get("comment") or ""


def test_no_check_fails_that_is_not_suppressed_in_its_place(scan: Scan) -> None:
    assert told(scan.ours["failed_checks"]) == []


def test_a_bucket_that_anybody_may_read_fails(scan: Scan) -> None:
    assert "CKV_AWS_20" in {one["check_id"] for one in scan.planted}


def test_every_template_was_read(scan: Scan) -> None:
    results = scan.ours["passed_checks"] + scan.ours["skipped_checks"]

    assert scan.ours["parsing_errors"] == []
    assert {str(path) for path in TEMPLATES} <= {one["file_abs_path"] for one in results}


def test_every_suppression_says_why_in_a_sentence() -> None:
    found = list(suppressions())

    assert found
    for _, resource, check, why in found:
        assert len(why.split()) >= 3, (resource, check)
        assert why.endswith("."), (resource, check)


def test_a_suppression_that_nothing_needs_any_more_is_taken_out(scan: Scan) -> None:
    needed = {(one["resource"], one["check_id"]) for one in scan.ours["skipped_checks"]}

    assert {(resource, check) for _, resource, check, _ in suppressions()} == needed
