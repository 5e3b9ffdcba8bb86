"""A stack by its state, the failure that is told, the lock, what is packed."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.deploy.facts import Answer, Event, Stack
from ops.deploy.lock import Lock, Locked
from ops.deploy.pace import Pace
from ops.deploy.packaging import PackageError, Packager
from ops.deploy.smoke import Smoke, smoke
from ops.deploy.states import Move, first_failure, next_move, remedy
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


def test_a_stack_that_never_came_to_be_is_made_anew_by_the_next_deploy() -> None:
    for status in ("ROLLBACK_COMPLETE", "REVIEW_IN_PROGRESS"):
        assert "deploy again" in remedy(status, "rapido-a", "us-west-2")


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


def _template(root: Path, code: str, **resources: dict[str, object]) -> Path:
    file = root / "template.yaml"
    shared = {"Function": {"CodeUri": code}}
    file.write_text(json.dumps({"Globals": shared, "Resources": resources}))
    return file


def test_a_package_names_everything_by_its_content(cloud: FakeCloud, tmp_path: Path) -> None:
    (tmp_path / "code.zip").write_bytes(b"1")
    (tmp_path / "machine.asl.json").write_text("{}")
    nested = {"Resources": {"Queue": {"Type": "AWS::SQS::Queue"}}}
    (tmp_path / "inner.json").write_text(json.dumps(nested))
    template = _template(
        tmp_path,
        "code.zip",
        F={"Type": "AWS::Serverless::Function", "Properties": {"Handler": "a"}},
        M={
            "Type": "AWS::Serverless::StateMachine",
            "Properties": {"DefinitionUri": "machine.asl.json"},
        },
        S={"Type": NESTED, "Properties": {"TemplateURL": "inner.json"}},
        T={"Type": NESTED, "Properties": {"TemplateURL": "https://elsewhere/x.json"}},
    )
    objects = cloud.region("us-east-1").objects
    packager = Packager(template)

    first = packager.upload(objects, "b", "us-east-1")
    again = packager.upload(objects, "b", "us-east-1")

    assert (first.sent, again.sent) == (4, 0)
    sent = json.loads(cloud.buckets["b"][first.template_url.split(".com/")[1]].body)
    properties = {name: one["Properties"] for name, one in sent["Resources"].items()}
    code = sent["Globals"]["Function"]["CodeUri"]
    assert properties["F"] == {"Handler": "a"}
    assert properties["M"]["DefinitionUri"].startswith("s3://b/packages/")
    assert properties["S"]["TemplateURL"].startswith("https://b.s3.us-east-1.amazonaws.com/")
    assert properties["T"]["TemplateURL"] == "https://elsewhere/x.json"
    assert cloud.buckets["b"][code.removeprefix("s3://b/")].body == b"1"
    for key in (code, properties["M"]["DefinitionUri"]):
        assert key.removeprefix("s3://b/") in cloud.buckets["b"]


def test_a_package_whose_part_was_not_built_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"CodeUri nowhere\.zip is no file; run make package"):
        Packager(_template(tmp_path, "nowhere.zip"))


def _smoke(answers: dict[str, Answer], key: str | None = None) -> Smoke:
    class Answers:
        def call(self, method: str, url: str, *_: object) -> Answer:
            path = url.removeprefix("https://rapido.example.com")
            return answers.get(f"{method} {path.partition('s-1')[0]}", Answer(404, "nothing"))

    return smoke("https://rapido.example.com", key, Answers(), lambda _: None, Pace(0.0))


HEALTHY = {
    "GET /health/ready": Answer(200, "{}"),
    "GET /openapi.json": Answer(200, '{"openapi": "3.1.0"}'),
}
BEGUN = Answer(201, '{"session_id": "s-1", "region": "us-west-2"}')


@pytest.mark.parametrize(
    ("answers", "key", "ok", "told"),
    [
        ({}, None, False, "/health/ready: 404 nothing; try it again"),
        (HEALTHY | {"GET /openapi.json": Answer(200, "<html>")}, None, False, "200 <html>; see"),
        (HEALTHY, None, True, "rapido key create"),
        (HEALTHY | {"POST /api/v1/sessions": Answer(401, "unknown")}, "k", False, "401 unknown"),
        (HEALTHY | {"POST /api/v1/sessions": Answer(503, "")}, "k", True, "no worker has a free"),
        (
            HEALTHY | {"POST /api/v1/sessions": BEGUN, "DELETE /api/v1/sessions/": Answer(204, "")},
            "k",
            True,
            "placed in us-west-2 and ended",
        ),
        (HEALTHY | {"POST /api/v1/sessions": BEGUN}, "k", False, "did not end: 404 nothing"),
    ],
    ids=["sick", "no API", "no key", "refused", "full", "served", "not ended"],
)
def test_the_address_is_tried_as_far_as_it_can_be(
    answers: dict[str, Answer], key: str | None, ok: bool, told: str
) -> None:
    found = _smoke(answers, key)

    assert found.ok is ok
    assert told in found.notes[0]
