"""The package as `make package` leaves it, and a whole cell for its functions to work in."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from control.adapters.store import ValkeyStore
from control.domain.session import new_session_id
from control.services.ports import Placing
from ops.cell.aws import aws_environment
from ops.cell.cell import Cell
from ops.cell.deploy import LocalAws
from ops.cell.emulator import Emulated, unpack
from ops.cell.files import ROOT
from ops.cell.functions import FunctionsPlan
from ops.cell.intrinsics import read_yaml
from ops.cell.prepare import Keys
from ops.cell.supervisor import Supervisor
from ops.cell.template import Function
from ops.package import PLANNER_ZIP, ZIP
from tests.integration.played_groups import PlayedGroups
from tests.integration.saga_worker import SagaWorker

EVENTS = ROOT / "events"
RECORDED_KEYS = Keys(
    client="rk_recorded_client_key_which_opens_nothing_else",
    operator="rk_recorded_operator_key_which_opens_nothing_else",
)


@pytest.fixture(scope="package")
def package() -> Path:
    """The zip, made anew where a source changed since."""
    made = subprocess.run(
        ["make", "--no-print-directory", "package"], cwd=ROOT, capture_output=True, text=True
    )
    assert made.returncode == 0, made.stdout + made.stderr
    return ZIP


@pytest.fixture(scope="package")
def codes(package: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folders that Lambda would run them from, by the template's CodeUri."""
    return {
        f"build/{made.name}": unpack(made, tmp_path_factory.mktemp(made.stem))
        for made in (package, PLANNER_ZIP)
    }


@pytest.fixture(scope="package")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cell]:
    """Servers, and the keys that recorded calls carry."""
    folder = tmp_path_factory.mktemp("cell")
    with Cell(name="recorded", workers=0, state_dir=folder, keys=RECORDED_KEYS) as running:
        _make_pool(running)
        yield running


def _make_pool(cell: Cell) -> None:
    """One group of this cell's, without a node."""
    aws = LocalAws(cell.aws_url, cell.region)
    ec2, groups = aws.client("ec2"), aws.client("autoscaling")
    image = ec2.describe_images()["Images"][0]["ImageId"]
    data = {"ImageId": image, "InstanceType": "g5.xlarge"}
    ec2.create_launch_template(LaunchTemplateName="node", LaunchTemplateData=data)
    tags = {"rapido:cell": cell.name, "rapido:pool": "g5.xlarge-on-demand"}
    groups.create_auto_scaling_group(
        AutoScalingGroupName=f"rapido-{cell.name}-g5.xlarge-on-demand",
        LaunchTemplate={"LaunchTemplateName": "node", "Version": "$Latest"},
        MinSize=0,
        MaxSize=4,
        AvailabilityZones=[f"{cell.region}a"],
        Tags=[{"Key": k, "Value": v, "PropagateAtLaunch": True} for k, v in tags.items()],
    )


@pytest.fixture(scope="package")
def functions(cell: Cell) -> dict[str, Function]:
    """The template's functions, with their own variables as this cell gives them."""
    plan = FunctionsPlan.read((cell.directory / "functions.json").read_text())
    return dict(plan.deployment().functions)


Emulate = Callable[[Function], Emulated]


@pytest.fixture
def emulate(codes: dict[str, Path], cell: Cell, tmp_path: Path) -> Iterator[Emulate]:
    """Starts functions, each of its package; they end with the test."""
    supervisor = Supervisor(tmp_path / "logs", lambda death: None)
    groups = PlayedGroups(cell.aws_url)
    more = {
        **aws_environment(cell.aws_url, cell.region),
        "AWS_ENDPOINT_URL_AUTO_SCALING": groups.url,
        "RAPIDO_MAX_NODES": "4",
    }
    yield lambda function: Emulated(supervisor, function, codes[_code_of(function)], more)
    supervisor.stop_all()
    groups.close()


def _code_of(function: Function) -> str:
    template = read_yaml(ROOT / "template.yaml")
    shared = template["Globals"]["Function"]["CodeUri"]
    return str(template["Resources"][function.name]["Properties"].get("CodeUri", shared))


@dataclass(frozen=True)
class Stage:
    """A cell with workers, and the sessions that events tell of."""

    cell: Cell
    workers: tuple[SagaWorker, ...]

    def live(self, event: dict[str, Any]) -> dict[str, Any]:
        """The event as this cell would send it: what names a session names one that is there."""
        for worker in self.workers:
            worker.beat()
        if "session_id" not in event:
            return event
        store = ValkeyStore(self.cell.store_url, self.cell.name, self.cell.region)
        session_id = new_session_id(self.cell.name)
        assert store.place(_placing(session_id, self.cell)).outcome == "placed"
        session = store.session(session_id)
        assert session is not None
        known = {
            "session_id": session_id,
            "execution": session.execution,
            "generation": session.generation,
        }
        return event | {name: known[name] for name in known if name in event}


def _placing(session_id: str, cell: Cell) -> Placing:
    return Placing(
        session_id=session_id,
        tenant="school",
        lesson_id=session_id,
        avatar="demo",
        distance=1.0,
        idempotency_key=None,
        fingerprint="0123456789abcdef",
        livekit_url=cell.livekit_url,
        livekit_region=cell.region,
        learner_identity="learner",
        learner_name=None,
        own_room_token=None,
        agent_identity=None,
        correlation_id=None,
        execution=session_id,
    )


@pytest.fixture(scope="package")
def stage(cell: Cell) -> Iterator[Stage]:
    """Two workers: a session that one of them could not start goes to the other."""
    workers = tuple(SagaWorker(cell.url, cell.new_identity(), "plays", 8) for _ in range(2))
    for worker in workers:
        worker.__enter__()
    yield Stage(cell, workers)
    for worker in workers:
        worker.__exit__()
