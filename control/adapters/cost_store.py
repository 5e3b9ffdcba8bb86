"""What the store keeps of costs: running sums by day and pool, until the records have them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from control.domain.fleet.costs import Cost
from control.domain.fleet.published import Shadow
from control.services.cost_ports import Accounted, DayPool


class CostStoreMixin:
    """The part of ValkeyStore that accounting needs; docs/store.md has the keys."""

    _prefix: str
    _run: Callable[..., Any]
    _call: Callable[..., Any]

    def accounted(self) -> Accounted | None:
        text = self._call("get", self._prefix + "accounted")
        if not text:
            return None
        kept = json.loads(text)
        return Accounted(kept["at_s"], Shadow(**kept["shadow"]))

    def account(
        self, before: Accounted | None, now: Accounted, costs: Mapping[DayPool, Cost]
    ) -> bool:
        more = [
            part
            for (day, pool), cost in costs.items()
            for what, value in asdict(cost).items()
            if value
            for part in (f"{day}|{pool}|{what}", repr(value))
        ]
        return bool(
            self._run("account", "" if before is None else _text(before), _text(now), *more)
        )

    def costs(self) -> dict[DayPool, Cost]:
        found: dict[DayPool, dict[str, float]] = {}
        for field, value in self._call("hgetall", self._prefix + "costs").items():
            day, pool, what = field.split("|")
            found.setdefault((day, pool), {})[what] = float(value)
        return {key: Cost(**sums) for key, sums in found.items()}

    def forget_costs(self, days: Sequence[str]) -> None:
        key = self._prefix + "costs"
        fields = [one for one in self._call("hkeys", key) if one.partition("|")[0] in days]
        if fields:
            self._call("hdel", key, *fields)


def _text(accounted: Accounted) -> str:
    """The script compares it, letter by letter."""
    return json.dumps(asdict(accounted))
