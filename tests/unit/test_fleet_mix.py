"""The cheapest mix of pools that is enough: what it must hold, and that nothing is cheaper."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.domain.fleet import mix
from control.domain.fleet.mix import Mix, MixAsk, PoolAsk

SHORT_USD, UNSAFE_USD, UNBALANCED_USD, FEW_USD = 100.0, 5.0, 20.0, 50.0
GAP = 0.01
OD = PoolAsk("a-on-demand", False, 24, 1.2, 0.1, 0, 0, 20)
SPOT = PoolAsk("a-spot", True, 24, 0.5, 0.1, 0, 0, 20)
SMALL_OD = PoolAsk("b-on-demand", False, 12, 0.8, 0.1, 0, 0, 20)
SMALL_SPOT = PoolAsk("b-spot", True, 12, 0.4, 0.1, 0, 0, 20)
ALL = (OD, SPOT, SMALL_OD, SMALL_SPOT)


def ask(*pools: PoolAsk, **other: float) -> MixAsk:
    """Of nothing but slots, unless more is asked for."""
    plain = MixAsk(
        pools, need=0.0, expected=0.0, least_nodes=0, room=20, keep=0.0, spot_share=1.0,
        spot_live_usd_h=0.0, limit_s=10.0,
    )  # fmt: skip
    return replace(plain, **other)  # type: ignore[arg-type]


def solved(*pools: PoolAsk, **other: float) -> Mix:
    found = mix.solve(ask(*pools, **other))
    assert found is not None
    assert found.proven
    return found


def slots(of: Mapping[str, int], pools: tuple[PoolAsk, ...]) -> int:
    return sum(one.slots * of[one.name] for one in pools)


def test_there_are_slots_for_all_that_is_needed() -> None:
    found = solved(*ALL, need=100.0)

    assert slots(found.nodes, ALL) >= 100
    assert found.short_slots == 0.0


def test_nothing_needed_is_no_node() -> None:
    assert solved(*ALL).nodes == dict.fromkeys((one.name for one in ALL), 0)


def test_the_cheaper_of_two_is_taken() -> None:
    dear = replace(OD, name="dear", price_usd_h=1.21)

    assert solved(OD, dear, need=24.0).nodes == {OD.name: 1, "dear": 0}
    assert solved(dear, OD, need=24.0).nodes == {OD.name: 1, "dear": 0}


def test_a_node_that_is_big_enough_alone_beats_two_small_ones() -> None:
    assert solved(OD, SMALL_OD, need=24.0).nodes == {OD.name: 1, SMALL_OD.name: 0}
    assert solved(OD, SMALL_OD, need=12.0).nodes == {OD.name: 0, SMALL_OD.name: 1}


def test_any_one_pool_may_vanish_and_what_is_to_be_kept_stays() -> None:
    found = solved(*ALL, need=100.0, keep=75.0)

    for lost in ALL:
        rest = tuple(one for one in ALL if one is not lost)
        assert slots(found.nodes, rest) >= 75, lost.name
    assert found.unsafe_slots == 0.0


def test_with_one_pool_alone_it_is_told_what_its_loss_would_leave_missing() -> None:
    found = solved(SPOT, need=48.0, keep=30.0)

    assert found.nodes == {SPOT.name: 2}
    assert found.unsafe_slots == 30.0


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.8])
def test_spot_has_no_more_than_its_share_of_the_slots(share: float) -> None:
    found = solved(OD, SPOT, need=240.0, spot_share=share)

    assert found.nodes[SPOT.name] * 24 <= share * slots(found.nodes, (OD, SPOT)) + 1e-6
    assert found.nodes[SPOT.name] == int(share * 10), "and all of it: it is the cheaper one"


def test_lessons_expected_live_on_demand_where_an_interruption_is_dearer_than_the_node() -> None:
    cheap = solved(OD, SPOT, need=240.0, expected=120.0, spot_live_usd_h=0.001)
    dear = solved(OD, SPOT, need=240.0, expected=120.0, spot_live_usd_h=0.1)

    assert cheap.nodes == {OD.name: 0, SPOT.name: 10}
    assert dear.nodes == {OD.name: 5, SPOT.name: 5}, "headroom stays on spot"


def test_a_banned_pool_is_not_launched_and_keeps_what_it_has() -> None:
    banned = replace(SPOT, launchable=0, open=1)

    found = solved(OD, banned, need=72.0)

    assert found.nodes == {OD.name: 2, SPOT.name: 1}


def test_launches_stay_within_the_room_that_the_region_leaves() -> None:
    there = replace(OD, open=3)

    found = solved(there, SPOT, need=240.0, room=2)

    launched = sum(max(0, found.nodes[one.name] - one.open) for one in (there, SPOT))
    assert (launched, found.nodes[OD.name] + found.nodes[SPOT.name]) == (2, 5)
    assert found.short_slots == 240 - 5 * 24


def test_nodes_with_lessons_stay_though_nothing_is_needed() -> None:
    found = solved(replace(OD, open=3, busy=2), SPOT)

    assert found.nodes == {OD.name: 2, SPOT.name: 0}


def test_the_least_nodes_are_kept() -> None:
    found = solved(*ALL, least_nodes=3)

    assert sum(found.nodes.values()) == 3


def test_what_cannot_be_had_is_told_and_the_most_is_had() -> None:
    few = tuple(replace(one, launchable=1) for one in ALL)

    found = solved(*few, need=500.0)

    assert found.nodes == dict.fromkeys((one.name for one in ALL), 1)
    assert found.short_slots == 500 - 72


def test_a_region_whose_pools_are_all_banned_has_an_answer() -> None:
    banned = tuple(replace(one, launchable=0) for one in ALL)

    found = solved(*banned, need=30.0, keep=20.0, least_nodes=2)

    assert (found.short_slots, found.unsafe_slots, found.usd_h) == (30.0, 20.0, 0.0)


def test_a_region_without_pools_has_an_answer() -> None:
    assert solved(need=30.0) == Mix({}, 30.0, 0.0, 0.0, True)


def test_a_slot_is_never_left_out_for_money() -> None:
    costly = replace(OD, price_usd_h=50.0)

    assert solved(costly, need=1.0).nodes == {OD.name: 1}


def test_a_launch_costs_enough_that_small_savings_change_nothing() -> None:
    there = replace(OD, open=2)
    a_bit_cheaper = replace(OD, name="cheaper", price_usd_h=1.15)

    stays = solved(there, a_bit_cheaper, need=48.0)
    changes = solved(there, replace(a_bit_cheaper, price_usd_h=0.9), need=48.0)

    assert stays.nodes == {OD.name: 2, "cheaper": 0}
    assert changes.nodes == {OD.name: 0, "cheaper": 2}


def test_without_time_there_is_no_answer_or_one_that_is_not_called_proven() -> None:
    mix.forget()

    found = mix.solve(ask(*ALL, need=333.0, keep=200.0, expected=100.0, limit_s=0.0))

    assert found is None or not found.proven


def test_no_answer_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    mix.forget()
    asked = ask(*ALL, need=100.0)
    with monkeypatch.context() as patch:
        patch.setattr(mix._solver(), "run", lambda: None)
        assert mix.solve(asked) is None

    found = mix.solve(asked)

    assert found is not None
    assert found.proven


def test_an_answer_for_which_time_ran_out_is_not_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mix.forget()
    asked = ask(*ALL, need=100.0)
    time_ran_out = mix._highs().HighsModelStatus.kTimeLimit
    with monkeypatch.context() as patch:
        patch.setattr(mix._solver(), "getModelStatus", lambda: time_ran_out)
        early = mix.solve(asked)

    assert early is not None
    assert not early.proven
    assert solved(*ALL, need=100.0).proven


def test_the_same_question_has_the_same_answer_whatever_was_asked_between() -> None:
    asked = ask(*ALL, need=130.0, keep=90.0, expected=60.0, spot_live_usd_h=0.1, spot_share=0.8)
    mix.forget()
    first = mix.solve(asked)
    for need in range(40, 140, 9):
        mix.solve(replace(asked, need=float(need)))
    mix.forget()

    assert mix.solve(asked) == first


def test_pools_of_one_price_are_chosen_alike_each_time() -> None:
    twins = tuple(replace(OD, name=f"twin-{n}") for n in range(4))

    answers = []
    for _ in range(5):
        mix.forget()
        answers.append(solved(*twins, need=90.0).nodes)

    assert all(one == answers[0] for one in answers)


# ---- against every mix there is -----------------------------------------------------------------


@st.composite
def questions(draw: st.DrawFn) -> MixAsk:
    """Small enough to try every answer."""
    pools = []
    for number in range(draw(st.integers(1, 3))):
        there = draw(st.integers(0, 2))
        pools.append(
            PoolAsk(
                f"p{number}",
                draw(st.booleans()),
                draw(st.sampled_from((4, 8, 12, 24))),
                draw(st.integers(30, 300)) / 100,
                draw(st.sampled_from((0.0, 0.08, 0.5))),
                there,
                draw(st.integers(0, there)),
                draw(st.integers(0, 3)),
            )
        )
    need = float(draw(st.integers(0, 90)))
    return MixAsk(
        tuple(pools),
        need,
        float(draw(st.integers(0, 60))),
        draw(st.integers(0, 4)),
        draw(st.integers(0, 5)),
        need * draw(st.sampled_from((0.0, 0.5, 0.75))),
        draw(st.sampled_from((0.0, 0.5, 0.8, 1.0))),
        draw(st.sampled_from((0.0, 0.06, 0.1))),
        10.0,
    )


def allowed(asked: MixAsk, nodes: tuple[int, ...]) -> bool:
    launched = sum(max(0, n - one.open) for n, one in zip(nodes, asked.pools, strict=True))
    return launched <= asked.room


def cost(asked: MixAsk, nodes: tuple[int, ...]) -> float:
    """As mix.py's head has it, written down a second time."""
    pairs = list(zip(nodes, asked.pools, strict=True))
    here = sum(n * p.slots for n, p in pairs)
    spot = sum(n * p.slots for n, p in pairs if p.spot)
    usd = sum(p.price_usd_h * (n + p.launch_h * max(0, n - p.open)) for n, p in pairs)
    usd += SHORT_USD * max(0.0, asked.need - here)
    usd += UNSAFE_USD * max(0.0, *(asked.keep - here + n * p.slots for n, p in pairs))
    usd += UNBALANCED_USD * max(0.0, spot - asked.spot_share * here)
    usd += FEW_USD * max(0, asked.least_nodes - sum(nodes))
    return usd + asked.spot_live_usd_h * max(0.0, asked.expected - (here - spot))


@settings(max_examples=250, deadline=None)
@given(questions())
def test_no_mix_is_cheaper_and_every_bound_is_kept(asked: MixAsk) -> None:
    found = mix.solve(asked)

    assert found is not None
    nodes = tuple(found.nodes[one.name] for one in asked.pools)
    for n, one in zip(nodes, asked.pools, strict=True):
        assert one.busy <= n <= one.open + one.launchable
    assert allowed(asked, nodes)
    every = itertools.product(*(range(p.busy, p.open + p.launchable + 1) for p in asked.pools))
    best = min(cost(asked, one) for one in every if allowed(asked, one))
    assert cost(asked, nodes) <= best * (1 + GAP) + 1e-6


@settings(max_examples=150, deadline=None)
@given(questions())
def test_what_is_told_of_a_mix_is_what_it_has(asked: MixAsk) -> None:
    found = mix.solve(asked)

    assert found is not None
    here = slots(found.nodes, asked.pools)
    largest = max(one.slots * found.nodes[one.name] for one in asked.pools)
    assert found.short_slots == pytest.approx(max(0.0, asked.need - here), abs=1e-3)
    assert found.unsafe_slots == pytest.approx(max(0.0, asked.keep - here + largest), abs=1e-3)
    usd_h = sum(one.price_usd_h * found.nodes[one.name] for one in asked.pools)
    assert found.usd_h == pytest.approx(usd_h)
