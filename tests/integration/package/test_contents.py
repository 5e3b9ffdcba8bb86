"""What the package holds: app, control, their pinned requirements, and nothing else."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import struct
import subprocess
from dataclasses import dataclass
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

from ops.bench.control import ZIP_LIMIT_MB
from ops.cell.files import ROOT
from ops.cell.intrinsics import read_yaml
from ops.cell.template import FUNCTION
from ops.deploy.here import BUILT
from ops.deploy.packaging import Packager
from ops.package import IMAGE_PYTHON, PLANNER_ZIP, PYTHON, build
from tests.fake_cloud import FakeCloud

GLIBC_OF_LAMBDA = (2, 26)  # Amazon Linux 2, the image of python3.11
NEEDED_TO_BUILD_ONLY = {"pip", "setuptools", "wheel", "click", "inquirer", "boto3", "botocore"}
OURS = ("app.py", "control/")
_UNCHECKED = 0b01


SOLVER_LIMIT_MB = 50.0
"""Of the planner's package: what Lambda takes in one upload, though it comes through a bucket."""


@dataclass(frozen=True)
class Package:
    """A zip, where it is unpacked, and what it was made from."""

    zip: Path
    code: Path
    requirements: str
    limit_mb: float


@pytest.fixture(params=["control", "planner"])
def made(request: pytest.FixtureRequest, package: Path, codes: dict[str, Path]) -> Package:
    listed, limit_mb = {
        "control": ("requirements.txt", ZIP_LIMIT_MB),
        "planner": ("requirements-planner.txt", SOLVER_LIMIT_MB),
    }[request.param]
    found = package.parent / f"{request.param}.zip"
    return Package(found, codes[f"build/{found.name}"], listed, limit_mb)


@pytest.fixture
def code(made: Package) -> Path:
    return made.code


def distributions(code: Path) -> list[PathDistribution]:
    return [PathDistribution(path) for path in code.glob("*.dist-info")]


def files(code: Path) -> set[str]:
    return {path.relative_to(code).as_posix() for path in code.rglob("*") if path.is_file()}


def source_of(compiled: str) -> str:
    return re.sub(r"__pycache__/(.+)\.cpython-\d+\.pyc$", r"\1.py", compiled)


def test_its_distributions_are_the_pinned_ones(made: Package, code: Path) -> None:
    pinned = {line for line in (ROOT / made.requirements).read_text().split() if "==" in line}

    found = {f"{one.name.lower().replace('_', '-')}=={one.version}" for one in distributions(code)}

    assert found == pinned
    assert not {one.partition("==")[0] for one in found} & NEEDED_TO_BUILD_ONLY


def test_its_sources_are_the_control_planes(code: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "app.py", "control"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    ours = {name for name in listed.stdout.splitlines() if (ROOT / name).exists()}

    assert {name for name in files(code) if source_of(name).startswith(OURS)} == (
        ours | {name for name in files(code) if source_of(name) in ours}
    )
    for name in ours:
        assert (code / name).read_bytes() == (ROOT / name).read_bytes()


def test_every_other_file_is_one_that_a_requirement_brought(code: Path) -> None:
    brought = {
        row[0]
        for one in code.glob("*.dist-info/RECORD")
        for row in csv.reader(one.read_text().splitlines())
    }

    strange = {
        name
        for name in files(code)
        if not source_of(name).startswith(OURS) and source_of(name) not in brought
    }

    assert strange == set()


def test_of_chalice_it_holds_what_runs(code: Path) -> None:
    assert {path.name for path in (code / "chalice").glob("*.py")} == {"__init__.py", "app.py"}


def test_it_is_as_small_as_it_must_be(made: Package) -> None:
    assert made.zip.stat().st_size <= made.limit_mb * 1e6


def test_its_binaries_are_for_the_image(code: Path) -> None:
    tags = [tag for one in code.glob("*.dist-info/WHEEL") for tag in _newest_tags(one.read_text())]
    globals_ = read_yaml(ROOT / "template.yaml")["Globals"]["Function"]

    assert globals_["Runtime"] == f"python{PYTHON}" == _version(IMAGE_PYTHON)
    assert globals_.get("Architectures", ["x86_64"]) == ["x86_64"]
    assert tags
    assert all(tag <= GLIBC_OF_LAMBDA for tag in tags), tags


def _version(python: Path) -> str:
    told = "import sys; print('python%d.%d' % sys.version_info[:2])"
    return subprocess.run([python, "-c", told], capture_output=True, text=True).stdout.strip()


def _newest_tags(wheel: str) -> list[tuple[int, int]]:
    """The oldest glibc that a wheel names, for one that is compiled."""
    named = [(int(a), int(b)) for a, b in re.findall(r"manylinux_(\d+)_(\d+)_x86_64", wheel)]
    old = {"manylinux1_x86_64": (2, 5), "manylinux2014_x86_64": (2, 17)}
    named += [version for name, version in old.items() if name in wheel]
    compiled = "Root-Is-Purelib: false" in wheel
    return [min(named, default=(9, 9))] if compiled else []


def test_its_byte_code_is_read_by_that_python_without_a_look_at_the_source(code: Path) -> None:
    compiled = sorted(code.rglob("*.pyc"))
    sources = {name for name in files(code) if name.endswith(".py")}

    assert {source_of(path.relative_to(code).as_posix()) for path in compiled} == sources
    for path in compiled:
        assert struct.unpack("<I", path.read_bytes()[4:8])[0] == _UNCHECKED, path


def test_the_same_sources_give_the_same_bytes(made: Package, tmp_path: Path) -> None:
    again = tmp_path / "again.zip"

    build(again, tmp_path / "staged", made.requirements)

    assert again.read_bytes() == made.zip.read_bytes()


def test_a_deployment_uploads_these_very_zips_the_solver_for_the_planner_alone(
    package: Path,
) -> None:
    cloud = FakeCloud()
    cloud.buckets["b"] = {}
    objects = cloud.region("us-east-1").objects

    made = Packager(BUILT).upload(objects, "b", "us-east-1")

    sent = json.loads(cloud.buckets["b"][made.template_url.split(".com/")[1]].body)
    shared = sent["Globals"]["Function"]["CodeUri"]
    uris = {
        name: one["Properties"].get("CodeUri", shared)
        for name, one in sent["Resources"].items()
        if one["Type"] == FUNCTION
    }
    for zipped in (package, PLANNER_ZIP):
        digest = hashlib.sha256(zipped.read_bytes()).hexdigest()
        key = f"packages/{digest}.zip"
        assert cloud.buckets["b"][key].body == zipped.read_bytes()
        having = {name for name, uri in uris.items() if uri == f"s3://b/{key}"}
        assert (having == {"PlanFunction"}) == (zipped == PLANNER_ZIP)
        uris = {name: uri for name, uri in uris.items() if name not in having}
    assert uris == {}


def test_the_example_environment_names_every_variable_of_the_template() -> None:
    template = read_yaml(ROOT / "template.yaml")
    named = template["Globals"]["Function"]["Environment"]["Variables"]

    given = json.loads((ROOT / "events" / "environment.json").read_text())["Parameters"]

    assert set(given) == set(named)
