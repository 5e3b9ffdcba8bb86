"""A fleet at the desk: groups launch machines, machines run workers, and nobody's lesson is cut."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from ops.cell.at_desk import DeskRefused
from ops.cell.autoscale import Autoscale
from ops.cell.cell import Cell
from ops.cell.workers import LIGHT
from tests.e2e.fleet_cell import Fleet, until

NAME = "fleet"
ON_DEMAND = "g5.xlarge-on-demand"
SPOT, OTHER_SPOT = "g5.xlarge-spot", "g4dn.2xlarge-spot"
"""One that had no capacity is banned for a while: the planner undoes what a person wants of it."""

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    # events of nodes let the planner look: so few lessons shall change nothing for it
    unmoved = {"keep_share": 0.0, "review_s": 1e9}
    settings = Autoscale(start_nodes=1, most_nodes=4, boot_s=(0.2, 0.6), policy=unmoved)
    with Cell(
        name=NAME,
        state_dir=tmp_path_factory.mktemp(NAME),
        worker_module=LIGHT,
        autoscale=settings,
        functions_env={"RAPIDO_SCHEDULE_SCALE": "0.01"},  # no planner's tick changes its mind
    ) as cell:
        yield Fleet(cell)


def test_the_pools_are_those_of_the_template_and_one_node_begins(fleet: Fleet) -> None:
    (node,) = fleet.serving(ON_DEMAND, 1)

    assert fleet.nodes(SPOT) == {}
    assert fleet.workers()[node]["slots"] == 10
    assert fleet.activities(ON_DEMAND)[0]["StatusCode"] == "Successful"


def test_a_node_that_is_to_go_stays_until_its_lesson_ended(fleet: Fleet) -> None:
    fleet.want(ON_DEMAND, 2)
    fleet.serving(ON_DEMAND, 2)
    lesson = fleet.lesson()
    node = lesson["worker_id"]

    fleet.terminate(node)

    until(lambda: fleet.nodes(ON_DEMAND).get(node) == "Terminating:Wait")
    until(lambda: fleet.workers()[node]["state"] == "draining")
    other = fleet.lesson()
    assert other["worker_id"] != node
    assert fleet.client.show(lesson["session_id"])["status"] == "live"
    assert node in fleet.cell.worker_pids
    fleet.client.end(lesson["session_id"])
    until(lambda: node not in fleet.nodes(ON_DEMAND))
    until(lambda: node not in fleet.cell.worker_pids)
    assert fleet.client.show(lesson["session_id"])["status"] == "ended"
    assert fleet.client.show(other["session_id"])["status"] == "live"
    assert fleet.ended("worker-drain") == ["SUCCEEDED"]
    fleet.client.end(other["session_id"])


def test_a_killed_worker_starts_again_on_its_node(fleet: Fleet) -> None:
    (node,) = fleet.serving(ON_DEMAND, 1)
    before = fleet.workers()[node]

    fleet.cell.kill(node)

    until(lambda: fleet.workers().get(node, before)["url"] != before["url"])
    assert fleet.serving(ON_DEMAND, 1) == [node]
    assert not fleet.cell.broken.is_set()
    assert fleet.lesson()["worker_id"] == node


def test_without_capacity_no_node_comes_and_the_group_says_so(fleet: Fleet) -> None:
    fleet.desk.capacity({SPOT: 1.0})

    fleet.want(SPOT, 1)

    (failed,) = until(lambda: fleet.activities(SPOT))
    assert failed["StatusCode"] == "Failed"
    assert "InsufficientInstanceCapacity" in failed["StatusMessage"]
    assert fleet.nodes(SPOT) == {}
    fleet.want(SPOT, 0)
    fleet.desk.capacity({SPOT: 0.0})


def test_a_spot_node_takes_no_lesson_after_its_notice_and_is_gone_when_it_ran_out(
    fleet: Fleet,
) -> None:
    fleet.want(OTHER_SPOT, 1)
    (node,) = fleet.serving(OTHER_SPOT, 1)

    told = fleet.desk.interrupt(OTHER_SPOT, notice_s=4.0)

    assert told["node"] == node
    until(lambda: fleet.workers()[node]["state"] == "draining")
    assert fleet.lesson()["worker_id"] != node
    fleet.want(OTHER_SPOT, 0)
    until(lambda: node not in fleet.cell.worker_pids)
    until(lambda: node not in fleet.nodes(OTHER_SPOT))


def test_what_the_desk_cannot_do_it_says(fleet: Fleet) -> None:
    with pytest.raises(DeskRefused, match="no spot node"):
        fleet.desk.interrupt(ON_DEMAND, 120.0)
    with pytest.raises(DeskRefused, match="no pool of this cell; there is"):
        fleet.desk.capacity({"g9.huge-spot": 1.0})


def test_no_worker_passes_for_a_node_that_it_is_not(fleet: Fleet) -> None:
    answer = httpx.post(f"{fleet.cell.url}/api/v1/workers", json={}, timeout=5)

    assert answer.status_code == 403
