"""A burst of lessons makes a fleet grow and shrink, by the planner and the state machines alone."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ops.cell.autoscale import Autoscale
from ops.cell.cell import Cell
from ops.cell.workers import LIGHT
from tests.e2e.fleet_cell import Fleet, until

NAME = "burst"
LESSONS = 14
SLOTS = 4
WITHOUT_CAPACITY = ("g5.2xlarge-on-demand", "g5.2xlarge-spot")
"""What costs least a published slot: a planner that had not failed there would take it."""
QUICK = {"tick_s": 5, "review_s": 5, "hold_s": 10}
"""A minute of the planner's is five seconds here."""

pytestmark = pytest.mark.timeout(240)


class Burst(Fleet):
    """Lessons, and what is known of the nodes that were taken from under them."""

    def __init__(self, cell: Cell) -> None:
        super().__init__(cell)
        self.sessions: dict[str, str] = {}
        """Session by lesson, once it has a slot."""
        self.taken: set[str] = set()
        """Nodes that spot took, or whose worker was killed: their lessons may end."""
        self.over: set[str] = set()
        """Sessions that their learner ended."""
        self.where: dict[str, str] = {}

    def ask(self, lesson: str) -> None:
        """Asks for the lesson's avatar, as a learner who waits in the queue does again."""
        told = self.client.start(lesson)
        if "session_id" in told:
            self.sessions[lesson] = told["session_id"]

    def live(self) -> dict[str, dict[str, Any]]:
        """Sessions that are live; none but those of nodes that were taken may be cut."""
        found = {}
        for session in self.sessions.values():
            one = self.client.show(session)
            if one["status"] == "live":
                found[session] = one
                self.where[session] = one["worker_id"]
            elif one["status"] != "starting":
                cut_by_nobody = session in self.over or self.where.get(session) in self.taken
                assert cut_by_nobody, one
        return found

    def all_live(self) -> dict[str, dict[str, Any]] | None:
        for lesson in (f"lesson-{n}" for n in range(LESSONS)):
            if lesson not in self.sessions:
                self.ask(lesson)
        live = self.live()
        return live if len(live) == LESSONS else None

    def pools(self) -> dict[str, dict[str, str]]:
        """Lifecycle states by node, of pools that have some."""
        return {
            group["AutoScalingGroupName"].removeprefix(f"rapido-{NAME}-"): {
                one["InstanceId"]: one["LifecycleState"] for one in group["Instances"]
            }
            for group in self.cell.groups()
            if group["Instances"]
        }

    def count(self) -> int:
        return sum(len(nodes) for nodes in self.pools().values())

    def end(self, sessions: list[str]) -> None:
        for session in sessions:
            self.over.add(session)
            self.client.end(session)


@pytest.fixture
def burst(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Burst]:
    with Cell(
        name=NAME,
        state_dir=tmp_path_factory.mktemp(NAME),
        worker_module=LIGHT,
        worker_env={"RAPIDO_SLOTS": str(SLOTS)},
        functions_env={"RAPIDO_SCHEDULE_SCALE": "12"},
        autoscale=Autoscale(
            start_nodes=1,
            most_nodes=8,
            boot_s=(0.5, 1.5),
            capacity=dict.fromkeys(WITHOUT_CAPACITY, 1.0),
            policy=QUICK,
        ),
    ) as cell:
        yield Burst(cell)


def test_a_burst_scales_out_and_in_and_no_lesson_is_cut_by_it(burst: Burst) -> None:
    burst.serving("g5.xlarge-on-demand", 1)

    # out: more lessons than slots, and the cheapest pools have no machine to give
    with ThreadPoolExecutor(LESSONS) as learners:
        list(learners.map(burst.ask, (f"lesson-{n}" for n in range(LESSONS))))
    assert len(burst.sessions) == SLOTS
    live = until(burst.all_live, 90)
    failed = [one for pool in WITHOUT_CAPACITY for one in burst.activities(pool)]
    assert {one["StatusCode"] for one in failed} == {"Failed"}
    assert not set(burst.pools()) & set(WITHOUT_CAPACITY)
    most = burst.count()
    assert most >= LESSONS / SLOTS

    # in the middle: spot takes a node back, and a worker is killed on another
    spot = next(
        node for pool, nodes in burst.pools().items() if pool.endswith("spot") for node in nodes
    )
    burst.taken.add(spot)
    burst.desk.interrupt(spot, notice_s=3.0)
    killed = next(one["worker_id"] for one in live.values() if one["worker_id"] != spot)
    burst.taken.add(killed)
    burst.cell.kill(killed)
    until(lambda: spot not in burst.cell.worker_pids)
    until(lambda: killed in burst.cell.worker_pids)

    # in: as lessons end nodes empty, and go; those that have a lesson stay
    staying = sorted(s for s, one in burst.live().items() if one["worker_id"] not in burst.taken)
    burst.end([session for session in burst.sessions.values() if session not in staying[:2]])
    until(lambda: burst.live().keys() == set(staying[:2]) and burst.count() <= most - 2, 90)
    burst.end(staying[:2])
    until(lambda: burst.count() <= 2, 90)
    assert burst.live() == {}

    assert set(burst.ended("worker-drain")) == {"SUCCEEDED"}
    assert set(burst.ended("regional-scale-out")) == {"SUCCEEDED"}
    assert burst.operator.call("GET", "/api/v1/fleet")["leaked"] == 0
