"""What a person at the desk does to the machines: capacity, interruptions, prices.

``PUT /desk/capacity`` {POOL: share of launches that fail}, ``POST /desk/interruptions`` {"of": POOL
or node, "notice_s"}, ``PUT /desk/prices`` {"type", "zone", "usd_h"}.
"""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Mapping
from typing import Any

from moto.autoscaling.models import InstanceState, autoscaling_backends
from moto.core import DEFAULT_ACCOUNT_ID
from werkzeug.wrappers import Request, Response

from ops.cell.aws_gaps.bus import Bus
from ops.cell.aws_gaps.group import LocalGroup
from ops.cell.aws_gaps.groups import LocalGroups
from ops.cell.aws_gaps.prices import SpotPrices

PATH = "/desk/"
NOTICE_S = 120.0


class Refusal(Exception):
    """What was asked cannot be done; the message says why and what can."""


class Desk:
    """The surroundings of all groups of this process."""

    def __init__(self, region: str, bus: Bus, spot: SpotPrices, seed: int) -> None:
        self._region = region
        self._bus = bus
        self._spot = spot
        self._chance = random.Random(seed)  # noqa: S311 (a trial that can be run again)
        self._shares: dict[str, float] = {}

    def refuses(self, pool: str) -> bool:
        """Whether this launch finds no capacity."""
        return self._chance.random() < self._shares.get(pool, 0.0)

    def cheapest_first(self, instance_type: str, region: str, zones: list[str]) -> list[str]:
        """By the spot price of now."""
        del region
        return self._spot.cheapest_first(instance_type, zones)

    def emit(
        self, region: str, source: str, detail_type: str, resources: list[str], detail: Any
    ) -> None:
        """To EventBridge."""
        self._bus.emit(region, source, detail_type, resources, detail)

    def answer(self, request: Request) -> Response:
        """One of the calls above."""
        calls: Mapping[tuple[str, str], Callable[[Any], Any]] = {
            ("PUT", "capacity"): self._capacity,
            ("POST", "interruptions"): self._interrupt,
            ("PUT", "prices"): self._price,
        }
        call = calls.get((request.method, request.path.removeprefix(PATH)))
        if call is None:
            return _answer(404, {"detail": f"no {request.method} {request.path}"})
        try:
            return _answer(200, call(json.loads(request.get_data())))
        except Refusal as refusal:
            return _answer(400, {"detail": str(refusal)})

    def _capacity(self, shares: Mapping[str, float]) -> dict[str, float]:
        pools = {group.pool for group in self._groups()}
        for pool, share in shares.items():
            if pools and pool not in pools:
                raise Refusal(
                    f"{pool} is no pool of this cell; there is {', '.join(sorted(pools))}"
                )
            if not 0 <= share <= 1:
                raise Refusal(f"{pool}: {share} is no share of launches; give 0 to 1")
        self._shares |= shares
        return dict(self._shares)

    def _interrupt(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """EC2 tells, and takes the machine when the notice has run out, whatever it does."""
        state = self._node(str(asked["of"]))
        notice_s = float(asked.get("notice_s", NOTICE_S))
        node, zone = state.instance_id, state.availability_zone
        self.emit(
            self._region,
            "aws.ec2",
            "EC2 Spot Instance Interruption Warning",
            [f"arn:aws:ec2:{zone}:instance/{node}"],
            {"instance-id": node, "instance-action": "terminate"},
        )
        timer = threading.Timer(notice_s, self._take, [node])
        timer.daemon = True
        timer.start()
        return {"node": node, "gone_in_s": notice_s}

    def _take(self, node: str) -> None:
        backend = self._backend()
        backend.ec2_backend.terminate_instances([node])
        backend.notify_terminate_instances([node])

    def _price(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        self._spot.change(asked["type"], asked["zone"], float(asked["usd_h"]))
        return dict(asked)

    def _node(self, name: str) -> InstanceState:
        groups = self._groups()
        spot = [(g, s) for g in groups if g.spot for s in g.held()]
        found = [s for g, s in spot if name in (g.pool, s.instance_id)]
        if not found:
            there = ", ".join(s.instance_id for _, s in spot) or "none"
            raise Refusal(f"{name} is no spot node or pool with one; spot nodes: {there}")
        return found[0]

    def _groups(self) -> list[LocalGroup]:
        return list(self._backend().autoscaling_groups.values())

    def _backend(self) -> LocalGroups:
        backend = autoscaling_backends[DEFAULT_ACCOUNT_ID][self._region]
        assert isinstance(backend, LocalGroups)
        return backend


def _answer(status: int, body: Any) -> Response:
    return Response(json.dumps(body), status, content_type="application/json")
