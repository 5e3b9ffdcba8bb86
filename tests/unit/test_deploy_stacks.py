"""A stack by its state, the failure that is told, the lock, what is packed."""

from __future__ import annotations

import json
import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.deploy.facts import Event, Stack
from ops.deploy.lock import Lock, Locked
from ops.deploy.packaging import PackageError, Packager
from ops.deploy.states import Move, first_failure, next_move, remedy
from ops.deploy.zipping import zip_folder
from tests.fake_cloud import FakeCloud

NESTED = "AWS::CloudFormation::Stack"
MOVES = {
    "CREATE_COMPLETE": Move.UPDATE,
    "UPDATE_COMPLETE": Move.UPDATE,
    "UPDATE_ROLLBACK_COMPLETE": Move.UPDATE,
    "IMPORT_COMPLETE": Move.UPDATE,
    "IMPORT_ROLLBACK_COMPLETE": Move.UPDATE,
    "DELETE_COMPLETE": Move.CREATE,
    "REVIEW_IN_PROGRESS": Move.REPLACE,
    "ROLLBACK_COMPLETE": Move.REPLACE,
    "CREATE_FAILED": Move.REPLACE,
    "CREATE_IN_PROGRESS": Move.JOIN,
    "ROLLBACK_IN_PROGRESS": Move.JOIN,
    "DELETE_IN_PROGRESS": Move.JOIN,
    "UPDATE_IN_PROGRESS": Move.JOIN,
    "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS": Move.JOIN,
    "UPDATE_ROLLBACK_IN_PROGRESS": Move.JOIN,
    "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS": Move.JOIN,
    "IMPORT_IN_PROGRESS": Move.JOIN,
    "IMPORT_ROLLBACK_IN_PROGRESS": Move.JOIN,
    "ROLLBACK_FAILED": Move.REFUSE,
    "DELETE_FAILED": Move.REFUSE,
    "UPDATE_FAILED": Move.REFUSE,
    "UPDATE_ROLLBACK_FAILED": Move.REFUSE,
    "IMPORT_ROLLBACK_FAILED": Move.REFUSE,
}


@pytest.mark.parametrize("status", MOVES)
def test_every_state_of_a_stack_has_one_move(status: str) -> None:
    assert next_move(Stack("id", "name", status)) is MOVES[status]


def test_a_state_that_is_refused_says_what_to_do_and_where() -> None:
    for status in (status for status, move in MOVES.items() if move is Move.REFUSE):
        told = remedy(status, "rapido-x", "us-west-2")
        assert "us-west-2" in told
        assert "run this again" in told


def test_cloudformation_knows_no_other_state() -> None:
    """By botocore's own model of the service."""
    from botocore.session import get_session

    model = get_session().get_service_model("cloudformation")
    assert set(model.shape_for("StackStatus").enum) == set(MOVES)


EVENTS = st.lists(
    st.builds(
        lambda at, kind, status, reason: (at, kind, status, reason),
        st.integers(0, 50),
        st.sampled_from(["AWS::S3::Bucket", NESTED]),
        st.sampled_from(["CREATE_FAILED", "CREATE_COMPLETE", "UPDATE_FAILED"]),
        st.sampled_from(["a limit", "Resource creation cancelled"]),
    ),
    max_size=8,
)


@given(EVENTS)
def test_the_failure_that_is_told_is_the_first_that_is_no_echo(
    raw: list[tuple[int, str, str, str]],
) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    events = [
        Event(str(n), start + timedelta(seconds=at), "s", f"R{n}", kind, status, reason)
        for n, (at, kind, status, reason) in enumerate(raw)
    ]
    causes = [
        e for e in events if "FAILED" in e.status and e.kind != NESTED and e.reason == "a limit"
    ]

    told = first_failure(events)

    if causes:
        assert told is not None
        assert told in causes
        assert told.at == min(e.at for e in causes)
    elif any("FAILED" in e.status for e in events):
        assert told is not None
    else:
        assert told is None


@pytest.fixture
def cloud() -> FakeCloud:
    cloud = FakeCloud()
    cloud.buckets["b"] = {}
    return cloud


def _lock(cloud: FakeCloud, who: str, lost: threading.Event | None = None) -> Lock:
    told = lost or threading.Event()
    return Lock(cloud.region("us-east-1").objects, "b", "lock", who, told.set)


def test_a_lock_is_held_by_one_and_given_back(cloud: FakeCloud) -> None:
    with _lock(cloud, "ana"), pytest.raises(Locked, match="by ana"), _lock(cloud, "ben"):
        pass

    with _lock(cloud, "ben"):
        pass


def test_a_lock_that_is_renewed_does_not_run_out(cloud: FakeCloud) -> None:
    with _lock(cloud, "ana") as held:
        for _ in range(10):
            cloud.now += 100
            assert held.renew()
            with pytest.raises(Locked), _lock(cloud, "ben"):
                pass


def test_a_lock_that_another_took_is_not_renewed_nor_given_back(cloud: FakeCloud) -> None:
    with _lock(cloud, "ana") as slept:
        cloud.now += 1000
        with _lock(cloud, "ben"):
            assert not slept.renew()
            with pytest.raises(Locked, match="by ben"), _lock(cloud, "eve"):
                pass
            held = cloud.buckets["b"]["lock"]
        assert "lock" not in cloud.buckets["b"]
        cloud.buckets["b"]["lock"] = held
    assert cloud.buckets["b"]["lock"] is held, "it is not ana's to give back"


def _folder(root: Path, name: str, **files: str) -> Path:
    folder = root / name
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


def test_a_folder_is_the_same_zip_whenever_and_in_whatever_order_it_was_written(
    tmp_path: Path,
) -> None:
    one = _folder(tmp_path, "one", a="1", b="2")
    other = _folder(tmp_path, "other", b="2", a="1")
    os.utime(other / "a", (1, 1))

    assert zip_folder(one, tmp_path / "1.zip") == zip_folder(other, tmp_path / "2.zip")
    (other / "a").write_text("3")
    assert zip_folder(one, tmp_path / "1.zip") != zip_folder(other, tmp_path / "2.zip")


def _template(root: Path, **resources: dict[str, object]) -> Path:
    file = root / "template.yaml"
    file.write_text(json.dumps({"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources}))
    return file


def test_a_package_names_everything_by_its_content(cloud: FakeCloud, tmp_path: Path) -> None:
    _folder(tmp_path, "code", app="1")
    (tmp_path / "machine.asl.json").write_text("{}")
    nested = {"Resources": {"Queue": {"Type": "AWS::SQS::Queue"}}}
    (tmp_path / "inner.json").write_text(json.dumps(nested))
    template = _template(
        tmp_path,
        F={"Type": "AWS::Serverless::Function", "Properties": {"CodeUri": "code", "Handler": "a"}},
        M={
            "Type": "AWS::Serverless::StateMachine",
            "Properties": {"DefinitionUri": "machine.asl.json"},
        },
        S={"Type": NESTED, "Properties": {"TemplateURL": "inner.json"}},
        T={"Type": NESTED, "Properties": {"TemplateURL": "https://elsewhere/x.json"}},
    )
    objects = cloud.region("us-east-1").objects
    packager = Packager(template, tmp_path)

    first = packager.upload(objects, "b", "us-east-1")
    again = packager.upload(objects, "b", "us-east-1")

    assert (first.sent, again.sent) == (4, 0)
    sent = json.loads(cloud.buckets["b"][first.template_url.split(".com/")[1]].body)
    properties = {name: one["Properties"] for name, one in sent["Resources"].items()}
    assert properties["F"]["CodeUri"].startswith("s3://b/packages/")
    assert properties["F"]["Handler"] == "a"
    assert properties["M"]["DefinitionUri"].startswith("s3://b/packages/")
    assert properties["S"]["TemplateURL"].startswith("https://b.s3.us-east-1.amazonaws.com/")
    assert properties["T"]["TemplateURL"] == "https://elsewhere/x.json"
    for key in (properties["F"]["CodeUri"], properties["M"]["DefinitionUri"]):
        assert key.removeprefix("s3://b/") in cloud.buckets["b"]


def test_what_globals_name_is_uploaded_for_every_function(cloud: FakeCloud, tmp_path: Path) -> None:
    _folder(tmp_path, "code", app="1")
    _folder(tmp_path, "own", app="2")
    shared = {"Type": "AWS::Serverless::Function", "Properties": {"Handler": "a"}}
    own = {"Type": "AWS::Serverless::Function", "Properties": {"CodeUri": "own"}}
    template = _template(tmp_path, F=shared, G=shared, H=own)
    with_globals = json.loads(template.read_text())
    with_globals["Globals"] = {"Function": {"CodeUri": "code"}}
    template.write_text(json.dumps(with_globals))

    made = Packager(template, tmp_path).upload(cloud.region("us-east-1").objects, "b", "us-east-1")

    sent = json.loads(cloud.buckets["b"][made.template_url.split(".com/")[1]].body)
    uris = [sent["Resources"][name]["Properties"]["CodeUri"] for name in "FGH"]
    assert all(uri.removeprefix("s3://b/") in cloud.buckets["b"] for uri in uris)
    assert uris[0] == uris[1] != uris[2]


def test_a_package_whose_part_was_not_built_is_refused(tmp_path: Path) -> None:
    where = {"CodeUri": "nowhere"}
    template = _template(tmp_path, F={"Type": "AWS::Serverless::Function", "Properties": where})

    with pytest.raises(PackageError, match="F names nowhere, which is not there; build it"):
        Packager(template, tmp_path)
