"""What the environment says of the fleet's size."""

from __future__ import annotations

import pytest

from control import bootstrap
from control.bootstrap import ConfigurationError
from control.domain.fleet.state import Bounds

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
