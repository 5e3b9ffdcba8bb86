"""The fleet's planner as the store hears it: workers preferred, closed and opened, slots held."""

from __future__ import annotations

from collections.abc import Sequence

from control.services import sessions
from control.services.ports import Cell
from ops.simulate.world import World

CLASS = "class"
ORDERS = (0.0, 0.0, -1.0, 0.4)
HELD_FOR_S = (2, 20, 45)


class SimPlanner:
    """No plan of its own: whatever it says, the store must stay true. When the faults are over it
    opens what it closed and holds nothing more."""

    def __init__(self, world: World, cell: Cell, names: Sequence[str], tenant: str) -> None:
        self._world, self._cell, self._tenant = world, cell, tenant
        self._names = list(names)

    def say(self) -> None:
        """One tick; it may die between its calls, or find the store away."""
        world, rng, store = self._world, self._world.rng, self._cell.store
        calm = world.now_ms >= world.calm_after_ms
        orders: dict[str, float | None] = dict.fromkeys(self._names, 0.0)
        if not calm:
            orders = {name: rng.choice(ORDERS) for name in self._names}
            orders[rng.choice(self._names)] = None
        self._drive(store.order(orders).handed)
        if not calm:
            until_s = world.now_ms / 1000 + rng.choice(HELD_FOR_S)
            self._drive(store.hold(self._tenant, CLASS, rng.randint(0, 5), until_s).handed)

    def _drive(self, handed: Sequence[str]) -> None:
        sessions.drive_handed(self._cell, handed)
