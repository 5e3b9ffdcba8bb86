"""Which prices and slots are believed, and how pools are named."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.domain.fleet.catalogue import (
    ABSURD_FACTOR,
    MOST_SLOTS,
    PUBLISHED,
    STALE_AFTER_S,
    believed_slots,
    pool,
    price_fault,
)
from control.domain.fleet.state import Pool
from ops.simulate.fleet.inputs import listed_prices

PUBLISHED_USD_H = 1.2


@pytest.mark.parametrize(
    ("price_usd_h", "said"),
    [
        (0.0, "is no price"),
        (-0.5, "is no price"),
        (math.nan, "is no price"),
        (math.inf, "is no price"),
        (-math.inf, "is no price"),
        (100 * PUBLISHED_USD_H, "over 10 times the published price"),
        (10.1 * PUBLISHED_USD_H, "over 10 times the published price"),
        (PUBLISHED_USD_H / 21, "under a 20th of the published price"),
        (1e-9, "under a 20th of the published price"),
    ],
)
def test_a_price_that_cannot_be_is_refused_in_words(price_usd_h: float, said: str) -> None:
    fault = price_fault(price_usd_h, PUBLISHED_USD_H)

    assert fault is not None
    assert said in fault
    assert f"{price_usd_h} $" in fault, "and names it"


@pytest.mark.parametrize("times", [0.051, 0.3, 1.0, 2.5, ABSURD_FACTOR])
def test_a_price_near_the_published_one_is_gone_by(times: float) -> None:
    assert price_fault(times * PUBLISHED_USD_H, PUBLISHED_USD_H) is None


@pytest.mark.parametrize(("age_s", "stale"), [(0.0, False), (STALE_AFTER_S, False), (25_200, True)])
def test_a_price_that_was_not_seen_for_hours_is_refused(age_s: float, stale: bool) -> None:
    assert price_fault(1.0, PUBLISHED_USD_H, age_s) == (
        "it was seen 7 hours ago" if stale else None
    )


def test_every_published_price_is_one_that_is_believed() -> None:
    listed = [one for one in listed_prices() if one.type in PUBLISHED]
    assert {one.type for one in listed} == set(PUBLISHED)
    for one in listed:
        prices = one.on_demand, *one.spot.values()
        base = PUBLISHED[one.type].on_demand_usd_h
        assert [price_fault(usd, base) for usd in prices] == [None] * len(prices), one


@pytest.mark.parametrize("measured", [None, 0, -1, MOST_SLOTS + 1, 10**6])
def test_slots_that_no_machine_has_are_the_published_ones(measured: int | None) -> None:
    assert believed_slots(measured, 24) == 24


@pytest.mark.parametrize("measured", [1, 23, MOST_SLOTS])
def test_measured_slots_go_over_the_published_ones(measured: int) -> None:
    assert believed_slots(measured, 24) == measured


@given(st.one_of(st.none(), st.integers()), st.integers(1, MOST_SLOTS))
def test_whatever_is_measured_the_slots_are_some_that_can_be(
    measured: int | None, published: int
) -> None:
    assert 0 < believed_slots(measured, published) <= MOST_SLOTS


@pytest.mark.parametrize("market", ["on-demand", "spot"])
@pytest.mark.parametrize("kind", PUBLISHED)
def test_a_pools_name_is_read_back(kind: str, market: str) -> None:
    named = pool(f"{kind}-{market}")

    assert named == Pool(kind, market)  # type: ignore[arg-type]
    assert named.name == f"{kind}-{market}"
    assert named.spot is (market == "spot")


@pytest.mark.parametrize(
    "name", ["", "g5.xlarge", "g5.xlarge-", "-spot", "spot", "g5.xlarge-Spot", "g5.xlarge-spot-2"]
)
def test_a_name_of_no_pool_is_refused_with_what_one_is(name: str) -> None:
    with pytest.raises(ValueError, match="is no pool; it is TYPE-on-demand or TYPE-spot"):
        pool(name)


def test_every_published_type_can_be_planned_with() -> None:
    for kind in PUBLISHED.values():
        assert 0 < kind.slots <= MOST_SLOTS
        assert kind.boot_s > 0
        assert kind.on_demand_usd_h > 0
