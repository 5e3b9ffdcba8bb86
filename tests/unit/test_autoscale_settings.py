"""What `rapido up --autoscale` takes, and what it says of the rest."""

from __future__ import annotations

from typing import Any

import pytest

from ops.cell.autoscale import Autoscale, AutoscaleError, read_boot, read_capacity, read_policy


def test_boot_times() -> None:
    assert read_boot("10") == (10.0, 10.0)
    assert read_boot("5-20") == (5.0, 20.0)


def test_shares_of_launches_that_fail() -> None:
    given = ["g5.xlarge-spot=off", "g6.xlarge-spot=on", "g5.2xlarge-spot=0.3"]
    assert read_capacity(given) == {
        "g5.xlarge-spot": 1.0, "g6.xlarge-spot": 0.0, "g5.2xlarge-spot": 0.3,
    }  # fmt: skip


@pytest.mark.parametrize("text", ["", "soon", "5-x"])
def test_a_boot_time_that_is_none(text: str) -> None:
    with pytest.raises(AutoscaleError, match="as in 10 or 5-20"):
        read_boot(text)


def test_settings_of_the_planner() -> None:
    assert read_policy(["spot_share=0.5", "review_s=60"]) == {"spot_share": 0.5, "review_s": 60.0}
    with pytest.raises(AutoscaleError, match="give NAME=NUMBER"):
        read_policy(["spot_share"])


@pytest.mark.parametrize("text", ["g5.xlarge-spot", "g5.xlarge-spot=never"])
def test_a_share_that_is_none(text: str) -> None:
    with pytest.raises(AutoscaleError, match="give POOL=off"):
        read_capacity([text])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"start_nodes": 0}, "0 nodes at first"),
        ({"start_nodes": 5, "most_nodes": 4}, "5 nodes at first, 4 at most"),
        ({"most_nodes": 17}, "give 1 to 16"),
        ({"boot_s": (20.0, 5.0)}, "a boot of 20 to 5 s"),
        ({"boot_s": (-1.0, 5.0)}, "a boot of -1"),
        ({"stillborn": 1.5}, "stillborn"),
        ({"capacity": {"g5.xlarge-spot": 2.0}}, "g5.xlarge-spot: 2.0"),
        ({"policy": {"spot_shares": 0.5}}, "spot_shares"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(AutoscaleError, match=said):
        Autoscale(**settings)


def test_the_templates_parameters_follow() -> None:
    parameters = Autoscale(2, 5, policy={"spot_share": 0.5}).parameters()
    assert (parameters["StartNodes"], parameters["MaxNodes"]) == ("2", "5")
    assert parameters["FleetPolicy"] == '{"spot_share": 0.5}'
