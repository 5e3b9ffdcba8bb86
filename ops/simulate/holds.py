"""Slots held for classes in the model, and the order among workers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from control.adapters.store import digest
from control.domain import leases, placement
from control.domain.placement import order_of, order_text
from control.services.planner_ports import (
    Held,
    Observed,
    ObservedClass,
    ObservedWorker,
    Ordered,
)
from ops.simulate.slots import Slots
from ops.simulate.state import Class, Named

DAY_MS = int(leases.FINISHED_TTL_S * 1000)
Choice = tuple[str | None, list[dict[str, Any]], str | None]
"""The worker, all that were looked at, and the held slot's lease that makes room."""


class Holds(Slots):
    """What the planner says to the store, and is told by it."""

    def _hand(self) -> tuple[str, ...]:
        raise NotImplementedError

    def _forget(self) -> None:
        raise NotImplementedError

    def _choose_for(self, named: Named | None, avatar: str, excluded: set[str]) -> Choice:
        """A slot that is held for the class comes before all others."""
        held = self._choose_held(named, avatar, excluded)
        return held if held[0] is not None else (*self._choose(avatar, excluded), None)

    def _choose_held(self, named: Named | None, avatar: str, excluded: set[str]) -> Choice:
        spares: dict[str, str] = {}
        for lease, (name, of) in self.state.held.items():
            able = of == named and name not in excluded and self._alive(name)
            if able and len(spares) < placement.HEADS:
                spares.setdefault(name, lease)
        scores = {name: self._score(name, given=1) for name in spares}
        ranked = sorted(scores, key=lambda name: (scores[name], name), reverse=True)
        heads = {name: scores[name] for name in ranked}
        chosen, seen = self._best_of(heads, avatar, given=1)
        return chosen, seen, None if chosen is None else spares[chosen]

    def _know(self, named: Named) -> Class:
        known = self.state.classes.setdefault(named, Class())
        known.at = self.now_ms()
        return known

    def _unhold(self, name: str, slots: int = -1) -> None:
        """The youngest first: all, or until no more than ``slots`` are used."""
        for lease in reversed([one for one, (on, _) in self.state.held.items() if on == name]):
            if self.state.used[name] <= slots:
                break
            self._drop(lease)

    def order(self, values: Mapping[str, float | None]) -> Ordered:
        self._forget()
        state, found = self.state, {}
        for name, value in values.items():
            order, worker = order_of(order_text(value)), state.workers.get(name)
            if worker is None:
                continue
            if order != worker.order:
                worker.order = order
                if order is None:
                    self._unhold(name)
                self._refresh(name)
            found[name] = state.used.get(name, 0)
        return Ordered(found, self._hand())

    def hold(self, tenant: str, class_id: str, n: int, until_s: float) -> Held:
        self._forget()
        state, now, named = self.state, self.now_ms(), (tenant, class_id)
        until_ms = min(int(until_s * 1000), now + DAY_MS)
        wanted = n if until_ms > now else 0
        if wanted > 0:
            self._know(named)
        wanted -= state.classes[named].open if named in state.classes else 0
        have = [lease for lease, (_, of) in state.held.items() if of == named]
        for lease in reversed(have[max(0, wanted) :]):
            self._drop(lease)
        for lease in have[: max(0, wanted)]:
            state.exp[lease] = until_ms
        for _ in range(len(have), wanted):
            chosen, _ = self._choose("", set())
            if chosen is None:
                break
            state.holds += 1
            lease = f"h|{chosen}|{digest(tenant, class_id)}|{state.holds}"
            state.held[lease] = (chosen, named)
            self._occupy(lease, chosen, until_ms)
            self._refresh(chosen)
        count = sum(of == named for _, of in state.held.values())
        return Held(count, self._hand())

    def unhold(self, tenant: str, class_id: str) -> Held:
        return self.hold(tenant, class_id, 0, 0.0)

    def observe(self) -> Observed:
        self._forget()
        state = self.state
        classes = tuple(
            ObservedClass(
                *named, one.came, one.open, sum(of == named for _, of in state.held.values())
            )
            for named, one in sorted(state.classes.items())
        )
        return Observed(
            now_ms=self.now_ms(),
            live=len(state.lease),
            queued=len(state.tickets),
            held=len(state.held),
            classes=classes,
            workers=tuple(self._observed(name) for name in sorted(state.workers)),
        )

    def _observed(self, name: str) -> ObservedWorker:
        state, worker, facts = self.state, self.state.workers[name], self.state.facts[name]
        heard = state.hb.get(name)
        return ObservedWorker(
            worker_id=name,
            state=worker.state,
            drained=name in state.desired,
            order=worker.order,
            slots=worker.slots,
            used=state.used.get(name, 0),
            held=sum(on == name for on, _ in state.held.values()),
            alive=self._alive(name),
            heard_ms_ago=None if heard is None else self.now_ms() - heard,
            registration=worker.registration,
            region=facts["region"],
            zone=facts["zone"],
            instance_type=facts.get("instance_type"),
            market=facts.get("market"),
        )
