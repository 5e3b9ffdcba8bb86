"""A node that its group wants gone, from EventBridge's word to its end."""

from __future__ import annotations

import json
import secrets
import time
import uuid
from collections.abc import Iterator

import httpx
import pytest

from ops.cell.cell import Cell
from ops.cell.deploy import LocalAws
from ops.cell.intrinsics import ACCOUNT_ID
from tests.integration.played_groups import PlayedGroups
from tests.integration.saga_worker import SagaWorker

NAME = "drain"
GROUP = f"rapido-{NAME}-g5.xlarge-on-demand"


@pytest.fixture(scope="module")
def groups() -> Iterator[PlayedGroups]:
    played = PlayedGroups()
    yield played
    played.close()


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory, groups: PlayedGroups) -> Iterator[Cell]:
    with Cell(
        name=NAME,
        workers=0,
        state_dir=tmp_path_factory.mktemp(NAME),
        functions_env={"AWS_ENDPOINT_URL_AUTO_SCALING": groups.url},
    ) as running:
        yield running


@pytest.fixture
def worker(cell: Cell) -> Iterator[SagaWorker]:
    with SagaWorker(cell.url, cell.new_identity(), "plays", 2) as entered:
        yield entered


class Drain:
    """An execution of worker_drain, as EventBridge starts it."""

    def __init__(self, cell: Cell, node_id: str) -> None:
        self.token = str(uuid.uuid4())
        self._states = LocalAws(cell.aws_url, cell.region).client("stepfunctions")
        machines = f"arn:aws:states:{cell.region}:{ACCOUNT_ID}:stateMachine"
        event = {
            "source": "aws.autoscaling",
            "detail-type": "EC2 Instance-terminate Lifecycle Action",
            "detail": {
                "LifecycleActionToken": self.token,
                "AutoScalingGroupName": GROUP,
                "LifecycleHookName": "terminating",
                "EC2InstanceId": node_id,
                "LifecycleTransition": "autoscaling:EC2_INSTANCE_TERMINATING",
            },
        }
        self._arn = self._states.start_execution(
            stateMachineArn=f"{machines}:rapido-{NAME}-worker-drain",
            name=self.token,
            input=json.dumps(event),
        )["executionArn"]

    def ended(self) -> str:
        """Its status once it runs no more."""
        deadline = time.monotonic() + 60
        while (status := self._states.describe_execution(executionArn=self._arn)["status"]) == (
            "RUNNING"
        ):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        return str(status)


def start(cell: Cell) -> httpx.Response:
    headers = {"Authorization": f"Bearer {cell.client_key}"}
    body = {"lesson_id": secrets.token_hex(4), "wait": False}
    return httpx.post(f"{cell.url}/api/v1/sessions", json=body, headers=headers, timeout=10)


def test_a_node_stays_until_its_last_lesson_ended_and_takes_no_new_one(
    cell: Cell, worker: SagaWorker, groups: PlayedGroups
) -> None:
    session_id = start(cell).json()["session_id"]

    drain = Drain(cell, worker.name)

    kept = groups.told.get(timeout=30)
    assert kept["Action"] == "RecordLifecycleActionHeartbeat"
    assert (kept["AutoScalingGroupName"], kept["InstanceId"]) == (GROUP, worker.name)
    assert (kept["LifecycleHookName"], kept["LifecycleActionToken"]) == (
        "terminating", drain.token,
    )  # fmt: skip
    assert start(cell).status_code == 503
    headers = {"Authorization": f"Bearer {cell.client_key}"}
    assert httpx.delete(f"{cell.url}/api/v1/sessions/{session_id}", headers=headers).is_success
    assert drain.ended() == "SUCCEEDED"
    rest = [groups.told.get_nowait() for _ in range(groups.told.qsize())]
    assert [one["Action"] for one in rest if one["LifecycleActionToken"] == drain.token][-1:] == [
        "CompleteLifecycleAction"
    ]
    assert rest[-1]["LifecycleActionResult"] == "CONTINUE"


def test_a_node_without_a_worker_goes_at_once(cell: Cell, groups: PlayedGroups) -> None:
    drain = Drain(cell, "i-0123456789abcdef0")

    assert drain.ended() == "SUCCEEDED"
    assert groups.told.get(timeout=5)["Action"] == "CompleteLifecycleAction"


def test_an_action_that_is_over_already_ends_the_drain(
    cell: Cell, worker: SagaWorker, groups: PlayedGroups
) -> None:
    start(cell)
    drain = Drain(cell, worker.name)
    groups.over.add(drain.token)

    assert drain.ended() == "SUCCEEDED"
