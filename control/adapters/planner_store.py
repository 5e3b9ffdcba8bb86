"""What the store keeps for the planner: the order among workers, held slots, demand as it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from control.adapters.store_rows import text_of_worker
from control.domain.leases import DEAD_AFTER_S
from control.domain.placement import order_text
from control.services.planner_ports import (
    Held,
    Observed,
    ObservedClass,
    ObservedWorker,
    Ordered,
)

DEAD_MS = int(DEAD_AFTER_S * 1000)


class PlannerStoreMixin:
    """The part of ValkeyStore that the planner needs."""

    _run: Callable[..., Any]

    def order(self, values: Mapping[str, float | None]) -> Ordered:
        """What is added to each worker's score; None closes it. Raises ValueError for no number."""
        given = [part for name, one in values.items() for part in (name, order_text(one))]
        if not given:
            return Ordered({})
        leases, handed = self._run("order", *given)
        return Ordered({name: int(n) for name, n in _pairs(leases)}, tuple(handed))

    def hold(self, tenant: str, class_id: str, n: int, until_s: float) -> Held:
        """Keeps ``n`` slots in all for the class, those that its open sessions have among them."""
        name = _class(tenant, class_id)
        count, handed = self._run("hold", name, tenant, class_id, n, int(until_s * 1000))
        return Held(int(count), tuple(handed))

    def unhold(self, tenant: str, class_id: str) -> Held:
        """Gives all of the class's held slots back."""
        return self.hold(tenant, class_id, 0, 0.0)

    def observe(self) -> Observed:
        """The cell at one moment."""
        now, leases, queued, grace, classes, *parts = self._run("observe")
        known, facts, used, held, drained, heard = (dict(_pairs(part)) for part in parts)
        holding = sum(int(count) for count in held.values())

        def worker(name: str) -> ObservedWorker:
            own = text_of_worker(known[name])
            told = json.loads(facts[name].split(" ", 2)[2])
            ago = int(now) - int(float(heard[name])) if name in heard else None
            return ObservedWorker(
                worker_id=name,
                state=own["state"],
                drained=name in drained,
                order=own["order"],
                slots=own["slots"],
                used=int(used.get(name, 0)),
                held=int(held.get(name, 0)),
                alive=ago is not None and (ago < DEAD_MS or int(grace) > int(now)),
                heard_ms_ago=ago,
                registration=own["reg"],
                region=told["region"],
                zone=told["zone"],
                instance_type=told.get("instance_type"),
                market=told.get("market"),
            )

        return Observed(
            now_ms=int(now),
            live=int(leases) - holding,
            queued=int(queued),
            held=holding,
            classes=tuple(sorted(_classes(classes), key=lambda one: (one.tenant, one.class_id))),
            workers=tuple(worker(name) for name in sorted(known)),
        )


def _pairs(flat: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    return zip(flat[::2], flat[1::2], strict=True)


def _classes(flat: Sequence[Any]) -> Iterator[ObservedClass]:
    parts = (flat[start::5] for start in range(5))
    for tenant, class_id, came, still, held in zip(*parts, strict=True):
        yield ObservedClass(tenant, class_id, int(came), int(still), int(held))


def _class(tenant: str, class_id: str) -> str:
    from control.adapters.store import digest  # it imports this module

    return digest(tenant, class_id)
