"""The score, its terms, and where a room goes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.domain import placement
from control.domain.geography import REGIONS, Point, distance_km
from control.domain.placement import Scored, choose, distance_term, terms
from control.domain.rooms import LivekitServer, nearest_server

EAST, WEST, EUROPE = (
    LivekitServer(name, f"wss://{name}.example", REGIONS[name])
    for name in ("us-east-1", "us-west-2", "eu-central-1")
)
NEW_YORK, DENVER, BERLIN = Point(40.7, -74.0), Point(39.7, -105.0), Point(52.5, 13.4)


def test_the_weights_are_a_whole() -> None:
    total = placement.DISTANCE + placement.LOAD + placement.PERFORMANCE + placement.CAPACITY
    assert total == pytest.approx(1.0)


def test_new_york_to_berlin_is_6385_km() -> None:
    assert distance_km(NEW_YORK, BERLIN) == pytest.approx(6385, abs=15)


@pytest.mark.parametrize(
    ("rtt_ms", "term"), [(0.0, 1.0), (150.0, 0.5), (300.0, 0.0), (9000.0, 0.0)]
)
def test_a_measured_round_trip_decides_the_distance(rtt_ms: float, term: float) -> None:
    assert distance_term(EAST.at, BERLIN, rtt_ms) == pytest.approx(term)


def test_without_location_or_measurement_distance_does_not_count_against_anybody() -> None:
    assert distance_term(EAST.at, None, None) == 1.0


def test_terms_of_a_half_full_worker_with_late_frames() -> None:
    scored = terms("w", 1.0, slots=24, used=12, lateness_ms=10.0, holds_avatar=True)

    assert (scored.load, scored.performance, scored.capacity) == (0.5, 0.75, 0.5)
    assert scored.score == pytest.approx(0.4 + 0.15 + 0.15 + 0.05)


candidates = st.lists(
    st.builds(
        terms,
        st.text("abc", min_size=1, max_size=6),
        st.just(0.5),  # the workers of one cell are as far from the learner
        st.just(24),
        st.integers(0, 23),
        st.floats(0, 80),
        st.booleans(),
        st.integers(0, 2 * placement.START_CAP),
    ),
    max_size=12,
)


@given(candidates)
def test_the_choice_is_never_worse_than_the_margin(found: list[Scored]) -> None:
    chosen = choose(found)

    if not found:
        assert chosen is None
        return
    ready = [one for one in found if one.starts < placement.START_CAP] or found
    best = max(one.base for one in ready)
    assert chosen in ready
    assert 0.0 <= chosen.score <= 1.0
    assert chosen.base >= best - placement.AVATAR_MARGIN
    near = [one for one in ready if one.base >= best - placement.AVATAR_MARGIN]
    assert chosen.holds_avatar or not any(one.holds_avatar for one in near)


def test_the_planners_order_goes_over_load_and_avatar() -> None:
    empty = terms("spot", 1.0, slots=24, used=0, lateness_ms=0.0, holds_avatar=True, order=-1.0)
    busy = terms("on-demand", 1.0, slots=24, used=23, lateness_ms=0.0, holds_avatar=False)

    assert choose([empty, busy]) is busy
    assert choose([empty]) is empty


@pytest.mark.parametrize(
    ("order", "text"), [(0.0, "0"), (-0.0, "0"), (-1.0, "-1"), (0.123456789, "0.123457")]
)
def test_an_order_is_kept_to_six_digits(order: float, text: str) -> None:
    assert placement.order_text(order) == text
    assert placement.order_of(text) == pytest.approx(order, abs=1e-6)


def test_a_closed_worker_has_no_order() -> None:
    assert placement.order_of(placement.order_text(None)) is None


def test_room_in_the_region_of_both() -> None:
    assert nearest_server([WEST, EAST, EUROPE], NEW_YORK, EAST.at) is EAST


def test_room_for_a_learner_between_two_regions_is_nearest_to_both_together() -> None:
    assert nearest_server([EAST, WEST, EUROPE], DENVER, WEST.at) is WEST
    assert nearest_server([EAST, WEST, EUROPE], DENVER, EAST.at) is EAST


def test_a_failed_region_is_left_out() -> None:
    assert nearest_server([EAST, WEST, EUROPE], NEW_YORK, EAST.at, {"us-east-1"}) is WEST


def test_when_all_probes_failed_the_nearest_is_still_tried() -> None:
    failed = {"us-east-1", "us-west-2"}
    assert nearest_server([EAST, WEST], NEW_YORK, EAST.at, failed) is EAST


def test_no_server_is_a_clear_error() -> None:
    with pytest.raises(ValueError, match="RAPIDO_LIVEKIT"):
        nearest_server([], None, EAST.at)
