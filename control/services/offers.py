"""What pools offer: published figures, over them today's prices, over all what workers measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from control.domain.fleet.catalogue import PUBLISHED, believed_slots, price_fault
from control.domain.fleet.state import Offer, Pool
from control.services.ports import Cell
from control.services.scaling_ports import Group, PriceList, PricesAway

_ASKED_EVERY_S = 3600.0
_TRIED_EVERY_MS = 60_000


@dataclass(frozen=True)
class Pricing:
    """Believed prices, dollars an hour; ``faults`` are those that were refused, in words."""

    on_demand: Mapping[str, float]
    spot: Mapping[str, Mapping[str, float]]
    """By type and zone; the published zones where no live price is believed."""
    faults: tuple[str, ...] = ()

    def of(self, pool: Pool, zone: str | None = None) -> float:
        """Of a node in that zone; without one, or with one that has no price, in the cheapest.

        A spot pool that no price is known of counts as on demand, so that it is never chosen for a
        cheapness that nobody promised.
        """
        if not pool.spot:
            return self.on_demand[pool.type]
        zones = self.spot.get(pool.type, {})
        if zone in zones:
            return zones[zone]
        return min(zones.values(), default=self.on_demand[pool.type])


def pricing(cell: Cell, types: Sequence[str], now_s: float) -> Pricing:
    """Today's prices as far as they can be believed, else the published ones."""
    assert cell.scaling is not None
    told, away = _told(cell, types, now_s)
    age_s = now_s - told.at_s
    faults = list(away)
    on_demand: dict[str, float] = {}
    spot: dict[str, Mapping[str, float]] = {}
    for name in types:
        base = cell.scaling.published.on_demand.get(name, PUBLISHED[name].on_demand_usd_h)
        on_demand[name] = base
        if name in told.on_demand:
            fault = price_fault(told.on_demand[name], base, age_s)
            if fault is None:
                on_demand[name] = told.on_demand[name]
            else:
                faults.append(f"on-demand price of {name} refused: {fault}")
        published = cell.scaling.published.spot.get(name, {})
        believed = {}
        for zone, usd in told.spot.get(name, {}).items():
            fault = price_fault(usd, base, age_s)
            if fault is None:
                believed[zone] = usd
            else:
                faults.append(f"spot price of {name} in {zone} refused: {fault}")
        spot[name] = believed or published
    return Pricing(on_demand, spot, tuple(faults))


def _told(cell: Cell, types: Sequence[str], now_s: float) -> tuple[PriceList, list[str]]:
    """Today's, asked for once an hour; while AWS tells none, those it told last."""
    assert cell.scaling is not None
    kept = cell.store.price_list() or PriceList({}, {})
    fresh = now_s - kept.at_s < _ASKED_EVERY_S
    if fresh or not cell.store.due("prices", _TRIED_EVERY_MS):
        return kept, []
    try:
        told = cell.scaling.prices.now(types)
    except PricesAway as error:
        return kept, [f"prices are not told: {error}"]
    told = PriceList(told.on_demand, told.spot, now_s)
    cell.store.put_price_list(told)
    return told, []


def offers(
    groups: Sequence[Group], prices: Pricing, measured: Mapping[str, int]
) -> tuple[Offer, ...]:
    """One a group; a type that is not in the catalogue is not planned with."""
    return tuple(
        Offer(
            pool=one.pool,
            slots=slots_of(one.pool.type, measured),
            price_usd_h=prices.of(one.pool),
            boot_s=PUBLISHED[one.pool.type].boot_s,
            most_nodes=one.most,
        )
        for one in groups
        if one.pool.type in PUBLISHED
    )


def slots_of(type_name: str, measured: Mapping[str, int]) -> int:
    """What a node of the type is expected to announce."""
    return believed_slots(measured.get(type_name), PUBLISHED[type_name].slots)
