"""What `rapido up` and `rapido fleet pools` say of each pool."""

from __future__ import annotations

from typing import Any

import pytest

from ops.fleet.pools import PoolRow, node_state, plan_line, pool_line, pool_rows, pool_table
from ops.terminal import console


def worker(name: str, **more: Any) -> dict[str, Any]:
    usual = {"worker_id": name, "alive": True, "state": "ready", "slots": 10, "used": 2, "order": 0}
    return usual | more


def group(pool: str, desired: int, **nodes: str) -> dict[str, Any]:
    return {
        "Tags": [{"Key": "rapido:pool", "Value": pool}],
        "DesiredCapacity": desired,
        "Instances": [
            {"InstanceId": name, "LifecycleState": state} for name, state in nodes.items()
        ],
    }


@pytest.mark.parametrize(
    ("lifecycle", "told", "state"),
    [
        ("Pending:Wait", None, "booting"),
        ("InService", None, "booting"),
        ("Pending:Wait", {"state": "warming"}, "booting"),
        ("InService", {}, "ready"),
        ("InService", {"order": -1.0}, "ready"),
        ("InService", {"order": None}, "closed"),
        ("InService", {"state": "draining", "order": None}, "leaving"),
        ("Terminating:Wait", {}, "leaving"),
        ("Terminating:Wait", None, "leaving"),
    ],
)
def test_a_nodes_state_is_its_groups_word_and_its_workers(
    lifecycle: str, told: dict[str, Any] | None, state: str
) -> None:
    assert node_state(lifecycle, None if told is None else worker("i-1", **told)) == state


def test_a_pool_counts_its_own_nodes_and_their_slots() -> None:
    groups = [group("a-spot", 3, i1="InService", i2="InService", i3="Pending:Wait"), {"Tags": []}]
    workers = [worker("i1"), worker("i2", order=None, used=1), worker("other"), worker("i3")]
    workers[3]["alive"] = False

    (row,) = pool_rows(groups, workers)

    assert row == PoolRow("a-spot", 3, {"ready": 1, "closed": 1, "booting": 1}, 20, 3)
    assert pool_line(row) == "a-spot: 3 wanted; 1 ready, 1 closed, 1 booting; slots 3 of 20 used"


def test_the_table_has_a_line_a_pool() -> None:
    with console.capture() as shown:
        console.print(pool_table([PoolRow("g5.2xlarge-on-demand", 2, {"ready": 2}, 48, 5)], "sums"))

    assert "sums" in shown.get()
    assert "g5.2xlarge-on-demand" in shown.get()


def test_a_plan_says_of_itself_what_it_does() -> None:
    kept = {"plan": {"why": {"said": ["2 g5.xlarge-spot: the least.", "Nothing closes."]}}}
    assert plan_line(kept) == "plan: 2 g5.xlarge-spot: the least. Nothing closes."
