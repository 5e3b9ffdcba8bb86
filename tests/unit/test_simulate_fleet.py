"""Simulated weeks of the fleet: how they are made and read, what the world does, who decides."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from control.domain.fleet import mix
from control.domain.fleet.catalogue import PUBLISHED
from control.domain.fleet.planning import CHEAPEST, Policy
from control.domain.fleet.state import Bounds, Plan, Pool
from ops.cli import app
from ops.simulate.fleet import clairvoyant, inputs, trial
from ops.simulate.fleet.inputs import InputError, Inputs
from ops.simulate.fleet.region import Region
from ops.simulate.fleet.scalers import Buffer, Published
from ops.simulate.fleet.tally import Tally
from ops.simulate.fleet.weeks import HOUR_S, REGIONS, Announced, Lesson, Stretch, capacity, demand
from ops.simulate.fleet.world import Scaler, World

EAST = "us-east-1"
OD, SPOT = Pool("g5.xlarge", "on-demand"), Pool("g5.xlarge", "spot")
BIG = Pool("g5.2xlarge", "on-demand")
SLOTS = PUBLISHED["g5.xlarge"].slots
BOOT_S = PUBLISHED["g5.xlarge"].boot_s
PRICES = inputs.listed_prices()
DAY_S = 86_400.0


# ---- weeks made from a seed ---------------------------------------------------------------------


def test_a_seed_makes_the_same_weeks_again_and_another_makes_others() -> None:
    assert demand(31, 7, 0.2) == demand(31, 7, 0.2)
    assert capacity(31, 7, PRICES) == capacity(31, 7, PRICES)
    assert demand(31, 7, 0.2) != demand(32, 7, 0.2)
    assert capacity(31, 7, PRICES) != capacity(32, 7, PRICES)


def test_a_week_has_as_many_sessions_and_classes_as_is_said() -> None:
    lessons, classes = demand(33, 7)

    in_class = {one.class_id for one in lessons if one.class_id}
    announced = {one.class_id for one in classes}
    came = sum(one.class_id in announced for one in lessons)
    assert 19_000 < len(lessons) < 23_000
    assert len(announced) / len(in_class | announced) == pytest.approx(0.85, abs=0.04)
    assert 1 - came / sum(one.expected for one in classes) == pytest.approx(0.18, abs=0.03)
    assert [one.start_s for one in lessons] == sorted(one.start_s for one in lessons)


def test_classes_begin_on_the_half_hour_and_are_known_a_day_to_a_week_before() -> None:
    _, classes = demand(34, 7, 0.3)

    assert {one.start_s % 1800 for one in classes} == {0}
    assert {(one.start_s - one.known_at_s) / HOUR_S for one in classes} == {24, 48, 168}
    assert all(1 <= one.expected <= 32 for one in classes)


def test_weekends_by_local_time_are_quieter() -> None:
    lessons, _ = demand(35, 7)
    for region, (offset_h, _) in REGIONS.items():
        days = [0] * 7
        for one in lessons:
            if one.region == region:
                days[int((one.start_s / HOUR_S + offset_h) // 24) % 7] += 1
        assert max(days[5:]) < 0.6 * min(days[:5]), region


def test_pools_have_prices_and_outages_as_is_said() -> None:
    days = 35
    stretches = capacity(36, days, PRICES)
    on_demand_usd = {(one.type, one.region): one.on_demand for one in PRICES}
    by_place: dict[tuple[str, ...], list[Stretch]] = {}
    for one in stretches:
        by_place.setdefault((one.region, one.zone, one.type, one.market), []).append(one)

    spot_out = spot_all = 0.0
    for known in by_place.values():
        assert (known[0].start_s, known[-1].end_s) == (0, days * DAY_S)
        assert all(before.end_s == after.start_s for before, after in pairwise(known))
        if known[0].market == "spot":
            spot_all += known[-1].end_s
            spot_out += sum(one.end_s - one.start_s for one in known if not one.available)
    for one in stretches:
        listed = on_demand_usd[one.type, one.region]
        assert 0 < one.price_usd_h <= listed
        assert one.market == "spot" or one.price_usd_h == listed
    spot = [one for one in stretches if one.market == "spot"]
    dollars = sum(one.price_usd_h * (one.end_s - one.start_s) for one in spot)
    full = sum(on_demand_usd[o.type, o.region] * (o.end_s - o.start_s) for o in spot)
    assert 0.3 < dollars / full < 0.65
    assert 0.015 < spot_out / spot_all < 0.05, "0.7 h in 30 h, and whole zones now and then"


# ---- files --------------------------------------------------------------------------------------


def small_week(days: int = 7) -> Inputs:
    return inputs.seeded(37, days, 0.05, PRICES)


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    week = small_week()

    assert inputs.read(*inputs.write(week, tmp_path / "new")) == week


ROWS = {
    "demand": ["us-east-1,60.0,600.0,", "us-east-1,90.5,600.0,c1"],
    "timetable": ["c1,us-east-1,0,2700,12,-86400"],
    "capacity": [
        "us-east-1,a,g5.xlarge,on-demand,0,86400,1.0,1",
        "us-east-1,a,g5.2xlarge,on-demand,0,86400,1.2,1",
        "us-east-1,a,g5.xlarge,spot,0,43200,0.5,1",
        "us-east-1,a,g5.xlarge,spot,43200,86400,0.5,0",
    ],
}


def files(folder: Path, **changed: list[str]) -> tuple[Path, Path, Path]:
    paths = []
    for name, rows in (ROWS | changed).items():
        path = folder / f"{name}.csv"
        path.write_text("\n".join([inputs._HEADERS[name], *rows]) + "\n")
        paths.append(path)
    demand_at, timetable_at, capacity_at = paths
    return demand_at, timetable_at, capacity_at


def test_files_of_a_day_are_read(tmp_path: Path) -> None:
    read = inputs.read(*files(tmp_path))

    assert (read.days, read.judged, read.regions) == (1, (0.0, DAY_S), (EAST,))
    assert read.lessons[1] == Lesson(EAST, 90.5, 600.0, "c1")
    assert read.classes == [Announced("c1", EAST, 0.0, 2700.0, 12, -86_400.0)]
    assert read.stretches[3] == Stretch(EAST, "a", "g5.xlarge", "spot", 43_200, 86_400, 0.5, False)


@pytest.mark.parametrize(
    ("name", "line", "said"),
    [
        ("demand", "eu-west-9,60,600,", "region is 'eu-west-9', which the capacity file"),
        ("demand", "us-east-1,-1,600,", "start_s is 0 or more"),
        ("demand", "us-east-1,60,0,", "duration_s over 0"),
        ("demand", "us-east-1,60,90000,", "at most a day"),
        ("demand", "us-east-1,soon,600,", "start_s is 'soon', not a float; correct it"),
        ("demand", "us-east-1,nan,600,", "start_s is 'nan', not a float"),
        ("demand", "us-east-1,60,inf,", "duration_s is 'inf', not a float"),
        ("demand", "us-east-1,60,600", "class_id is None, not a str"),
        ("demand", "us-east-1,60,600,c1,more", "more columns than the header"),
        ("timetable", "c2,eu-west-9,0,2700,12,0", "region is 'eu-west-9'"),
        ("timetable", "c2,us-east-1,0,0,12,0", "duration_s is over 0"),
        ("timetable", "c2,us-east-1,0,2700,1000000,0", "expected 1 to 5000"),
        ("timetable", "c2,us-east-1,0,2700,0,0", "expected 1 to 5000"),
        ("timetable", "c2,us-east-1,0,2700,12.5,0", "expected is '12.5', not a int"),
        ("timetable", "c1,us-east-1,9000,2700,12,0", "class_id is 'c1' a second time"),
        ("capacity", "us-east-1,a,g5.xlarge,free,0,86400,1,1", "market is 'free'"),
        ("capacity", "us-east-1,a,p5.xlarge,spot,0,86400,1,1", "type is 'p5.xlarge'; known are g5"),
        ("capacity", "us-east-1,b,g5.xlarge,spot,60,60,1,1", "end_s is not after start_s"),
        ("capacity", "us-east-1,b,g5.xlarge,spot,-9,60,1,1", "start_s under 0"),
        ("capacity", "us-east-1,b,g5.xlarge,spot,0,60,0,1", "price_usd_h is 0; a price is over 0"),
        ("capacity", "us-east-1,b,g5.xlarge,spot,0,60,-1,1", "price_usd_h is -1"),
        ("capacity", "us-east-1,b,g5.xlarge,spot,0,60,1,yes", "available is 'yes', not a bool"),
    ],
)
def test_a_line_that_cannot_be_is_named_with_its_file(
    tmp_path: Path, name: str, line: str, said: str
) -> None:
    rows = [*ROWS[name], "", line]  # an empty line is a line, too
    paths = files(tmp_path, **{name: rows})

    with pytest.raises(InputError) as refused:
        inputs.read(*paths)

    assert f"{name}.csv:{len(rows) + 1}: " in str(refused.value)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("name", "rows", "said"),
    [
        ("demand", [], "demand.csv has no rows; rapido simulate fleet --write DIR makes"),
        ("capacity", ROWS["capacity"][1:], "has no g5.xlarge on-demand in us-east-1; add it"),
        ("capacity", ROWS["capacity"][:1], "has no g5.2xlarge on-demand in us-east-1; add it"),
        (
            "capacity",
            [*ROWS["capacity"], "us-east-1,a,g5.xlarge,spot,40000,50000,0.5,1"],
            "us-east-1 a g5.xlarge spot has two rows for second 40000",
        ),
        (
            "capacity",
            [*ROWS["capacity"], "us-east-1,b,g5.xlarge,spot,1796083200,1796086800,0.5,1"],
            "at most 70 are simulated; seconds count from the first Monday",
        ),
    ],
)
def test_files_that_do_not_make_a_week_are_refused(
    tmp_path: Path, name: str, rows: list[str], said: str
) -> None:
    with pytest.raises(InputError, match=said.replace("(", r"\(")):
        inputs.read(*files(tmp_path, **{name: rows}))


def test_a_region_without_any_capacity_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"demand.csv:2: region is 'us-east-1'"):
        inputs.read(*files(tmp_path, capacity=[]))


@pytest.mark.parametrize("content", [b"", b"region,start\n", b"\xff\xfe\x00"])
def test_a_file_that_is_no_such_table_is_refused(tmp_path: Path, content: bytes) -> None:
    paths = files(tmp_path)
    paths[0].write_bytes(content)

    with pytest.raises(InputError, match=r"demand\.csv(:1: the header is not| cannot be read)"):
        inputs.read(*paths)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    paths = files(tmp_path)
    paths[2].unlink()

    with pytest.raises(InputError, match=r"capacity\.csv cannot be read .* name a CSV file"):
        inputs.read(*paths)


def test_the_regions_bounds_are_the_templates() -> None:
    class Tags(yaml.SafeLoader):
        """Intrinsic functions are of no interest here."""

    Tags.add_multi_constructor("!", lambda loader, suffix, node: None)
    template = Path(__file__).parents[2] / "template.yaml"
    nodes = yaml.load(template.read_text(), Tags)["Mappings"]["Nodes"]

    assert set(inputs.BOUNDS) == set(inputs.BEGIN) == set(REGIONS)
    for region, its in nodes.items():
        assert inputs.bounds(region) == Bounds(its["Min"], its["Max"]), region
        assert inputs.begin_nodes(region) == its["Start"], region


# ---- the world ----------------------------------------------------------------------------------


def a_plan(
    launch: Mapping[str, int] | None = None,
    close: tuple[str, ...] = (),
    release: tuple[str, ...] = (),
    reopen: tuple[str, ...] = (),
) -> Plan:
    return Plan(launch or {}, close, reopen, release, (), {}, {})


class Scripted:
    """Each plan once, from its second on; regions' own state is there to look at."""

    def __init__(self, **plans: Plan) -> None:
        self.plans = {float(at[1:]): one for at, one in plans.items()}
        self.states: dict[float, dict[str, tuple[str, int]]] = {}
        self.banned: dict[str, float] = {}

    def note(self, region: Region, now_s: float) -> None:
        nodes = region.nodes.values()
        self.states[now_s] = {one.name: (one.state, len(one.lessons)) for one in nodes}

    def plan(self, region: Region, now_s: float) -> Plan:
        self.banned = dict(region.banned)
        due = [at for at in self.plans if at <= now_s]
        return self.plans.pop(due[0]) if due else a_plan()


def always(pool: Pool, price_usd_h: float, zone: str = "a", end_s: float = DAY_S) -> Stretch:
    return Stretch(EAST, zone, pool.type, pool.market, 0.0, end_s, price_usd_h, True)


STEADY = (always(OD, 1.0), always(SPOT, 0.4))
SPOT_GOES = (
    always(OD, 1.0),
    always(SPOT, 0.4, end_s=1000.0),
    Stretch(EAST, "a", "g5.xlarge", "spot", 1000.0, DAY_S, 0.4, False),
)


def world(
    scaler: Scaler,
    *lessons: Lesson,
    stretches: tuple[Stretch, ...] = STEADY,
    begin: int = 1,
    most: int = 20,
    judged: tuple[float, float] = (0.0, HOUR_S),
) -> World:
    return World(
        sorted(lessons, key=lambda one: one.start_s), stretches, {EAST: Bounds(0, most)},
        {EAST: ()}, scaler, judged, {EAST: begin},
    )  # fmt: skip


def lesson(start_s: float, duration_s: float = 600.0) -> Lesson:
    return Lesson(EAST, start_s, duration_s, "")


def test_a_lesson_gets_a_free_slot_at_once() -> None:
    tally = world(Scripted(), lesson(0.0), lesson(100.0)).run(0.0, HOUR_S)

    assert (tally.sessions, tally.waits_s, tally.rejected) == (2, [0.0, 0.0], 0)


def test_a_lesson_waits_until_another_is_over() -> None:
    full = [lesson(10.0, 90.0)] * SLOTS

    tally = world(Scripted(), *full, lesson(80.0)).run(0.0, HOUR_S)

    assert sorted(tally.waits_s)[-1] == pytest.approx(20.0)
    assert tally.rejected == 0


def test_a_lesson_waits_until_a_node_has_booted() -> None:
    scaler = Scripted(t0=a_plan({OD.name: 1}))

    tally = world(scaler, lesson(BOOT_S - 25.0), begin=0).run(0.0, HOUR_S)

    assert tally.waits_s == [25.0]


def test_a_lesson_is_turned_away_after_half_a_minute() -> None:
    scaler = Scripted(t0=a_plan({OD.name: 1}))

    tally = world(scaler, lesson(BOOT_S - 31.0), begin=0).run(0.0, HOUR_S)

    assert (tally.sessions, tally.rejected, tally.waits_s) == (1, 1, [])
    assert tally.wait_p999_s() == 30.0, "who was turned away waited, too"


def test_spots_notice_is_followed_by_its_end_two_minutes_later() -> None:
    scaler = Scripted(t0=a_plan({SPOT.name: 1}))

    tally = world(scaler, begin=0, stretches=SPOT_GOES).run(0.0, HOUR_S)

    states = {at: next(iter(seen.values()), None) for at, seen in scaler.states.items()}
    assert states[960.0] == ("ready", 0)
    assert states[1020.0] == states[1080.0] == ("leaving", 0)
    assert states[1140.0] is None
    assert tally.notices == 1
    assert scaler.banned == {SPOT.name: 1000.0 + 1800.0}


def test_lessons_of_a_spot_node_that_went_are_placed_anew_and_counted() -> None:
    scaler = Scripted(t0=a_plan({SPOT.name: 1}, close=(f"{EAST}-1",)),
                      t960=a_plan(reopen=(f"{EAST}-1",)))  # fmt: skip

    tally = world(scaler, lesson(500.0, 900.0), stretches=SPOT_GOES).run(0.0, HOUR_S)

    assert (tally.interrupted, tally.lost, tally.sessions) == (1, 0, 1)
    assert tally.waits_s == [0.0], "moving is not asking again"
    assert scaler.states[1080.0] == {f"{EAST}-1": ("ready", 0), f"{EAST}-2": ("leaving", 1)}
    assert scaler.states[1140.0] == {f"{EAST}-1": ("ready", 1)}
    assert scaler.states[1380.0] == {f"{EAST}-1": ("ready", 1)}
    assert scaler.states[1440.0] == {f"{EAST}-1": ("ready", 0)}, "it ends when it would have"


def test_a_lesson_that_finds_no_place_anew_is_lost_and_not_called_rejected() -> None:
    scaler = Scripted(t0=a_plan({SPOT.name: 1}))

    tally = world(scaler, lesson(500.0, 900.0), begin=0, stretches=SPOT_GOES).run(0.0, HOUR_S)

    assert (tally.interrupted, tally.lost, tally.rejected) == (1, 1, 0)


def test_a_lesson_that_is_over_before_spots_end_is_not_interrupted() -> None:
    scaler = Scripted(t0=a_plan({SPOT.name: 1}))

    tally = world(scaler, lesson(500.0, 600.0), begin=0, stretches=SPOT_GOES).run(0.0, HOUR_S)

    assert (tally.interrupted, tally.waits_s) == (0, [0.0])


def test_a_launch_goes_to_the_cheapest_zone_that_has_capacity() -> None:
    dear, cheap = always(OD, 1.0), always(SPOT, 0.5, zone="b")
    cheapest_is_out = replace(always(SPOT, 0.3), available=False)
    scaler = Scripted(t0=a_plan({SPOT.name: 1}))
    simulated = world(scaler, begin=0, stretches=(dear, cheapest_is_out, cheap))

    simulated.run(0.0, HOUR_S)

    (node,) = simulated.regions[EAST].nodes.values()
    assert node.zone == "b"


def test_on_demand_launches_nothing_where_there_is_none_and_keeps_what_runs() -> None:
    goes = (
        always(OD, 1.0, end_s=300.0),
        Stretch(EAST, "a", "g5.xlarge", "on-demand", 300.0, DAY_S, 1.0, False),
    )
    scaler = Scripted(t300=a_plan({OD.name: 2}))

    tally = world(scaler, lesson(200.0, 1800.0), stretches=goes).run(0.0, HOUR_S)

    assert (tally.launches, tally.failed_launches) == (0, 1)
    assert scaler.states[1200.0] == {f"{EAST}-1": ("ready", 1)}
    assert (tally.notices, tally.interrupted) == (0, 0)
    assert scaler.banned == {OD.name: 300.0 + 600.0}


def test_what_failed_to_launch_is_planned_again_at_once() -> None:
    none = replace(always(SPOT, 0.4), available=False)
    scaler = Scripted(t60=a_plan({SPOT.name: 1}), t59=a_plan({OD.name: 1}))  # one after the other

    tally = world(scaler, begin=0, stretches=(always(OD, 1.0), none)).run(0.0, 60.5)

    assert (tally.failed_launches, tally.launches) == (1, 1)


def test_nodes_that_drain_count_against_the_most() -> None:
    oversteps = Scripted(t0=a_plan({SPOT.name: 2}), t1020=a_plan({OD.name: 1}))

    with pytest.raises(AssertionError, match="us-east-1 has 3 nodes at 1020"):
        world(oversteps, begin=0, most=2, stretches=SPOT_GOES).run(0.0, HOUR_S)


def test_whoever_releases_a_node_with_lessons_is_found_out() -> None:
    scaler = Scripted(t120=a_plan(release=(f"{EAST}-1",)))

    tally = world(scaler, lesson(10.0), lesson(20.0), begin=2).run(0.0, HOUR_S)

    assert tally.cut_by_scale_in == 1, "two nodes had one each"
    assert tally.interrupted == 1


def test_what_closed_gets_no_lesson_until_it_is_reopened() -> None:
    scaler = Scripted(t0=a_plan(close=(f"{EAST}-1",)), t120=a_plan(reopen=(f"{EAST}-1",)))

    tally = world(scaler, lesson(30.0), lesson(100.0)).run(0.0, HOUR_S)

    assert (tally.rejected, tally.waits_s) == (1, [20.0])


def test_on_demand_is_chosen_before_spot_and_the_emptier_before_the_fuller() -> None:
    scaler = Scripted(t0=a_plan({SPOT.name: 1}))

    world(scaler, *[lesson(200.0 + n) for n in range(4)], begin=2).run(0.0, 300.0)

    assert [used for _, used in scaler.states[240.0].values()] == [2, 2, 0]


def test_a_full_region_uses_its_peers_free_slots() -> None:
    west = [replace(one, region="us-west-2") for one in STEADY]
    names = EAST, "us-west-2"
    simulated = World(
        [lesson(10.0)], (*STEADY, *west), dict.fromkeys(names, Bounds(0, 5)),
        {EAST: ("us-west-2",), "us-west-2": ()}, Scripted(), (0.0, HOUR_S),
        {EAST: 0, "us-west-2": 1},
    )  # fmt: skip

    tally = simulated.run(0.0, HOUR_S)

    assert (tally.elsewhere, tally.rejected) == (1, 0)


def test_dollars_are_those_of_the_seconds_that_nodes_were_there_at_their_zones_price() -> None:
    dearer = (
        always(OD, 1.0),
        always(SPOT, 0.4, end_s=1800.0),
        Stretch(EAST, "a", "g5.xlarge", "spot", 1800.0, DAY_S, 0.8, True),
    )
    scaler = Scripted(t600=a_plan({SPOT.name: 1}), t1200=a_plan(release=(f"{EAST}-1",)))

    tally = world(scaler, stretches=dearer).run(0.0, HOUR_S)

    on_demand = 1.0 * 1200 / 3600
    spot = 0.4 * 1200 / 3600 + 0.8 * 1800 / 3600
    assert tally.usd == pytest.approx(on_demand + spot)
    assert tally.usd_spot == pytest.approx(spot)
    assert tally.slot_h == pytest.approx(SLOTS * (1200 + 3000) / 3600)


def test_only_what_lies_in_the_judged_time_is_counted() -> None:
    lessons = lesson(600.0), lesson(2000.0), lesson(2400.0)

    tally = world(Scripted(), *lessons, judged=(1800.0, HOUR_S)).run(0.0, HOUR_S)

    assert (tally.sessions, tally.usd) == (2, pytest.approx(0.5))
    assert tally.live_h == pytest.approx(1200 / 3600, abs=0.04)


@pytest.mark.parametrize(
    ("waits", "rejected", "p999_s"),
    [(0, 0, 0.0), (1000, 0, 1.0), (999, 1, 30.0), (9995, 5, 1.0), (9980, 20, 30.0)],
)
def test_the_longest_wait_but_one_in_a_thousand(waits: int, rejected: int, p999_s: float) -> None:
    assert Tally(rejected=rejected, waits_s=[1.0] * waits).wait_p999_s() == p999_s


# ---- who decides --------------------------------------------------------------------------------


def region_of(pool: Pool, ready: int, used: int, least: int = 1, most: int = 10) -> Region:
    """With so many ready nodes, and all lessons on the first ones."""
    simulated = world(Scripted(), stretches=(always(pool, 1.0), always(OD, 1.0)), begin=0)
    region = simulated.regions[EAST]
    region.bounds = Bounds(least, most)
    for _ in range(ready):
        node = simulated._new(region, pool, "a", 0.0)
        node.state = "ready"
        free = min(node.slots, used)
        node.lessons = set(range(used, used - free, -1))
        used -= free
        region.live += free
    return region


def test_a_buffer_keeps_its_share_of_slots_free() -> None:
    grows = Buffer("g5.2xlarge", 0.5).plan(region_of(BIG, 2, used=40), 0.0)
    enough = Buffer("g5.2xlarge", 0.5).plan(region_of(BIG, 4, used=40), 0.0)
    shrinks = Buffer("g5.2xlarge", 0.5).plan(region_of(BIG, 6, used=40), 0.0)

    assert dict(grows.launch) == {BIG.name: 2}, "40 live ones and as many free: 80 of 24 each"
    assert not enough.changes_nodes
    assert (len(shrinks.close), len(shrinks.release)) == (2, 2)


def test_the_published_policy_tracks_seventy_percent_of_slots_used() -> None:
    policy = Published()

    assert dict(policy.plan(region_of(OD, 2, used=24), 0.0).launch) == {OD.name: 1}
    assert not policy.plan(region_of(OD, 3, used=24), 0.0).changes_nodes
    assert len(policy.plan(region_of(OD, 6, used=24), 0.0).close) == 3


def test_where_cpu_peaks_at_sixty_percent_the_published_policy_never_grows() -> None:
    assert not Published(cpu_of_full=0.6).plan(region_of(OD, 2, used=24), 0.0).launch


@pytest.mark.parametrize("policy", [Buffer("g5.2xlarge", 0.9), Published()])
def test_those_policies_keep_bounds_and_bans_and_cut_nobody(policy: Buffer | Published) -> None:
    pool = policy.pool
    full = region_of(pool, 4, used=4 * PUBLISHED[pool.type].slots, most=5)
    assert dict(policy.plan(full, 0.0).launch) == {pool.name: 1}
    full.banned[pool.name] = 60.0
    assert not policy.plan(full, 0.0).launch
    assert policy.plan(full, 60.0).launch

    idle = region_of(pool, 4, used=0, least=2)
    assert len(policy.plan(idle, 0.0).release) == 2

    spread = region_of(pool, 4, used=4)
    for number, node in enumerate(spread.nodes.values()):
        node.lessons = {number}
    assert policy.plan(spread, 0.0).release == ()


def one_region() -> Inputs:
    """A day, learnt from nothing."""
    made = inputs.seeded(38, 1, 0.25, PRICES)
    return Inputs(
        [one for one in made.lessons if one.region == EAST],
        [one for one in made.classes if one.region == EAST],
        [one for one in made.stretches if one.region == EAST],
        made.days,
    )


def test_who_knows_the_week_pays_less_than_every_policy() -> None:
    week = one_region()
    bound = trial.clairvoyant_usd(week, Policy())
    bound_spot = trial.clairvoyant_usd(week, CHEAPEST)

    planned, all_spot = trial.planned(week, Policy()), trial.planned(week, CHEAPEST)
    others = trial.buffered(week, "g5.2xlarge", 0.5), trial.published(week)

    assert 0 < bound_spot <= bound
    assert bound < planned.tally.usd
    assert bound_spot < all_spot.tally.usd
    assert all(bound < one.tally.usd for one in others)
    for one in (planned, all_spot, *others):
        assert one.tally.cut_by_scale_in == 0
        assert one.tally.sessions == len(week.lessons)
        assert len(one.tally.all_waits_s()) == pytest.approx(one.tally.sessions, abs=2)


def test_the_same_week_is_planned_the_same_again() -> None:
    week = one_region()

    first = trial.planned(week, Policy()).tally
    mix.forget()

    assert trial.planned(week, Policy()).tally == first


def test_the_bound_pays_for_the_greatest_demand_of_each_five_minutes_and_a_boot_beyond() -> None:
    lessons = [lesson(300.0, 250.0), lesson(310.0, 100.0), lesson(660.0, 60.0)]

    assert clairvoyant.peaks(lessons, 0.0, 1200.0, 90.0) == [2, 2, 1, 0]


def test_of_the_buffers_that_meet_the_limits_the_cheapest_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    enough = {"g5.2xlarge": 0.5, "g6.xlarge": 0.6, "g5.xlarge": 0.35}
    usd = {"g5.2xlarge": 100.0, "g6.xlarge": 80.0, "g5.xlarge": 300.0}

    def buffered(week: Inputs, kind: str, share: float) -> trial.Week:
        rejected = 0 if share >= enough[kind] else 10
        return trial.Week(Tally(sessions=100, rejected=rejected, usd=usd[kind] * (1 + share)), 0.0)

    monkeypatch.setattr(trial, "buffered", buffered)
    week = Inputs((), (), (), 7)

    kind, share, found = trial.cheapest_buffer(week, 0.1, 10.0)

    assert (kind, share, found.tally.usd) == ("g6.xlarge", 0.6, pytest.approx(128.0))
    enough.update(dict.fromkeys(enough, 1.0))
    with pytest.raises(LookupError, match="no buffer up to 90 % meets"):
        trial.cheapest_buffer(week, 0.1, 10.0)


# ---- the command --------------------------------------------------------------------------------


def simulate(*words: object) -> tuple[int, str]:
    answer = CliRunner().invoke(app, ["simulate", "fleet", *map(str, words)])
    return answer.exit_code, answer.output


def test_the_command_draws_a_made_week_and_writes_its_figures(tmp_path: Path) -> None:
    code, told = simulate(
        "--seed", 39, "--days", 7, "--scale", 0.1, "--policy", "published", "--out", tmp_path
    )  # fmt: skip

    assert (code, "The judged week" in told) == (0, True)
    figures = json.loads((tmp_path / "figures.json").read_text())["published"]
    assert figures["sessions"] == len(inputs.seeded(39, 7, 0.1, PRICES).lessons)
    for name in ("published", "policies"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_plans_a_week_of_files(tmp_path: Path) -> None:
    paths = files(tmp_path)

    code, told = simulate(
        "--demand", paths[0], "--timetable", paths[1], "--capacity", paths[2],
        "--policy", "planner", "--policy", "buffer", "--out", tmp_path / "out", "--json",
    )  # fmt: skip

    figures = json.loads(told.splitlines()[-1])
    assert (code, set(figures)) == (0, {"planner", "buffer"})
    assert (figures["planner"]["sessions"], figures["planner"]["rejected_percent"]) == (2, 0.0)


def test_a_line_that_cannot_be_ends_the_command_with_2_and_names_it(tmp_path: Path) -> None:
    paths = files(tmp_path, demand=[*ROWS["demand"], "us-east-1,60,-5,"])

    code, told = simulate(
        "--demand", paths[0], "--timetable", paths[1], "--capacity", paths[2], "--out", tmp_path
    )  # fmt: skip

    assert code == 2
    assert "demand.csv:4: " in told.replace("\n", "")
    assert not (tmp_path / "figures.json").exists()


def test_files_are_given_together_or_not_at_all(tmp_path: Path) -> None:
    code, told = simulate("--demand", files(tmp_path)[0])

    assert code == 2
    assert "together" in told


def test_weeks_can_be_written_and_are_those_of_the_seed(tmp_path: Path) -> None:
    code, _ = simulate("--seed", 37, "--days", 7, "--scale", 0.05, "--write", tmp_path)

    read = inputs.read(*(tmp_path / f"{one}.csv" for one in ("demand", "timetable", "capacity")))
    assert (code, read) == (0, small_week())
