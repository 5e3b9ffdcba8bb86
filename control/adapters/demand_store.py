"""What the store keeps of demand; one planner a cell writes it, so no script is needed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from control.services.demand_ports import Bin


class DemandStoreMixin:
    """The part of ValkeyStore that the forecast needs; docs/store.md has the keys."""

    _prefix: str
    _call: Callable[..., Any]

    def note_demand(self, number: int, seen: Bin, forget_before: int) -> None:
        before = self.demand(number, number).get(number, seen)
        live, other = max(seen.live, before.live), max(seen.other, before.other)
        self._call("hset", self._prefix + "demand", str(number), f"{live:g}|{other:g}")
        for name in ("demand", "foreseen"):
            self._call("hdel", self._prefix + name, str(forget_before))

    def demand(self, first: int, last: int) -> dict[int, Bin]:
        found = self._some("demand", first, last)
        parts = {number: text.split("|") for number, text in found.items()}
        return {number: Bin(float(live), float(other)) for number, (live, other) in parts.items()}

    def foresee(self, number: int, live: float) -> None:
        self._call("hsetnx", self._prefix + "foreseen", str(number), f"{live:.2f}")

    def foreseen(self, first: int, last: int) -> dict[int, float]:
        return {number: float(text) for number, text in self._some("foreseen", first, last).items()}

    def _some(self, name: str, first: int, last: int) -> dict[int, str]:
        numbers = range(first, last + 1)
        if not numbers:
            return {}
        found = self._call("hmget", self._prefix + name, [str(number) for number in numbers])
        return {n: text for n, text in zip(numbers, found, strict=True) if text is not None}

    def archived(self) -> int | None:
        text = self._call("get", self._prefix + "archived")
        return int(text) if text else None

    def put_archived(self, number: int) -> None:
        self._call("set", self._prefix + "archived", str(number))

    def profile(self) -> dict[str, Any] | None:
        text = self._call("get", self._prefix + "profile")
        return dict(json.loads(text)) if text else None

    def put_profile(self, profile: Mapping[str, Any]) -> None:
        self._call("set", self._prefix + "profile", json.dumps(profile, separators=(",", ":")))
