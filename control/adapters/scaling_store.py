"""What the store keeps of acting: bans, what was asked for, the plan in flight, past plans."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from control.services.scaling_ports import Asked, Ban, Order, PriceList

_PLANS_KEPT, _REPORTS_KEPT = 200, 100
_HANDED_OVER_MS = 120_000
_PRICES_KEPT_S = 24 * 3600


class ScalingStoreMixin:
    """The part of ValkeyStore that the planner needs; docs/store.md has the keys."""

    _prefix: str
    _run: Callable[..., Any]
    _call: Callable[..., Any]

    def retire(self, worker_id: str) -> bool:
        """Drains a worker that is closed and empty, in one step; False while it is neither."""
        return bool(self._run("retire", worker_id))

    def bans(self) -> dict[str, Ban]:
        """Those that are over among them: who reads them knows the time."""
        found = self._call("hgetall", self._prefix + "bans")
        parts = {pool: text.partition("|") for pool, text in found.items()}
        return {pool: Ban(float(until), why) for pool, (until, _, why) in parts.items()}

    def ban(self, pool: str, until_s: float, reason: str) -> bool:
        """False where it was banned for as long already."""
        return bool(self._run("ban", pool, repr(until_s), reason))

    def asked(self) -> Asked | None:
        text = self._call("get", self._prefix + "asked")
        return Asked(**json.loads(text)) if text else None

    def ask(self, asked: Asked) -> None:
        self._call("set", self._prefix + "asked", json.dumps(asdict(asked)))

    def begin_flight(self, execution: str, ttl_s: float) -> str:
        """The one that holds the place now; its own again is held anew."""
        return str(self._run("begin_flight", execution, int(ttl_s * 1000)))

    def end_flight(self, execution: str) -> bool:
        return bool(self._run("end_flight", execution))

    def flight(self) -> str | None:
        found: str | None = self._call("get", self._prefix + "flight")
        return found

    def hand_over(self, order: Order) -> None:
        text = json.dumps(order.text())
        self._call("set", self._prefix + "next", text, px=_HANDED_OVER_MS)

    def take_over(self) -> Order | None:
        text = self._call("getdel", self._prefix + "next")
        return Order.read(json.loads(text)) if text else None

    def keep_plan(self, plan: Mapping[str, Any]) -> None:
        self._keep("plans", plan, _PLANS_KEPT)

    def plans(self, most: int, skip: int = 0) -> list[dict[str, Any]]:
        return self._kept("plans", most, skip)

    def keep_report(self, report: Mapping[str, Any]) -> None:
        self._keep("scaled", report, _REPORTS_KEPT)

    def reports(self, most: int) -> list[dict[str, Any]]:
        return self._kept("scaled", most)

    def _keep(self, name: str, what: Mapping[str, Any], most: int) -> None:
        self._call("lpush", self._prefix + name, json.dumps(what, separators=(",", ":")))
        self._call("ltrim", self._prefix + name, 0, most - 1)

    def _kept(self, name: str, most: int, skip: int = 0) -> list[dict[str, Any]]:
        found = self._call("lrange", self._prefix + name, skip, skip + most - 1)
        return [json.loads(text) for text in found]

    def replacement(self, pool: str, node_id: str, now_s: float, within_s: float) -> int:
        """Told twice of a node is told once."""
        key = f"{self._prefix}replaced:{pool}"
        self._call("zremrangebyscore", key, "-inf", f"({now_s - within_s}")
        self._call("zadd", key, {node_id: now_s}, nx=True)
        self._call("expire", key, int(within_s) + 60)
        return int(self._call("zcard", key))

    def silent(self, nodes: Sequence[str], now_s: float) -> dict[str, float]:
        """Since when each of these announces nothing; others are forgotten."""
        key = self._prefix + "silent"
        known = {node: float(since) for node, since in self._call("hgetall", key).items()}
        new = {node: now_s for node in nodes if node not in known}
        if new:
            self._call("hset", key, mapping=new)
        if back := set(known) - set(nodes):
            self._call("hdel", key, *back)
        return {node: known.get(node, now_s) for node in nodes}

    def measured(self) -> dict[str, int]:
        found = self._call("hgetall", self._prefix + "measured")
        return {name: int(slots) for name, slots in found.items()}

    def put_measured(self, slots: Mapping[str, int]) -> None:
        if slots:
            self._call("hset", self._prefix + "measured", mapping=dict(slots))

    def price_list(self) -> PriceList | None:
        text = self._call("get", self._prefix + "prices")
        return PriceList(**json.loads(text)) if text else None

    def put_price_list(self, prices: PriceList) -> None:
        text = json.dumps(asdict(prices))
        self._call("set", self._prefix + "prices", text, ex=_PRICES_KEPT_S)
