"""Which cell takes a request, which double yields, and when a peer is left alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.domain.breaker import FAILURES, JITTER_S, OPEN_S, Breaker
from control.domain.geography import REGIONS, Point
from control.domain.peers import FRESH_S, MARGIN, Standing, Twin, candidates, score, yields

NEW_YORK = Point(40.7, -74.0)
FRANKFURT = Point(50.1, 8.7)


def standing(region: str, best_score: float = 0.6, free_slots: int = 4, **more: float) -> Standing:
    return Standing(region, region, REGIONS[region], best_score, free_slots, True, **more)


EAST = standing("us-east-1")
WEST = standing("us-west-2")
EUROPE = standing("eu-central-1")


def chosen(own: Standing, *peers: Standing, **more: object) -> tuple[str, ...]:
    given: dict[str, object] = {"learner": NEW_YORK, "rtt_ms": {}, "hop": 0} | more
    return candidates(own, peers, **given)  # type: ignore[arg-type]


def test_a_cell_with_a_good_free_slot_serves_its_neighbours() -> None:
    assert chosen(EAST, WEST, EUROPE) == ()


def test_a_full_cell_hands_over_to_the_best_by_the_whole_score() -> None:
    full = replace(EAST, free_slots=0, best_score=0.0)
    assert chosen(full, EUROPE, WEST) == ("us-west-2", "eu-central-1")


def test_a_near_peer_that_is_nearly_full_loses_to_a_far_one_that_is_empty() -> None:
    full = replace(EAST, free_slots=0)
    busy = replace(WEST, best_score=0.25)
    assert chosen(full, busy, EUROPE) == ("eu-central-1", "us-west-2")


def test_an_unwell_cell_hands_over_though_it_has_slots() -> None:
    assert chosen(replace(EAST, accepting=False), WEST) == ("us-west-2",)


def test_a_clearly_better_peer_is_preferred_and_a_slightly_better_one_is_not() -> None:
    at_equal_distance = replace(EAST, cell="other")
    edge = EAST.best_score - MARGIN
    assert chosen(replace(EAST, best_score=edge - 0.001), at_equal_distance) == ("other",)
    assert chosen(replace(EAST, best_score=edge + 0.001), at_equal_distance) == ()


def test_the_clients_own_round_trips_come_before_geography() -> None:
    rtt_ms = {"us-east-1": 290.0, "eu-central-1": 20.0}
    assert chosen(EAST, EUROPE, rtt_ms=rtt_ms) == ("eu-central-1",)


def test_a_learner_whose_place_is_unknown_is_taken_to_be_near() -> None:
    assert chosen(EAST, EUROPE, learner=None) == ()


def test_who_was_not_heard_lately_or_accepts_nothing_is_left_out() -> None:
    full = replace(EAST, free_slots=0)
    silent = replace(WEST, age_s=FRESH_S + 0.1)
    closed = replace(EUROPE, accepting=False)
    no_room = replace(EUROPE, cell="no-room", free_slots=0)
    assert chosen(full, silent, closed, no_room) == ()


def test_a_request_hops_once() -> None:
    full = replace(EAST, free_slots=0)
    assert chosen(full, WEST, hop=1) == ()
    assert chosen(full, WEST, hop=1, owner="us-west-2") == ()


def test_the_owner_of_a_lesson_is_asked_first_even_when_it_is_silent_and_full() -> None:
    owner = replace(WEST, free_slots=0, age_s=60.0)
    assert chosen(EAST, owner, EUROPE, owner="us-west-2") == ("us-west-2",)
    full = replace(EAST, free_slots=0)
    assert chosen(full, owner, EUROPE, owner="us-west-2") == ("us-west-2", "eu-central-1")


def test_a_score_is_the_placements_own() -> None:
    assert score(EAST, REGIONS["us-east-1"], {}) == pytest.approx(0.4 * (1 - 8 / 300) + 0.6)


twins = st.builds(Twin, st.text("ab", min_size=1, max_size=3), st.integers(0, 3))


@given(twins, twins)
def test_of_two_doubles_exactly_one_yields(a: Twin, b: Twin) -> None:
    assert yields(a, b) + yields(b, a) == (a != b)


def test_the_younger_double_yields() -> None:
    assert yields(Twin("s-a", 2), Twin("s-b", 1))


def test_a_breaker_opens_after_three_failures_for_ten_seconds_and_some() -> None:
    breaker = Breaker()
    for _ in range(FAILURES - 1):
        breaker = breaker.failed(100.0, 1.0)
        assert breaker.allows(100.0)
    breaker = breaker.failed(100.0, 0.5)
    assert not breaker.allows(100.0 + OPEN_S)
    assert breaker.allows(100.0 + OPEN_S + 0.5 * JITTER_S)


def test_a_breaker_that_tries_again_opens_at_the_next_failure_and_closes_at_an_answer() -> None:
    breaker = Breaker()
    for _ in range(FAILURES):
        breaker = breaker.failed(0.0, 0.0)
    later = OPEN_S + 1
    assert not breaker.failed(later, 0.0).allows(later + 1)
    assert breaker.succeeded().failed(later, 0.0).allows(later)
