"""How a local cell's fleet is to behave that grows and shrinks, as a person at a desk sets it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

MOST_NODES = 16


class AutoscaleError(ValueError):
    """A setting that cannot be; the message names it and says what can."""


@dataclass(frozen=True)
class Autoscale:
    """Raises AutoscaleError."""

    start_nodes: int = 1
    most_nodes: int = 4
    """Of the region, and of each pool."""
    boot_s: tuple[float, float] = (10.0, 10.0)
    """From a machine's launch to its worker's start: least and most."""
    capacity: Mapping[str, float] = field(default_factory=dict)
    """Pool → share of its launches that find none."""
    stillborn: float = 0.0
    """Share of machines on which no worker ever starts."""
    seed: int = 1
    """What chance decides comes from it."""
    policy: Mapping[str, float] = field(default_factory=dict)
    """The planner's settings that are to be other than its own."""

    def __post_init__(self) -> None:
        if not 1 <= self.start_nodes <= self.most_nodes <= MOST_NODES:
            raise AutoscaleError(
                f"{self.start_nodes} nodes at first, {self.most_nodes} at most: "
                f"give 1 to {MOST_NODES}, and no more at first than at most"
            )
        low_s, high_s = self.boot_s
        if not 0 <= low_s <= high_s <= 3600:
            raise AutoscaleError(f"a boot of {low_s:g} to {high_s:g} s: give 0 to 3600, as in 5-20")
        if not 0 <= self.stillborn <= 1:
            raise AutoscaleError(f"{self.stillborn} of the nodes stillborn: give 0 to 1")
        for pool, share in self.capacity.items():
            if not 0 <= share <= 1:
                raise AutoscaleError(f"{pool}: {share} of its launches fail: give 0 to 1, or off")
        if self.policy:
            _check_policy(self.policy)

    def parameters(self) -> dict[str, str]:
        """Of the template: pools there are only where workers have an image, which nothing here
        pulls."""
        return {
            "WorkerImage": f"123456789012.dkr.ecr.us-east-1.amazonaws.com/desk@sha256:{'0' * 64}",
            "AvatarsUri": "s3://desk/avatars",
            "MinNodes": "1",
            "StartNodes": str(self.start_nodes),
            "MaxNodes": str(self.most_nodes),
            "FleetPolicy": json.dumps(dict(self.policy)),
        }


def _check_policy(policy: Mapping[str, float]) -> None:
    from control.services.planner import PolicyRefused, policy_of  # the solver, for a second

    try:
        policy_of(policy)
    except PolicyRefused as error:
        raise AutoscaleError(str(error)) from error


def read_boot(text: str) -> tuple[float, float]:
    """From ``10`` or ``5-20``. Raises AutoscaleError."""
    low, _, high = text.partition("-")
    try:
        return float(low), float(high or low)
    except ValueError:
        raise AutoscaleError(f"{text!r} is no boot time: give seconds, as in 10 or 5-20") from None


def read_policy(texts: list[str]) -> dict[str, float]:
    """From ``NAME=NUMBER``; which names there are is the planner's. Raises AutoscaleError."""
    found = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            found[name] = float(number)
        except ValueError:
            raise AutoscaleError(f"{text!r}: give NAME=NUMBER, as in spot_share=0.5") from None
    return found


def read_capacity(texts: list[str]) -> dict[str, float]:
    """From ``POOL=off``, ``POOL=on`` and ``POOL=0.3``: the share that fails. Raises
    AutoscaleError."""
    words = {"off": 1.0, "on": 0.0}
    shares = {}
    for text in texts:
        pool, _, share = text.partition("=")
        try:
            shares[pool] = words[share] if share in words else float(share)
        except ValueError:
            raise AutoscaleError(
                f"{text!r}: give POOL=off, POOL=on or the share of launches that fail, as in "
                "g5.xlarge-spot=0.3"
            ) from None
    return shares
