"""What the planner decides of a region, and what it never does."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.domain.fleet import mix
from control.domain.fleet.planning import CHEAPEST, Policy, plan, record, replay
from control.domain.fleet.state import Bounds, Fleet, Node, Offer, Outlook, Plan, Pool

OD, SPOT = Pool("g5.2xlarge", "on-demand"), Pool("g5.2xlarge", "spot")
SMALL_OD, SMALL_SPOT = Pool("g6.xlarge", "on-demand"), Pool("g6.xlarge", "spot")
OFFERS = (
    Offer(OD, 24, 1.212, 90.0, 20),
    Offer(SPOT, 24, 0.5, 90.0, 20),
    Offer(SMALL_OD, 12, 0.805, 90.0, 20),
    Offer(SMALL_SPOT, 12, 0.42, 90.0, 20),
)
SLOTS = {one.pool: one.slots for one in OFFERS}
ONE = OFFERS[:1]
"""Nothing else to choose."""
PRICES = {one.pool: one.price_usd_h for one in OFFERS}
REVIEW_S = 1_800_000_000.0
"""A moment at which a mix that is enough is looked over."""
BETWEEN_S = REVIEW_S + 120.0
PATIENT = Policy(solver_s=10.0)
"""So that no answer depends on how busy the machine is."""
ANYTHING_GOES = replace(PATIENT, keep_share=0.0, spot_share=1.0, interruption_usd=0.0)


def node(name: str, pool: Pool = OD, state: str = "ready", used: int = 0, **more: Any) -> Node:
    given_ = {"slots": SLOTS[pool], "since_s": 0.0, "price_usd_h": PRICES[pool]} | more
    return Node(name, pool, state, used=used, **given_)  # type: ignore[arg-type]


def nodes(count: int, pool: Pool = OD, **more: Any) -> list[Node]:
    return [node(f"{pool.name}-{n}", pool, **more) for n in range(count)]


def region(*there: Node, now_s: float = BETWEEN_S, least: int = 0, most: int = 20,
           live: int = 0, **more: Any) -> Fleet:  # fmt: skip
    known = {"offers": OFFERS} | more
    return Fleet("us-east-1", now_s, there, bounds=Bounds(least, most), live=live, **known)


def expecting(high: float, mean: float | None = None, bins: int = 7) -> Outlook:
    return Outlook(300.0, (high / 2 if mean is None else mean,) * bins, (high,) * bins)


def slots_after(decided: Plan, fleet: Fleet) -> int:
    """When all that was launched has booted."""
    by_name = {one.pool.name: one.slots for one in fleet.offers}
    gone = {*decided.close, *decided.replace}
    stay = [
        one
        for one in fleet.nodes
        if one.healthy
        and one.node_id not in gone
        and (one.state in ("ready", "booting") or one.node_id in decided.reopen)
    ]
    launched = sum(by_name[name] * count for name, count in decided.launch.items())
    return sum(one.slots for one in stay) + launched + sum(replaced_slots(decided, fleet))


def replaced_slots(decided: Plan, fleet: Fleet) -> list[int]:
    """Of what groups launch by themselves for what is ended sick."""
    by_name = {one.pool.name: one.slots for one in fleet.offers}
    pools = [one.pool.name for one in fleet.nodes if one.node_id in decided.replace
             and one.state != "leaving"]  # fmt: skip
    return [by_name[one] for one in pools if fleet.banned.get(one, 0.0) <= fleet.now_s]


# ---- growing ------------------------------------------------------------------------------------


def test_what_is_needed_and_missing_is_launched() -> None:
    fleet = region(*nodes(1))

    decided = plan(fleet, expecting(100), PATIENT)

    assert slots_after(decided, fleet) >= 100
    assert decided.changes_nodes
    assert decided.why["short_slots"] == 0.0


def test_what_boots_is_not_launched_again() -> None:
    fleet = region(*nodes(5, state="booting"), *nodes(5, SPOT, state="booting"))

    decided = plan(fleet, expecting(200), PATIENT)

    assert dict(decided.launch) == {}
    assert decided.why["said"] == ["What is there is enough until the next review."]


def test_what_boots_is_waited_for_though_something_cheaper_is_offered() -> None:
    fleet = region(*nodes(3, state="booting"), now_s=REVIEW_S)

    assert not plan(fleet, expecting(60, 10), ANYTHING_GOES).launch


def test_fewer_nodes_than_the_least_are_filled_up_though_they_have_the_slots() -> None:
    fleet = region(*nodes(1), least=3, offers=ONE)

    assert sum(plan(fleet, expecting(10), ANYTHING_GOES).launch.values()) == 2


def test_slots_that_one_pool_could_take_away_are_not_enough() -> None:
    fleet = region(*nodes(4))

    decided = plan(fleet, expecting(80, 60), PATIENT)

    other = sum(n * SLOTS[Pool(*name.split("-", 1))]  # type: ignore[arg-type]
                for name, n in decided.launch.items() if name != OD.name)  # fmt: skip
    assert other >= 0.75 * 60


@pytest.mark.parametrize(("rises_in", "launches"), [(0, True), (1, True), (2, False)])
def test_a_node_is_launched_when_its_boot_reaches_to_the_demand(
    rises_in: int, launches: bool
) -> None:
    high = (10.0,) * rises_in + (200.0,) * (7 - rises_in)

    decided = plan(region(*nodes(2)), Outlook(300.0, (5.0,) * 7, high), ANYTHING_GOES)

    assert bool(decided.launch) is launches


def test_who_waits_needs_a_slot_as_who_is_served_does() -> None:
    fleet = region(*nodes(1, used=24), live=24, queued=30)

    decided = plan(fleet, expecting(0), PATIENT)

    assert decided.why["need_slots"] == 54
    assert slots_after(decided, fleet) >= 54


def test_what_was_asked_for_is_there_at_least() -> None:
    fleet = region(*nodes(2), asked=150)

    assert slots_after(plan(fleet, expecting(40), PATIENT), fleet) >= 150
    assert plan(fleet, expecting(160), PATIENT).why["need_slots"] == 160, "and not on top"


def test_what_peers_spill_comes_on_top_of_the_regions_own() -> None:
    fleet = region(*nodes(2), spilled=30)

    assert plan(fleet, expecting(40), PATIENT).why["need_slots"] == 70


def test_closed_nodes_come_back_before_any_is_launched() -> None:
    fleet = region(*nodes(1), node("closed", state="closed"), offers=ONE)

    decided = plan(fleet, expecting(48, 40), ANYTHING_GOES)

    assert decided.reopen == ("closed",)
    assert dict(decided.launch) == {}
    assert decided.release == ()


def test_the_fullest_of_the_closed_comes_back_first() -> None:
    closed = (node("empty", state="closed"), node("full", state="closed", used=20))
    fleet = region(*nodes(1), *closed, now_s=REVIEW_S, live=20, offers=ONE)

    decided = plan(fleet, expecting(44, 40), ANYTHING_GOES)

    assert (decided.reopen, decided.release) == (("full",), ("empty",))


def test_leaving_nodes_count_against_the_most() -> None:
    fleet = region(*nodes(1), *nodes(3, SPOT, state="leaving", used=5), most=6)

    decided = plan(fleet, expecting(500), PATIENT)

    assert sum(decided.launch.values()) == 2
    assert decided.why["short_slots"] > 0


def test_nodes_that_announced_fewer_slots_are_not_counted_for_more() -> None:
    weak = [node(f"weak-{n}", slots=4) for n in range(3)]
    fleet = region(*nodes(1), *weak)

    decided = plan(fleet, expecting(90), ANYTHING_GOES)

    assert slots_after(decided, fleet) >= 90
    assert decided.why["short_slots"] == 0.0


def test_a_sick_node_is_no_slot_and_is_replaced_once_nobody_is_on_it() -> None:
    sick = (node("empty", healthy=False), node("with-a-lesson", healthy=False, used=1))
    fleet = region(*nodes(1), *sick, live=1)

    decided = plan(fleet, expecting(30), ANYTHING_GOES)

    assert decided.replace == ("empty",)
    assert slots_after(decided, fleet) >= 30


def test_what_its_group_launches_for_a_sick_node_is_not_launched_as_well() -> None:
    fleet = region(*nodes(1), node("sick", healthy=False, slots=0))

    decided = plan(fleet, expecting(45), ANYTHING_GOES)

    assert (decided.replace, dict(decided.launch)) == (("sick",), {})
    assert decided.why["have_slots"] == 48


def test_where_the_pool_of_a_sick_node_is_banned_others_make_up_for_it() -> None:
    banned = {OD.name: BETWEEN_S + 600}
    fleet = region(*nodes(1), node("sick", healthy=False, slots=0), banned=banned)

    decided = plan(fleet, expecting(45), ANYTHING_GOES)

    assert decided.why["have_slots"] == 24
    assert OD.name not in decided.launch
    assert slots_after(decided, fleet) >= 45


# ---- shrinking ----------------------------------------------------------------------------------


def test_what_is_not_needed_closes_at_a_review_and_goes() -> None:
    fleet = region(*nodes(6), now_s=REVIEW_S)

    decided = plan(fleet, expecting(20, 10), ANYTHING_GOES)

    assert len(decided.close) == 5
    assert set(decided.release) == set(decided.close)
    assert plan(replace(fleet, now_s=BETWEEN_S), expecting(20, 10), ANYTHING_GOES).close == ()


def test_nodes_with_lessons_stay_open() -> None:
    fleet = region(*nodes(4, used=1), *nodes(2, SPOT), now_s=REVIEW_S, live=4)

    decided = plan(fleet, expecting(10, 4), PATIENT)

    assert set(decided.close) <= {f"{SPOT.name}-{n}" for n in range(2)}


def test_nothing_closes_that_is_needed_again_soon() -> None:
    fleet = region(*nodes(4), now_s=REVIEW_S + 10, offers=ONE)
    soon = Outlook(300.0, (2.0,) * 7, (10.0, 90.0) + (10.0,) * 5)

    assert plan(fleet, soon, ANYTHING_GOES).close == ()
    assert len(plan(fleet, expecting(10, 2), ANYTHING_GOES).close) == 3


def test_a_cheaper_mix_is_ready_before_the_dearer_one_closes() -> None:
    fleet = region(*nodes(3), now_s=REVIEW_S)

    first = plan(fleet, expecting(60, 10), CHEAPEST)
    booted = [node(f"{name}-new-{n}", Pool(*name.split("-", 1)))  # type: ignore[arg-type]
              for name, count in first.launch.items() for n in range(count)]  # fmt: skip
    then = plan(region(*nodes(3), *booted, now_s=REVIEW_S), expecting(60, 10), CHEAPEST)

    assert first.launch
    assert first.close == (), "72 slots are ready, 60 are needed, and none has booted yet"
    assert len(then.close) >= 2
    assert dict(then.launch) == {}


def test_those_with_the_fewest_slots_close_first() -> None:
    fleet = region(node("whole"), node("weak", slots=6), now_s=REVIEW_S, offers=ONE)

    assert plan(fleet, expecting(4, 2), ANYTHING_GOES).close == ("weak",)


def test_a_closed_node_with_a_lesson_stays_until_that_is_over() -> None:
    closed = node("with-a-lesson", state="closed", used=1)
    fleet = region(*nodes(4), closed, live=1)

    assert plan(fleet, expecting(10), ANYTHING_GOES).release == ()
    over = region(*nodes(4), replace(closed, used=0))
    assert plan(over, expecting(10), ANYTHING_GOES).release == ("with-a-lesson",)


def test_the_least_nodes_stay_though_nobody_comes() -> None:
    fleet = region(*nodes(5), now_s=REVIEW_S, least=2)

    decided = plan(fleet, expecting(0), PATIENT)

    assert len(fleet.nodes) - len(decided.release) == 2


def test_closed_ones_are_kept_where_fewer_than_the_least_would_stay() -> None:
    fleet = region(node("a"), *nodes(2, state="closed"), least=2)

    decided = plan(fleet, expecting(10, 5), ANYTHING_GOES)

    assert len(decided.release) == 1


def test_while_it_shrinks_lessons_are_packed_and_while_it_grows_spread() -> None:
    there = (node("full", used=20), node("empty"), node("spot-full", SPOT, used=20))
    fleet = region(*there, now_s=REVIEW_S, live=40)

    shrinking = plan(fleet, expecting(42, 40), ANYTHING_GOES).order
    growing = plan(fleet, expecting(90, 80), ANYTHING_GOES).order

    assert shrinking["full"] > shrinking.get("empty", 0.0) > shrinking["spot-full"]
    assert growing == {"full": 0.0, "empty": 0.0, "spot-full": -2.0}


# ---- where no good answer is --------------------------------------------------------------------


def test_without_an_answer_of_the_solver_the_mix_is_kept() -> None:
    fleet = region(*nodes(2, used=20), node("closed", state="closed"), live=40)
    mix.forget()

    decided = plan(fleet, expecting(300), replace(PATIENT, solver_s=0.0))

    assert (dict(decided.launch), decided.close, decided.reopen, decided.release) == (
        {}, (), (), (),
    )  # fmt: skip
    assert decided.why["said"] == ["No mix within 0 s: what is there stays."]


def test_where_all_pools_are_banned_it_says_so_and_keeps_what_is_there() -> None:
    bans = {one.pool.name: BETWEEN_S + 600 for one in OFFERS}
    fleet = region(*nodes(2, used=24), live=48, banned=bans)

    decided = plan(fleet, expecting(100), PATIENT)

    assert not decided.changes_nodes
    assert decided.why["said"] == [
        "2 g5.2xlarge-on-demand: the least 2.42 $ an hour that serve 100 sessions.",
        "52 slots cannot be had: bounds, quotas or bans.",
        "With the largest pool gone 38 slots would be missing.",
    ]


def test_where_the_most_is_below_the_need_it_has_the_most_and_says_what_is_missing() -> None:
    fleet = region(*nodes(1), most=3)

    decided = plan(fleet, expecting(100), PATIENT)

    assert slots_after(decided, fleet) == 72
    assert decided.why["short_slots"] == 28
    assert "28 slots cannot be had" in " ".join(decided.why["said"])


def test_a_quota_below_the_least_is_launched_as_far_as_it_goes() -> None:
    one_each = tuple(replace(one, most_nodes=0) for one in OFFERS[1:])
    fleet = region(least=4, most=20, offers=(replace(OFFERS[0], most_nodes=2), *one_each))

    assert dict(plan(fleet, expecting(10), PATIENT).launch) == {OD.name: 2}


def test_a_region_without_any_offer_or_node_is_answered() -> None:
    decided = plan(region(offers=()), expecting(10), PATIENT)

    assert not decided.changes_nodes
    assert "10 slots cannot be had" in " ".join(decided.why["said"])


def test_an_outlook_without_steps_leaves_what_is_there_to_go_by() -> None:
    decided = plan(region(live=30), Outlook(300.0, (), ()), PATIENT)

    assert decided.why["need_slots"] == 30


def test_a_ban_that_ran_out_is_none() -> None:
    only_spot = (OFFERS[1],)
    banned = {SPOT.name: BETWEEN_S}

    assert plan(region(offers=only_spot, banned=banned), expecting(20), ANYTHING_GOES).launch


def test_a_review_at_every_tick_may_be_set() -> None:
    decided = plan(region(*nodes(6)), expecting(20, 10), replace(ANYTHING_GOES, review_s=0.0))

    assert len(decided.close) == 5


# ---- when it is asked ---------------------------------------------------------------------------


def test_after_a_tick_missed_for_an_hour_all_that_is_needed_is_launched_at_once() -> None:
    """Nothing of the past is in a plan but what the fleet shows: an hour later, with the bans of
    then run out, the first tick plans what sixty would have come to."""
    bans = {SPOT.name: BETWEEN_S + 600, SMALL_SPOT.name: BETWEEN_S + 1800}
    before = region(*nodes(1), banned=bans)
    after = replace(before, now_s=BETWEEN_S + 3600)

    decided = plan(after, expecting(200), PATIENT)

    assert decided.launch == plan(replace(after, banned={}), expecting(200), PATIENT).launch
    assert slots_after(decided, after) >= 200
    assert SPOT.name in decided.launch
    assert SPOT.name not in plan(before, expecting(200), PATIENT).launch


def test_two_ticks_at_once_decide_the_same() -> None:
    fleet = region(*nodes(3, used=3), *nodes(2, SPOT), live=9, now_s=REVIEW_S)

    first = plan(fleet, expecting(120), PATIENT)
    mix.forget()

    assert plan(fleet, expecting(120), PATIENT) == first


def test_pools_that_cost_the_same_are_chosen_alike_in_any_order() -> None:
    offers = tuple(replace(one, price_usd_h=1.0, slots=24) for one in OFFERS)

    plans = []
    for order in (offers, offers[::-1], offers[2:] + offers[:2]):
        mix.forget()
        plans.append(plan(region(offers=order), expecting(100), ANYTHING_GOES).launch)

    assert plans[0] == plans[1] == plans[2]


# ---- whatever the fleet is ----------------------------------------------------------------------

POOLS = st.sampled_from([one.pool for one in OFFERS])


@st.composite
def a_node(draw: st.DrawFn, number: int) -> Node:
    pool = draw(POOLS)
    state = draw(st.sampled_from(("ready", "ready", "booting", "closed", "leaving")))
    slots = draw(st.sampled_from((SLOTS[pool], SLOTS[pool], 5)))
    used = 0 if state == "booting" else draw(st.sampled_from((0, 0, 1, slots)))
    healthy = draw(st.integers(0, 9)) > 0
    return node(f"i-{number}", pool, state, used, slots=slots, healthy=healthy)


@st.composite
def situations(draw: st.DrawFn) -> tuple[Fleet, Outlook, Policy]:
    count = draw(st.integers(0, 9))
    there = tuple(draw(a_node(number)) for number in range(count))
    least = draw(st.integers(0, 3))
    now_s = REVIEW_S + draw(st.sampled_from((0.0, 59.0, 120.0, 299.0)))
    banned = draw(
        st.dictionaries(st.sampled_from([p.name for p in SLOTS]), st.sampled_from((-60.0, 600.0)))
    )
    fleet = Fleet(
        "us-east-1",
        now_s,
        there,
        tuple(replace(one, most_nodes=draw(st.integers(0, 6))) for one in OFFERS),
        Bounds(least, least + draw(st.integers(0, 9))),
        sum(one.used for one in there),
        draw(st.sampled_from((0, 0, 7))),
        {name: now_s + s for name, s in banned.items()},
        draw(st.sampled_from((0, 0, 50))),
        draw(st.sampled_from((0, 0, 9))),
    )
    busy = draw(st.sampled_from((0, 20, 120)))
    mean = tuple(float(draw(st.integers(0, busy))) for _ in range(3))
    outlook = Outlook(300.0, mean, tuple(one + draw(st.integers(0, 30)) for one in mean))
    spot_share = draw(st.sampled_from((0.0, 0.8, 1.0)))
    return fleet, outlook, replace(PATIENT, spot_share=spot_share)


any_fleet = settings(max_examples=80, deadline=None)


def by_id(fleet: Fleet) -> Mapping[str, Node]:
    return {one.node_id: one for one in fleet.nodes}


@any_fleet
@given(situations())
def test_no_node_with_a_lesson_or_open_is_ever_released(
    asked: tuple[Fleet, Outlook, Policy],
) -> None:
    fleet, outlook, policy = asked

    decided = plan(fleet, outlook, policy)

    there = by_id(fleet)
    for name in decided.release:
        assert there[name].used == 0
        assert there[name].state == "closed" or name in decided.close
        assert name not in decided.reopen
    for name in decided.close:
        assert (there[name].state, there[name].used) == ("ready", 0)
    for name in decided.replace:
        assert (there[name].healthy, there[name].used) == (False, 0)
    assert {there[name].state for name in decided.reopen} <= {"closed"}
    assert not set(decided.close) & set(decided.reopen)


@any_fleet
@given(situations())
def test_launches_stay_within_bounds_quotas_and_bans(asked: tuple[Fleet, Outlook, Policy]) -> None:
    fleet, outlook, policy = asked

    decided = plan(fleet, outlook, policy)

    room = max(0, fleet.bounds.most - len(fleet.nodes))
    assert sum(decided.launch.values()) <= room, "nodes that drain or are sick take room too"
    for offer in fleet.offers:
        count = decided.launch.get(offer.pool.name, 0)
        there = sum(one.pool == offer.pool for one in fleet.nodes)
        assert count == 0 or there + count <= offer.most_nodes
        assert count == 0 or fleet.banned.get(offer.pool.name, 0.0) <= fleet.now_s
    assert all(count > 0 for count in decided.launch.values())
    assert set(decided.launch) <= {one.pool.name for one in fleet.offers}


@any_fleet
@given(situations())
def test_the_least_is_kept_and_what_is_ready_serves_until_the_rest_has_booted(
    asked: tuple[Fleet, Outlook, Policy],
) -> None:
    fleet, outlook, policy = asked

    decided = plan(fleet, outlook, policy)

    sound = [one for one in fleet.nodes if one.healthy and one.state != "leaving"]
    assert len(sound) - len(decided.release) >= min(fleet.bounds.least, len(sound))
    ready = sum(one.slots for one in sound if one.state == "ready")
    closing = sum(by_id(fleet)[name].slots for name in decided.close)
    back = sum(by_id(fleet)[name].slots for name in decided.reopen)
    if closing:
        assert ready + back - closing >= decided.why["need_slots"] - 0.1


@any_fleet
@given(situations())
def test_there_are_slots_for_the_need_or_it_is_told_how_many_are_missing(
    asked: tuple[Fleet, Outlook, Policy],
) -> None:
    fleet, outlook, policy = asked

    decided = plan(fleet, outlook, policy)

    missing = decided.why["need_slots"] - slots_after(decided, fleet)
    assert missing <= decided.why.get("short_slots", 0.0) + 0.1


@any_fleet
@given(situations())
def test_spot_stands_behind_all_on_demand_and_only_open_nodes_are_ordered(
    asked: tuple[Fleet, Outlook, Policy],
) -> None:
    fleet, outlook, policy = asked

    order = plan(fleet, outlook, policy).order

    there = by_id(fleet)
    spot = [value for name, value in order.items() if there[name].pool.spot]
    others = [value for name, value in order.items() if not there[name].pool.spot]
    assert max(spot, default=-math.inf) < min(others, default=math.inf)
    assert {there[name].state for name in order} <= {"ready", "closed"}


@any_fleet
@given(situations())
def test_a_plan_that_was_kept_is_decided_again_from_what_was_kept(
    asked: tuple[Fleet, Outlook, Policy],
) -> None:
    decided = plan(*asked)
    kept = json.loads(json.dumps(record(*asked, decided)))
    mix.forget()

    again = replay(kept)

    assert again == decided
    assert json.loads(json.dumps(record(*asked, again)))["plan"] == kept["plan"]


@pytest.mark.parametrize("part", ["fleet", "outlook", "policy"])
def test_what_is_no_kept_plan_is_refused(part: str) -> None:
    asked = region(*nodes(1)), expecting(10), PATIENT
    kept = record(*asked, plan(*asked))

    with pytest.raises(KeyError):
        replay({name: value for name, value in kept.items() if name != part})
    with pytest.raises((KeyError, TypeError)):
        replay(kept | {part: {"more": 1}})
