"""Each thing that can be wrong before or while cells are deployed: a message, and what to do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from gpu_node.avatars.package import AvatarError
from ops.deploy import avatars
from ops.deploy.cell import FAULTS
from ops.deploy.checks import Checked, check
from ops.deploy.deployment import Report
from ops.deploy.facts import Zone
from ops.deploy.status import cells
from tests.deploy_parts import IMAGE, REGIONS, FakeBuilder, Run, account, wanted
from tests.fake_cloud import FakeCloud, FakeWeb, Trip, expired
from tests.fake_stacks import Record
from tests.unit.small_avatar import write_package


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(account(), tmp_path)


@pytest.fixture
def cloud() -> FakeCloud:
    return account()


def _check(cloud: FakeCloud, folder: Path, **changes: object) -> Checked:
    return check(wanted(**changes), cloud, FakeBuilder(folder))


def _missing(found: Checked) -> str:
    return "\n".join(one.text() for one in found.missing)


def _all(found: Checked) -> str:
    return "\n".join(one.text() for one in found.findings)


def test_an_account_that_has_everything_lacks_nothing(cloud: FakeCloud, tmp_path: Path) -> None:
    found = _check(cloud, tmp_path, worker_image=IMAGE)

    assert _all(found) == ""
    assert found.zone == Zone("Z0EXAMPLE", "example.com")


def test_a_region_without_g5_is_named_with_what_to_do(cloud: FakeCloud, tmp_path: Path) -> None:
    cloud.lacking["us-west-2"] = {"g5.xlarge", "g5.2xlarge"}

    missing = _missing(_check(cloud, tmp_path))

    assert "us-west-2: has no g5.xlarge and no g5.2xlarge" in missing
    assert "leave the region out of --regions" in missing
    assert "us-east-1" not in missing


def test_a_region_without_g6_is_only_told(cloud: FakeCloud, tmp_path: Path) -> None:
    cloud.lacking["us-west-2"] = {"g6.xlarge"}

    found = _check(cloud, tmp_path)

    assert not found.missing
    assert "us-west-2: has no g6.xlarge" in _all(found)


def test_a_region_that_is_not_switched_on_is_told(cloud: FakeCloud, tmp_path: Path) -> None:
    found = _check(cloud, tmp_path, regions=(*REGIONS, "eu-south-1"))

    assert "eu-south-1: no region of this name is switched on" in _missing(found)


def test_a_domain_whose_zone_is_not_there_is_told(cloud: FakeCloud, tmp_path: Path) -> None:
    cloud.hosted = [Zone("Z1", "ample.com"), Zone("Z2", "other.example.com")]

    missing = _missing(_check(cloud, tmp_path))

    assert "rapido.example.com: this account has no public hosted zone" in missing
    assert "create-hosted-zone --name example.com" in missing


def test_the_nearest_zone_of_several_is_taken(cloud: FakeCloud, tmp_path: Path) -> None:
    cloud.hosted = [Zone("Z1", "example.com"), Zone("Z2", "rapido.example.com")]

    assert _check(cloud, tmp_path).zone == Zone("Z2", "rapido.example.com")


def test_a_quota_of_0_is_told_with_the_command_that_raises_it(
    cloud: FakeCloud, tmp_path: Path
) -> None:
    cloud.quotas = {"L-DB2E81BA": 0, "L-3819A6DF": 0, "L-B99A9384": 10}

    found = _check(cloud, tmp_path, worker_image=IMAGE)

    missing = _missing(found)
    assert "us-east-1: vCPUs of running on-demand G and VT instances are 0" in missing
    assert "the 4 nodes it starts with need 16" in missing
    assert "--quota-code L-DB2E81BA --desired-value 80" in missing
    assert "concurrent executions of Lambda are 10" in missing
    assert "0 of 20 nodes may be on spot" in _all(found)


def test_without_workers_a_gpu_quota_of_0_stops_nothing(cloud: FakeCloud, tmp_path: Path) -> None:
    cloud.quotas = {"L-DB2E81BA": 0}

    found = _check(cloud, tmp_path)

    assert not found.missing
    assert "are 0" in _all(found)


def test_a_small_cell_needs_no_reserved_concurrency(cloud: FakeCloud, tmp_path: Path) -> None:
    cloud.quotas = {"L-B99A9384": 100}

    assert not _check(cloud, tmp_path, size="small").missing
    assert "concurrent executions" in _missing(_check(cloud, tmp_path, size="full"))


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("MaxNodes", "1001", "MaxNodes: '1001' is over 1000; give 1000 or less"),
        ("MinNodes", "-1", "MinNodes: '-1' is under 0; give 0 or more"),
        ("StartNodes", "many", "StartNodes: 'many' is no number"),
        ("Tracing", "yes", "Tracing: 'yes' is none of 0, 1"),
        ("WorkerImage", "worker:latest", "an image in ECR by its digest"),
        ("Nodes", "3", "Nodes: template.yaml has no such parameter"),
    ],
)
def test_a_parameter_out_of_range_is_named_before_anything_is_deployed(
    cloud: FakeCloud, tmp_path: Path, name: str, value: str, fault: str
) -> None:
    missing = _missing(_check(cloud, tmp_path, extra={"us-west-2": {name: value}}))

    assert fault in missing
    assert "rapido-us-west-2: parameter" in missing
    assert "rapido-us-east-1: parameter" not in missing


def test_credentials_that_are_not_there_are_told_alone(cloud: FakeCloud, tmp_path: Path) -> None:
    cloud.trip = Trip("", 1, expired)

    found = _check(cloud, tmp_path)

    assert "missing or have expired" in _missing(found)
    assert "aws sso login" in _missing(found)
    assert found.identity is None


def test_credentials_that_expire_half_way_leave_nothing_that_a_second_run_does_not_mend(
    run: Run,
) -> None:
    """At every tenth call of a region."""
    run.deploy()
    calls = len(run.cloud.calls["eu-central-1"])

    for at in range(1, calls, 10):
        one = Run(account(), run.folder)
        one.cloud.trip = Trip("eu-central-1", at, expired)
        done = one.deploy()
        assert not done.ok
        told = done.stopped + " ".join(fault.remedy for fault in done.failures)
        assert "expired" in told or "sign in again" in told
        one.cloud.forget_calls()
        assert one.deploy().ok


@pytest.mark.parametrize("status", ["REVIEW_IN_PROGRESS", "ROLLBACK_COMPLETE"])
def test_a_stack_that_never_came_to_be_is_made_anew_after_saying_so(run: Run, status: str) -> None:
    _leave(run.cloud, "us-west-2", "rapido-us-west-2", status)

    found = check(wanted(), run.cloud, run.builder)
    done = run.deploy()

    assert f"rapido-us-west-2 is {status}: it never came to be" in _all(found)
    assert not found.missing
    assert "rapido-us-west-2 REMOVING" in run.told.of("us-west-2")
    assert done.ok


@pytest.mark.parametrize(
    ("status", "command"),
    [
        ("ROLLBACK_FAILED", "delete-stack"),
        ("UPDATE_ROLLBACK_FAILED", "continue-update-rollback"),
        ("DELETE_FAILED", "delete-stack"),
        ("UPDATE_FAILED", "rollback-stack"),
    ],
)
def test_a_stack_that_a_person_has_to_look_at_is_told_with_the_command(
    run: Run, status: str, command: str
) -> None:
    _leave(run.cloud, "us-west-2", "rapido-us-west-2", status)

    missing = _missing(check(wanted(), run.cloud, run.builder))
    done = run.deploy()

    assert f"rapido-us-west-2 is {status}" in missing
    assert f"aws cloudformation {command} --stack-name rapido-us-west-2" in missing
    (fault,) = done.failures
    assert command in fault.remedy
    assert set(done.serving) == {"us-east-1", "eu-central-1"}


def _leave(cloud: FakeCloud, region: str, name: str, status: str) -> None:
    stacks = cloud.stacks(region)
    stacks.records.append(Record(f"arn:{name}", name, status))


def test_weights_whose_digest_is_wrong_are_refused_before_anything_is_deployed(
    cloud: FakeCloud, tmp_path: Path
) -> None:
    folder = write_package(tmp_path / "anna")
    file = folder / "generator.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")

    missing = _missing(_check(cloud, tmp_path, avatars=(f"{folder}/",)))

    assert "generator.safetensors: sha256" in missing
    assert "as its manifest says" in missing
    assert "make the avatar again" in missing


def test_a_file_that_changes_on_its_way_is_refused_by_the_store(run: Run, tmp_path: Path) -> None:
    """Read and checked, then overwritten before it is sent: S3 compares the digest itself."""
    folder = write_package(tmp_path / "anna")
    (face,) = avatars.read([f"{folder}/"])
    (folder / "frames.zip").write_bytes(b"something else")
    run.cloud.buckets["b"] = {}
    objects = run.cloud.region("us-east-1").objects

    with pytest.raises(FAULTS, match="digest"):
        avatars.upload(face, objects, "b", lambda *_: None)

    assert "avatars/anna/manifest.json" not in run.cloud.buckets["b"], "no worker may look for it"


def test_an_avatar_in_the_bucket_is_what_a_worker_reads(run: Run, tmp_path: Path) -> None:
    """The files named by the manifest are there, below the name, with the digests it says."""
    from gpu_node.avatars.package import named_files

    folder = write_package(tmp_path / "anna")
    run.deploy(wanted(avatars=(f"{folder}/",)))

    for bucket in run.cloud.buckets.values():
        if not any(key.startswith("avatars/") for key in bucket):
            continue
        manifest = json.loads(bucket["avatars/anna/manifest.json"].body)
        for path in named_files(manifest):
            assert f"avatars/anna/{path}" in bucket
    shutil.rmtree(folder)


def test_an_avatar_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(AvatarError, match=r"avatar nobody: .*name another"):
        avatars.read(["nobody"])


def test_a_dead_letter_queue_with_poison_is_told_with_what_to_do(run: Run) -> None:
    run.deploy()
    stack = run.cloud.stacks("us-east-1")
    (queue,) = [
        held.physical_id
        for record in stack.records
        for held in record.resources.values()
        if held.kind == "AWS::SQS::Queue" and "dead" in held.physical_id
    ]
    run.cloud.messages[queue] = 3

    home, *others = cells("prod", REGIONS, run.cloud, FakeWeb(run.cloud), None)

    assert home.dead_letters == 3
    (todo,) = home.todo
    assert "3 dead letters" in todo
    assert "start-message-move-task" in todo
    assert "purge-queue" in todo
    assert not home.ok
    assert all(one.ok for one in others)


def test_a_home_does_not_move_by_itself(run: Run) -> None:
    run.deploy()

    found = check(wanted(home="us-west-2"), run.cloud, run.builder)

    assert "give --home us-east-1" in _missing(found)


def test_a_cell_of_the_stage_is_not_forgotten(run: Run) -> None:
    run.deploy()

    found = check(wanted(regions=REGIONS[:2]), run.cloud, run.builder)

    assert "rapido-eu-central-1 belongs to this stage" in _missing(found)


def test_livekits_secret_is_looked_for_where_it_is_read(run: Run) -> None:
    run.cloud.secret_store["rooms"]["in"] = ["us-east-1"]

    missing = _missing(check(wanted(), run.cloud, run.builder))

    assert "us-west-2: there is no secret rooms" in missing
    assert "replicate-secret-to-regions" in missing
    assert "us-east-1: there" not in missing


def test_a_new_cell_without_livekit_is_told(run: Run) -> None:
    assert "--livekit URL" in _missing(check(wanted(livekit=None), run.cloud, run.builder))
    run.deploy()
    assert not check(wanted(livekit=None), run.cloud, run.builder).missing


def test_a_tool_that_is_not_there_is_told(run: Run) -> None:
    run.builder.lacking = [("make is not on the PATH", "install it (apt-get install make)")]

    assert "make is not on the PATH; install it" in _missing(
        check(wanted(), run.cloud, run.builder)
    )


def test_a_report_without_a_cell_is_not_ok() -> None:
    assert not Report({}, (), None, None).ok
