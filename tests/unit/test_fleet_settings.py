"""What the environment says of the fleet's size."""

from __future__ import annotations

import pytest

from control import bootstrap
from control.bootstrap import ConfigurationError
from control.domain.fleet.planning import Policy
from control.domain.fleet.state import Bounds
from control.services import planner
from control.services.planner import PolicyRefused

NAMES = ("RAPIDO_MIN_NODES", "RAPIDO_MAX_NODES", "RAPIDO_BOOT_S")


def settings(monkeypatch: pytest.MonkeyPatch, *values: str) -> None:
    for name, value in zip(NAMES, values, strict=True):
        monkeypatch.setenv(name, value)


def test_the_bounds_of_the_region_are_the_templates(monkeypatch: pytest.MonkeyPatch) -> None:
    settings(monkeypatch, "2", "20", "900")

    scaling = bootstrap._scaling("home", "us-east-1")

    assert scaling is not None
    assert (scaling.bounds, scaling.boot_limit_s) == (Bounds(2, 20), 900.0)
    assert scaling.published.on_demand["g5.xlarge"] == 1.006


def test_without_nodes_nothing_is_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    settings(monkeypatch, "0", "0", "600")

    assert bootstrap._scaling("home", "us-east-1") is None


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (("-1", "5", "600"), "RAPIDO_MIN_NODES is '-1', not 0 to 10000"),
        (("0", "many", "600"), "RAPIDO_MAX_NODES is 'many'"),
        (("6", "5", "600"), "RAPIDO_MIN_NODES is 6 and RAPIDO_MAX_NODES 5"),
        (("0", "5", "1e9"), "RAPIDO_BOOT_S is '1e9', not 0 to 7200"),
    ],
)
def test_a_setting_that_cannot_be_is_named(
    monkeypatch: pytest.MonkeyPatch, values: tuple[str, ...], told: str
) -> None:
    settings(monkeypatch, *values)

    with pytest.raises(ConfigurationError, match=told):
        bootstrap._scaling("home", "us-east-1")


def test_settings_of_the_planner_go_over_its_own() -> None:
    policy = planner.policy_of({"spot_share": 0.5, "review_s": 60.0})

    assert (policy.spot_share, policy.review_s) == (0.5, 60.0)
    assert policy.keep_share == Policy().keep_share


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"spot": 0.5}, "FleetPolicy has no spot; it has .*spot_share"),
        ({"spot_share": 1.5}, "spot_share is 1.5; give 0 to 1"),
        ({"quantile": 1.0}, "quantile is 0 or 1"),
        ({"review_s": -1.0}, "review_s is -1.0"),
        ({"hold_s": float("nan")}, "hold_s is nan"),
    ],
)
def test_a_setting_that_the_planner_cannot_have_is_named(
    given: dict[str, float], told: str
) -> None:
    with pytest.raises(PolicyRefused, match=told):
        planner.policy_of(given)


@pytest.mark.parametrize("text", ["[]", "0.5", "spot_share=1", '{"spot_share": "much"}'])
def test_a_policy_that_is_no_object_of_numbers_is_refused(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    settings(monkeypatch, "1", "5", "600")
    monkeypatch.setenv("RAPIDO_FLEET_POLICY", text)

    with pytest.raises(ConfigurationError, match="RAPIDO_FLEET_POLICY is no JSON object"):
        bootstrap._scaling("home", "us-east-1")
