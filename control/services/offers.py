"""What pools offer: published figures, over them today's prices, over all what workers measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from control.domain.fleet.catalogue import PUBLISHED, believed_slots, price_fault
from control.domain.fleet.state import Offer, Pool
from control.services.ports import Cell
from control.services.scaling_ports import Group, PriceList, PricesAway

ASKED_EVERY_S = 3600.0


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
        if zone is not None and zone in zones:
            return zones[zone]
        return min(zones.values(), default=self.on_demand[pool.type])


def pricing(cell: Cell, types: Sequence[str], now_s: float) -> Pricing:
    """What AWS told last, as far as it can be believed, else the published prices."""
    assert cell.scaling is not None
    told = cell.store.price_list() or PriceList({}, {})
    age_s = now_s - told.at_s
    on_demand: dict[str, float] = {}
    spot: dict[str, Mapping[str, float]] = {}
    faults = []
    for name in types:
        base = cell.scaling.published.on_demand.get(name, PUBLISHED[name].on_demand_usd_h)
        demand, refused = _believed({"on demand": told.on_demand.get(name)}, base, age_s)
        on_demand[name] = demand.get("on demand", base)
        zones, more = _believed(told.spot.get(name, {}), base, age_s)
        spot[name] = zones or cell.scaling.published.spot.get(name, {})
        faults += [f"the price of {name} {where} is refused: {why}" for where, why in refused]
        faults += [f"the spot price of {name} in {zone} is refused: {why}" for zone, why in more]
    return Pricing(on_demand, spot, tuple(faults))


def _believed(
    told: Mapping[str, float | None], base: float, age_s: float
) -> tuple[dict[str, float], list[tuple[str, str]]]:
    """Prices by where, and what is wrong with the others. Spot, too, is held against the published
    price on demand: it is a share of that."""
    faults = {w: price_fault(usd, base, age_s) for w, usd in told.items() if usd is not None}
    good = {where: usd for where, usd in told.items() if usd is not None and faults[where] is None}
    return good, [(where, why) for where, why in faults.items() if why is not None]


def refresh(cell: Cell, now_s: float) -> tuple[str, ...]:
    """Asks AWS for today's prices, once an hour; what went wrong, in words. Then those it told last
    stand, for as long as they can be believed."""
    assert cell.scaling is not None
    kept = cell.store.price_list()
    if kept is not None and now_s - kept.at_s < ASKED_EVERY_S:
        return ()
    try:
        told = cell.scaling.prices.now(sorted(PUBLISHED))
    except PricesAway as error:
        return (f"AWS tells no prices: {error}",)
    cell.store.put_price_list(PriceList(told.on_demand, told.spot, now_s))
    return ()


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
