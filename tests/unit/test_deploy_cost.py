"""The estimate: every part has a price, and what is counted is what the templates make."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.cell.files import ROOT
from ops.cell.intrinsics import read_yaml
from ops.deploy import cost
from ops.deploy.cell_template import bounds_of
from ops.deploy.cost import Usage, gpu_range, monthly, read_prices
from ops.deploy.estimate import estimate, shape_of
from ops.deploy.limits import TYPES, Bounds
from ops.deploy.settings import Livekit
from tests.deploy_parts import REGIONS, wanted

OWN = Livekit({}, "", own=True)
PRICES = read_prices()


@pytest.mark.parametrize("size", ["full", "small"])
@pytest.mark.parametrize("livekit", [None, OWN], ids=["elsewhere", "own"])
def test_every_part_of_a_cell_has_a_price_in_the_references_regions(
    size: str, livekit: Livekit | None
) -> None:
    guess = estimate(wanted(size=size, livekit=livekit))

    assert set(guess.lines) == set(REGIONS)
    for region, lines in guess.lines.items():
        free = {line.part for line in lines if line.usd == 0}
        home = set() if region == "us-east-1" else {"PostgreSQL"}
        assert free == home | (set() if livekit else {"LiveKit's servers"})


def test_a_region_without_prices_is_left_out_aloud() -> None:
    guess = estimate(wanted(regions=("us-east-1", "eu-north-1")))

    assert set(guess.lines) == {"us-east-1"}
    assert any(note.startswith("eu-north-1 is left out: no price of") for note in guess.notes)


def test_the_tables_say_what_they_are_and_of_when() -> None:
    notes = " ".join(PRICES.notes)

    assert "LIST PRICES" in notes
    assert "as of 2025-06" in notes
    assert "check https://aws.amazon.com/pricing" in notes


def test_every_pool_of_the_template_has_a_price_where_it_is_sold() -> None:
    pool = read_yaml(ROOT / "infra" / "gpu_pool.yaml")["Parameters"]["InstanceType"]

    assert set(pool["AllowedValues"]) == set(TYPES)
    assert {kind for kind, _ in PRICES.on_demand} == set(TYPES)


@pytest.mark.parametrize("size", ["full", "small"])
def test_the_shape_that_is_counted_is_the_templates(size: str) -> None:
    shape = shape_of(wanted(size=size))
    network = read_yaml(ROOT / "infra" / "network.yaml")["Resources"]
    gateways = [one for one in network.values() if one["Type"] == "AWS::EC2::NatGateway"]
    here = [one for one in gateways if size == "full" or one.get("Condition") != "Full"]
    stores = read_yaml(ROOT / "infra" / "stores.yaml")["Resources"]
    _, full, small = stores["StoreNodes"]["Properties"]["ReplicasPerNodeGroup"]["Fn::If"]
    _, twice, once = stores["RecordsDatabase"]["Properties"]["MultiAZ"]["Fn::If"]

    assert shape.gateways == len(here)
    assert shape.valkey_nodes == 1 + int(full if size == "full" else small)
    assert shape.postgres_copies == (2 if (twice if size == "full" else once) else 1)


@given(st.integers(0, 20), st.integers(0, 20))
def test_more_nodes_never_cost_less(few: int, more: int) -> None:
    few, more = sorted((few, more))
    shape = shape_of(wanted())

    def together(nodes: int) -> float:
        lines = monthly(
            "us-west-2", Bounds(1, nodes, 20), shape, home=False, prices=PRICES, usage=Usage()
        )
        return sum(line.usd for line in lines)

    assert together(few) <= together(more)


def test_a_start_of_four_g5_on_demand_costs_what_the_list_says() -> None:
    bounds = bounds_of("us-east-1", {})
    lines = monthly(
        "us-east-1", bounds, shape_of(wanted()), home=True, prices=PRICES, usage=Usage()
    )

    assert bounds == Bounds(2, 4, 20)
    assert lines[0].usd == pytest.approx(4 * 730 * 1.006)


def test_the_range_is_the_least_on_the_cheapest_spot_to_the_most_on_demand() -> None:
    low, high = gpu_range("us-west-2", Bounds(1, 3, 15), PRICES)

    assert low == pytest.approx(730 * 0.4347 * 1)
    assert high == pytest.approx(730 * 1.212 * 15)


def test_no_price_is_listed_that_nothing_uses() -> None:
    table = Path(cost.__file__).parent / "prices" / "list.csv"
    rows = csv.DictReader(line for line in table.read_text().splitlines() if line[0] != "#")
    used: set[str] = set()

    class Watched(dict[tuple[str, str], float]):
        def __getitem__(self, key: tuple[str, str]) -> float:
            used.add(key[0])
            return super().__getitem__(key)

    watched = cost.Prices(Watched(PRICES.items), PRICES.on_demand, PRICES.spot, ())
    for size in ("full", "small"):
        shape = shape_of(wanted(size=size, livekit=OWN))
        monthly("us-east-1", Bounds(2, 4, 20), shape, home=True, prices=watched, usage=Usage())

    assert {row["item"] for row in rows} == used
