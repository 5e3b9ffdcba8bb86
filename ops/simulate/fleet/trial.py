"""One week under one policy, told in the figures that are judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from time import perf_counter

from control.domain.fleet import forecast
from control.domain.fleet.planning import Policy
from control.domain.geography import REGIONS, hours_from_utc
from ops.simulate.fleet import clairvoyant
from ops.simulate.fleet.inputs import Inputs, begin_nodes, bounds
from ops.simulate.fleet.scalers import Buffer, Planner, Published, history
from ops.simulate.fleet.tally import Tally
from ops.simulate.fleet.weeks import announced_by_region
from ops.simulate.fleet.world import Scaler, World

_WARM_UP_S = 7200.0
_SOLVER_S = 30.0
"""Simulated answers must not depend on how busy the machine is."""


@dataclass(frozen=True)
class Week:
    """What came of a week."""

    tally: Tally
    wall_s: float
    plan_s: tuple[float, ...] = ()
    """Of each plan, the solver's time in it."""

    @property
    def rejected_percent(self) -> float:
        return 100.0 * self.tally.rejected / max(1, self.tally.sessions)

    @property
    def interrupted_percent(self) -> float:
        return 100.0 * self.tally.interrupted / max(1, self.tally.sessions)

    @property
    def usd_stream_h(self) -> float:
        return self.tally.usd / max(1e-9, self.tally.live_h)

    def meets(self, rejected_percent: float, wait_p999_s: float) -> bool:
        """As few turned away and as short waits as asked for."""
        return self.rejected_percent <= rejected_percent and self.tally.wait_p999_s() <= wait_p999_s


Profiles = Mapping[str, forecast.Profile | None]
"""By region, what a cell would have learnt of the time before the judged week."""


def learn(inputs: Inputs, quantile: float) -> Profiles:
    """A profile a region, of the demand that nobody announced."""
    by = announced_by_region(inputs.classes)
    until_s = inputs.judged[0]
    profiles = {}
    for region in inputs.regions:
        past = history(inputs.lessons, by.get(region, []), region, until_s)
        profiles[region] = forecast.learn(past, 0, offset_h(region), quantile)
    return profiles


def offset_h(region: str) -> float:
    """Hours from UTC; 0 of a region that is not known."""
    return hours_from_utc(REGIONS[region]) if region in REGIONS else 0.0


def planned(
    inputs: Inputs, policy: Policy, profiles: Profiles | None = None, hand_over: bool = False
) -> Week:
    """Under the shipped planner; ``profiles`` are those learnt at the policy's own quantile."""
    classes = announced_by_region(inputs.classes)
    scaler = Planner(
        replace(policy, solver_s=_SOLVER_S),
        profiles or learn(inputs, policy.quantile),
        {region: classes.get(region, []) for region in inputs.regions},
    )
    week = under(inputs, scaler, hand_over)
    return replace(week, plan_s=tuple(scaler.plan_s))


def under(inputs: Inputs, scaler: Scaler, hand_over: bool = False) -> Week:
    """``hand_over``: a region that is full may use another one's free slots, as cells do."""
    begun = perf_counter()
    judged = inputs.judged
    regions = inputs.regions
    peers = {one: tuple(r for r in regions if r != one and hand_over) for one in regions}
    world = World(
        inputs.lessons,
        inputs.stretches,
        {one: bounds(one) for one in regions},
        peers,
        scaler,
        judged,
        {one: begin_nodes(one) for one in regions},
    )
    tally = world.run(max(0.0, judged[0] - _WARM_UP_S), judged[1])
    return Week(tally, perf_counter() - begun)


def published(inputs: Inputs) -> Week:
    """Target tracking at 70 % of CPU, one type on demand."""
    return under(inputs, Published())


def buffered(inputs: Inputs, type_name: str, free_share: float) -> Week:
    """A share of slots kept free, one type on demand."""
    return under(inputs, Buffer(type_name, free_share))


def cheapest_buffer(
    inputs: Inputs, rejected_percent: float, wait_p999_s: float
) -> tuple[str, float, Week]:
    """The (type, free share in steps of 2.5 %) that meets both and costs least.

    Raises LookupError where none does.
    """
    best: tuple[str, float, Week] | None = None
    for type_name in ("g5.2xlarge", "g6.xlarge", "g5.xlarge"):
        for share in (n / 40 for n in range(12, 37)):
            week = buffered(inputs, type_name, share)
            if best is not None and week.tally.usd >= best[2].tally.usd:
                break
            if week.meets(rejected_percent, wait_p999_s):
                best = type_name, share, week
                break
    if best is None:
        raise LookupError("no buffer up to 90 % meets the rejections and waits")
    return best


def clairvoyant_usd(inputs: Inputs, policy: Policy) -> float:
    """All regions' bound."""
    begin_s, end_s = inputs.judged
    regions = inputs.regions
    world = World(
        inputs.lessons,
        inputs.stretches,
        {one: bounds(one) for one in regions},
        dict.fromkeys(regions, ()),
        Published(),
        inputs.judged,
        dict.fromkeys(regions, 0),
    )
    return sum(
        clairvoyant.usd(one, inputs.lessons, policy, begin_s, end_s)
        for one in world.regions.values()
    )
