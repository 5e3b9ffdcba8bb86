"""How many streams a worker says it holds, and how that follows what it sees."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from gpu_node import capacity
from gpu_node.capacity import Load, Remembered
from gpu_node.governor import Governor
from gpu_node.hardware import available_bytes
from gpu_node.probe import Probe, Trial, search


@pytest.mark.parametrize(
    ("core_s", "on_gpu", "slots", "limit"),
    [(0.010, False, 10, "host_cpu"), (0.001, True, 16, "gpu"), (0.010, True, 10, "host_cpu")],
)
def test_the_smaller_of_engine_and_cores_is_the_limit(
    core_s: float, on_gpu: bool, slots: int, limit: str
) -> None:
    found = capacity.capacity(0.002, core_s, 4, cores=4, cpu_share=1.0, on_gpu=on_gpu)

    assert (found.slots, found.limit) == (slots, limit)


MIB = 2**20
BY_COSTS = capacity.capacity(0.002, 0.001, 4, cores=4, cpu_share=1.0, on_gpu=True)
HELD = Load(20, True, 0.5, 0.3, 0.2, 0.3, 500 * MIB, encoded_fps=25.0, encode_ms=3.0)
FAILED = Load(30, False, 0.96, 0.48, 0.3, 0.4, 600 * MIB, encoded_fps=24.0, encode_ms=4.0)


@pytest.mark.parametrize(
    ("changed", "on_gpu", "limit", "limits"),
    [
        ({}, True, "gpu", {"gpu": 24, "host_cpu": 48}),
        ({"loop_share": 0.99, "engine_share": 0.66}, True, "host_cpu", {"gpu": 36, "host_cpu": 24}),
        (
            {"cores_share": 0.98, "engine_share": 0.49},
            True,
            "host_cpu",
            {"host_cpu": 24, "gpu": 48},
        ),
        ({}, False, "host_cpu", {"host_cpu": 24}),
    ],
)
def test_what_was_full_in_the_trial_that_failed_is_the_limit(
    changed: dict[str, float], on_gpu: bool, limit: str, limits: dict[str, float]
) -> None:
    found = capacity.tried(
        BY_COSTS, 24, [HELD, replace(FAILED, **changed)], 300 * MIB, on_gpu=on_gpu
    )

    assert (found.slots, found.limit) == (24, limit)
    assert found.limits == pytest.approx(limits)


@pytest.mark.parametrize(
    ("held", "busy_share", "cores", "room"),
    [
        (1, 0.9, 1, 1),
        (2, 0.69, 2, 2),
        (2, 0.5, 2, 3),
        (5, 0.80, 2, 5),
        (5, 0.85, 2, 4),
        (8, 0.88, 16, 8),
        (8, 0.92, 16, 7),
        (24, 0.2, 4, 105),
    ],
)
def test_there_is_room_for_as_many_as_leave_some_of_the_cores_free(
    held: int, busy_share: float, cores: int, room: int
) -> None:
    trial = replace(HELD, streams=held, busy_share=busy_share)
    failed = replace(FAILED, streams=held + 1, busy_share=1.0)

    assert capacity.room_in_cores([failed, trial], cores) == room


def test_what_a_stream_takes_is_told_by_the_largest_trial_that_held() -> None:
    few = replace(HELD, streams=2, busy_share=0.5)
    most = replace(HELD, streams=4, busy_share=0.8)

    assert capacity.room_in_cores([few, most], 2) == 4


def test_there_is_no_room_where_no_stream_held() -> None:
    assert capacity.room_in_cores([FAILED], 2) == 0


def test_where_no_trial_failed_the_largest_one_tells_what_would() -> None:
    found = capacity.tried(BY_COSTS, 20, [HELD, replace(HELD, streams=15)], 0, on_gpu=True)

    assert (found.slots, found.limit) == (20, "gpu")
    assert found.limits["host_cpu"] == pytest.approx(20 * 0.5 / 0.3)


def test_memory_holds_what_is_left_over_a_streams_growth() -> None:
    found = capacity.tried(BY_COSTS, 24, [HELD, FAILED], 300 * MIB, on_gpu=True)
    assert found.stream_bytes == 10 * MIB  # 300 MiB for 30

    assert found.within(356 * MIB).limits["memory"] == pytest.approx(10)
    assert found.within(10_000 * MIB).limits["memory"] == pytest.approx(900)
    assert found.within(100 * MIB).slots == 0
    bound = found.within(376 * MIB)
    assert (bound.slots, bound.limit) == (12, "memory")
    assert found.within(10_000 * MIB).limit == "gpu"


def test_memory_that_did_not_grow_counts_as_some() -> None:
    found = capacity.tried(BY_COSTS, 24, [HELD, FAILED], 600 * MIB, on_gpu=True)

    assert found.stream_bytes == 8 * MIB


def test_memory_is_no_limit_where_no_stream_was_tried() -> None:
    assert "memory" not in BY_COSTS.within(0.0).limits


def test_a_video_encoder_holds_what_its_use_leaves_room_for() -> None:
    loads = [replace(HELD, encoder_share=0.6), replace(FAILED, encoder_share=0.9, encoded_fps=25.0)]

    found = capacity.tried(BY_COSTS, 29, loads, 300 * MIB, on_gpu=True)

    assert found.limits["encoder"] == pytest.approx(30)
    assert found.limit == "gpu"
    assert found.encode_ms == 4.0


def test_a_video_encoder_that_drops_frames_binds_though_no_picture_was_late() -> None:
    full = replace(HELD, streams=40, encoder_share=1.0, encoded_fps=12.5)

    found = capacity.tried(BY_COSTS, 40, [HELD, full], 300 * MIB, on_gpu=True)

    assert (found.slots, found.limit) == (18, "encoder")


def test_a_video_encoder_that_nobody_saw_at_work_is_no_limit() -> None:
    idle = replace(HELD, encoder_share=0.0)

    assert capacity.encoder_streams([idle, FAILED]) is None


def group(folder: Path, names: tuple[str, str], limit: str, used: int, stat: str) -> None:
    folder.mkdir(parents=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 7\n{stat} 30\nactive_file 5\n")


V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes")
V2 = ("memory.max", "memory.current")


def test_memory_is_what_the_control_group_or_one_around_it_allows(tmp_path: Path) -> None:
    proc, root = tmp_path / "cgroup", tmp_path / "sys"
    proc.write_text("0::/pod/own\n")
    group(root / "pod", V2, "1000", 400, "inactive_file")
    group(root / "pod" / "own", V2, "max", 300, "inactive_file")

    assert available_bytes(root, proc) == 630.0

    (root / "pod" / "own" / "memory.max").write_text("500\n")
    assert available_bytes(root, proc) == 230.0


def test_memory_is_what_an_old_control_group_allows(tmp_path: Path) -> None:
    proc, root = tmp_path / "cgroup", tmp_path / "sys"
    proc.write_text("5:cpu,cpuacct:/x\n4:memory:/seen/from/outside\n0::/\n")
    group(root / "memory", V1, "1000", 400, "total_inactive_file")

    assert available_bytes(root, proc) == 630.0


def test_memory_is_the_machines_where_no_group_limits_it(tmp_path: Path) -> None:
    assert available_bytes(tmp_path, tmp_path / "none") > 1000


@pytest.mark.parametrize("most", [0, 1, 2, 7, 12, 40, 285])
@pytest.mark.parametrize("first", [1, 5, 12, 60])
def test_the_search_finds_exactly_what_holds(first: int, most: int) -> None:
    tried: list[int] = []

    async def holds(streams: int) -> bool:
        tried.append(streams)
        return streams <= most

    assert asyncio.run(search(first, holds, lambda: 1000)) == most
    assert len(tried) == len(set(tried))


def test_a_search_tries_no_more_than_there_is_room_for() -> None:
    tried: list[int] = []

    async def holds(streams: int) -> bool:
        tried.append(streams)
        return True

    assert asyncio.run(search(3, holds, lambda: 5)) == 5
    assert tried == [3, 5]


def test_a_search_that_runs_out_of_time_answers_what_has_held() -> None:
    now = [0.0]

    async def holds(streams: int) -> bool:
        now[0] += 3.0
        return True

    found = search(8, holds, lambda: 1000, clock=lambda: now[0], budget_s=5.0)
    assert asyncio.run(found) == 16


class ScriptedProbe(Probe):
    """Its trials come out as told; each is the load's, and late unless that held."""

    def __init__(self, *outcomes: Load | None) -> None:
        self.loads = []
        self.left = list(outcomes)

    async def trial(self, streams: int) -> Trial:
        load = self.left.pop(0)
        if load is None:
            raise TimeoutError
        self.loads.append(load)
        return Trial(25.0, 10.0 if load.holds else 90.0, load.busy_share)

    async def _shrink(self, streams: int) -> None:
        """None is there."""


HINDERED = replace(FAILED, streams=20, engine_share=0.6)


@pytest.mark.parametrize(
    ("outcomes", "holds", "kept"),
    [
        ((HELD,), True, [HELD]),
        ((HINDERED, HELD), True, [HELD]),
        ((HINDERED, FAILED), False, [FAILED]),
        ((FAILED,), False, [FAILED]),
        ((replace(HINDERED, loop_share=0.9),), False, [replace(HINDERED, loop_share=0.9)]),
        ((replace(HINDERED, busy_share=0.9),), False, [replace(HINDERED, busy_share=0.9)]),
        ((None,), False, []),
    ],
)
def test_a_trial_that_was_late_though_nothing_was_full_is_made_once_more(
    outcomes: tuple[Load | None, ...], holds: bool, kept: list[Load]
) -> None:
    probe = ScriptedProbe(*outcomes)

    assert asyncio.run(probe.holds(20)) is holds
    assert probe.loads == kept
    assert not probe.left


def test_what_held_before_a_trial_that_was_stuck_still_counts() -> None:
    probe = ScriptedProbe(HELD, None)

    assert asyncio.run(probe.holds(20))
    assert not asyncio.run(probe.holds(30))
    assert probe.loads == [HELD]


@pytest.mark.parametrize(
    ("fps", "late_ms", "busy", "holds"),
    [(25, 12, 0.8, True), (24.4, 12, 0.8, False), (25, 41, 0.8, False), (25, 12, 0.95, False)],
)
def test_a_trial_holds_at_full_speed_in_time_and_with_some_machine_to_spare(
    fps: float, late_ms: float, busy: float, holds: bool
) -> None:
    assert Trial(fps, late_ms, busy).holds is holds


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
