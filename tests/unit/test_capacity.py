"""How many streams a worker says it holds, and how that follows what it sees."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gpu_node import capacity
from gpu_node.capacity import Remembered
from gpu_node.governor import Governor
from gpu_node.probe import Trial, search


@pytest.mark.parametrize(
    ("core_s", "on_gpu", "slots", "limit"),
    [(0.010, False, 10, "host_cpu"), (0.001, True, 16, "gpu"), (0.010, True, 10, "host_cpu")],
)
def test_the_smaller_of_engine_and_cores_is_the_limit(
    core_s: float, on_gpu: bool, slots: int, limit: str
) -> None:
    found = capacity.capacity(0.002, core_s, 4, cores=4, cpu_share=1.0, on_gpu=on_gpu)

    assert (found.slots, found.limit) == (slots, limit)


@pytest.mark.parametrize("most", [0, 1, 2, 7, 12, 40, 285])
@pytest.mark.parametrize("first", [1, 5, 12, 60])
def test_the_search_finds_exactly_what_holds(first: int, most: int) -> None:
    tried: list[int] = []

    async def holds(streams: int) -> bool:
        tried.append(streams)
        return streams <= most

    assert asyncio.run(search(first, holds)) == most
    assert len(tried) == len(set(tried))


def test_a_search_that_runs_out_of_time_answers_what_has_held() -> None:
    now = [0.0]

    async def holds(streams: int) -> bool:
        now[0] += 3.0
        return True

    assert asyncio.run(search(8, holds, clock=lambda: now[0], budget_s=5.0)) == 10


@pytest.mark.parametrize(
    ("fps", "late_ms", "holds"), [(25, 12, True), (24.4, 12, False), (25, 31, False)]
)
def test_a_trial_holds_at_full_speed_and_in_time(fps: float, late_ms: float, holds: bool) -> None:
    assert Trial(fps, late_ms).holds is holds


def test_what_was_measured_is_remembered_by_what_it_was_measured_of(tmp_path: Path) -> None:
    found = capacity.capacity(0.002, 0.01, 4, cores=4, cpu_share=1.0, on_gpu=False)
    key = capacity.key("a machine", "an avatar")

    Remembered(tmp_path).put(key, found)

    assert Remembered(tmp_path).get(key) == found
    assert Remembered(tmp_path).get(capacity.key("another machine", "an avatar")) is None


def test_a_damaged_memory_is_no_memory(tmp_path: Path) -> None:
    (tmp_path / "capacity.json").write_text("{")

    assert Remembered(tmp_path).get("x") is None


def test_a_disk_that_takes_nothing_costs_no_worker(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = capacity.capacity(0.002, 0.01, 4, cores=4, cpu_share=1.0, on_gpu=False)

    Remembered(tmp_path / "file").put("x", found)

    assert Remembered(tmp_path / "file").get("x") is None


def looks(governor: Governor, seconds: range, running: int, late_ms: float) -> list[int]:
    return [governor.look(float(now), running, late_ms) for now in seconds]


def test_lateness_that_lasts_lowers_the_slots_below_what_runs() -> None:
    governor = Governor(10)

    announced = looks(governor, range(0, 20, 5), 8, 55.0)

    assert announced == [10, 10, 10, 7]


def test_a_late_moment_changes_nothing() -> None:
    governor = Governor(10)

    looks(governor, range(0, 15, 5), 8, 55.0)
    looks(governor, range(15, 20, 5), 8, 30.0)

    assert looks(governor, range(20, 35, 5), 8, 55.0) == [10, 10, 10]


def test_calm_that_lasts_raises_them_again_one_by_one_up_to_what_was_measured() -> None:
    governor = Governor(3)
    looks(governor, range(0, 20, 5), 3, 55.0)
    assert governor.slots == 2

    announced = looks(governor, range(20, 90, 5), 2, 5.0)

    assert announced[:6] == [2] * 6
    assert announced[6] == 3
    assert announced[-1] == 3


def test_neither_late_nor_calm_leaves_them_where_they_are() -> None:
    governor = Governor(3)
    looks(governor, range(0, 20, 5), 3, 55.0)

    assert set(looks(governor, range(20, 200, 5), 2, 30.0)) == {2}


def test_one_stream_is_always_offered() -> None:
    governor = Governor(2)

    assert looks(governor, range(0, 60, 5), 1, 90.0)[-1] == 1
