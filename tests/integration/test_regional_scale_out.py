"""regional_scale_out in the local Step Functions, on groups that launch machines with workers."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest

from control.adapters.store import ValkeyStore
from ops.cell.at_desk import AtDesk
from ops.cell.autoscale import Autoscale
from ops.cell.cell import Cell
from ops.cell.deploy import LocalAws
from ops.cell.intrinsics import ACCOUNT_ID
from ops.cell.workers import LIGHT
from ops.client import CellClient

NAME = "scales"
LAST_RESORT = "g5.xlarge-on-demand"
Found = TypeVar("Found")

pytestmark = pytest.mark.timeout(240)


class Fleet:
    """The cell that is up, its groups and its machine."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.desk = AtDesk(cell.aws_url)
        self.store = ValkeyStore(cell.store_url, NAME, cell.region)
        aws = LocalAws(cell.aws_url, cell.region)
        self._groups, self._states = aws.client("autoscaling"), aws.client("stepfunctions")

    def start(self, **given: Any) -> str:
        """An execution by hand."""
        machine = f"arn:aws:states:{self.cell.region}:{ACCOUNT_ID}:stateMachine"
        answer = self._states.start_execution(
            stateMachineArn=f"{machine}:rapido-{NAME}-regional-scale-out",
            name=f"by-hand-{secrets.token_hex(4)}",
            input=json.dumps(given),
        )
        return str(answer["executionArn"])

    def ended(self, arn: str) -> dict[str, Any]:
        """Its description once it runs no more."""

        def over() -> dict[str, Any] | None:
            told: dict[str, Any] = self._states.describe_execution(executionArn=arn)
            return told if told["status"] != "RUNNING" else None

        return until(over, 150)

    def path(self, arn: str) -> list[str]:
        """The states that it went through."""
        events = self._states.get_execution_history(executionArn=arn, maxResults=1000)["events"]
        return [
            one["stateEnteredEventDetails"]["name"]
            for one in events
            if "stateEnteredEventDetails" in one
        ]

    def ready(self) -> dict[str, int]:
        """Slots of the workers that take lessons."""
        seen = self.store.observe().workers
        return {
            one.worker_id: one.slots
            for one in seen
            if one.alive and one.state == "ready" and not one.drained and one.order is not None
        }

    def slots(self, wanted: int) -> bool:
        """Whether so many are there; else it is planned again."""
        if sum(self.ready().values()) >= wanted:
            return True
        self.ended(self.start(reason="look again"))
        return False

    def groups(self) -> dict[str, dict[str, Any]]:
        found = self._groups.describe_auto_scaling_groups()["AutoScalingGroups"]
        return {one["AutoScalingGroupName"].removeprefix(f"rapido-{NAME}-"): one for one in found}


class Eager(Autoscale):
    """Its planner looks over what is enough each time, and keeps nothing for later."""

    def parameters(self) -> dict[str, str]:
        policy = json.dumps({"review_s": 1.0, "hold_s": 0.0})
        return super().parameters() | {"FleetPolicy": policy}


def until(find: Callable[[], Found | None], limit_s: float = 60.0) -> Found:
    deadline = time.monotonic() + limit_s
    while not (found := find()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with Cell(
        name=NAME,
        state_dir=tmp_path_factory.mktemp(NAME),
        worker_module=LIGHT,
        autoscale=Eager(start_nodes=1, most_nodes=10, boot_s=(0.2, 0.6)),
    ) as cell:
        yield Fleet(cell)


def test_slots_asked_for_by_hand_are_there_when_it_has_succeeded(fleet: Fleet) -> None:
    until(fleet.ready)

    arn = fleet.start(region=fleet.cell.region, slots=25, reason="an exam")

    told = fleet.ended(arn)
    assert told["status"] == "SUCCEEDED", told
    assert {"Plan", "Launch nodes", "Release nodes", "Count who registered", "Report"} <= set(
        fleet.path(arn)
    )
    (report, *_) = fleet.store.reports(1)
    assert (report["reason"], report["missing"]) == ("an exam", 0)
    assert fleet.store.flight() is None
    operator = CellClient(fleet.cell.url, fleet.cell.operator_key)
    told = operator.call("GET", "/api/v1/fleet/plans?limit=50")
    (mine,) = (one for one in told["plans"] if one["reason"] == "an exam")
    assert mine["plan"]["why"]
    assert report in told["reports"]
    # a type may bring less than was published: that is measured now, and planned with
    until(lambda: fleet.slots(25), 120)


def test_another_region_is_refused_in_words(fleet: Fleet) -> None:
    told = fleet.ended(fleet.start(region="eu-north-1", slots=5, reason="lost"))

    assert (told["status"], told["error"]) == ("FAILED", "AskRefused")
    assert "region is 'eu-north-1' and this cell's is" in told["cause"]
    assert fleet.store.flight() is None


def test_a_pool_without_capacity_is_banned_and_others_are_asked(fleet: Fleet) -> None:
    without = [name for name in fleet.groups() if name != LAST_RESORT]
    fleet.desk.capacity(dict.fromkeys(without, 1.0))

    arn = fleet.start(slots=65, reason="one pool has nodes")

    told = fleet.ended(arn)
    assert told["status"] == "SUCCEEDED", told
    # by its own count, or since EventBridge's word of the failure had it planned before that
    again = {"Plan without the pools that had none", "Go on with the newer plan"}
    assert again & set(fleet.path(arn)), fleet.path(arn)
    until(lambda: fleet.slots(65), 120)
    banned = fleet.store.bans()
    assert banned
    assert set(banned) <= set(without)
    assert all("capacity" in one.reason for one in banned.values())
    waiting = {
        name: one["DesiredCapacity"] - len(one["Instances"]) for name, one in fleet.groups().items()
    }
    assert set(waiting.values()) == {0}, "nothing comes later that nobody counts"


def test_when_less_is_needed_nodes_empty_and_go_and_no_lesson_is_cut(fleet: Fleet) -> None:
    client = CellClient(fleet.cell.url, fleet.cell.client_key)
    lessons = [client.start(secrets.token_hex(4), wait=False)["session_id"] for _ in range(3)]
    until(lambda: all(client.show(one)["status"] == "live" for one in lessons))
    before = sum(len(one["Instances"]) for one in fleet.groups().values())

    fleet.ended(fleet.start(slots=0, reason="over"))

    def shrunk() -> bool:
        fleet.ended(fleet.start(reason="look again"))
        return sum(len(one["Instances"]) for one in fleet.groups().values()) < before

    until(shrunk, 150)
    assert [client.show(one)["status"] for one in lessons] == ["live"] * 3
    assert any(one["ended"].get("released") for one in fleet.store.reports(20))
