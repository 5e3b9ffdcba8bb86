"""A cell's fleet to try plans on: a real store with a hand on its clock, groups in memory."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from typing import Any, cast

from control.adapters.store import ValkeyStore
from control.domain.errors import unavailable
from control.domain.fleet.planning import Policy
from control.domain.fleet.state import Bounds, Fleet, Node, Outlook, Plan
from control.domain.geography import REGIONS
from control.services.fleet import look
from control.services.ports import Cell, Placing
from control.services.scaling_ports import PriceList, Scaling
from tests.played_pools import PlayedPools, PlayedPrices, PlayedWorkflows

REGION = "us-east-1"
OD, SPOT = "g5.xlarge-on-demand", "g5.xlarge-spot"
PUBLISHED = PriceList(
    {"g5.xlarge": 1.006, "g6.xlarge": 0.8048},
    {"g5.xlarge": {"az1": 0.507, "az2": 0.4591}, "g6.xlarge": {"az1": 0.4386}},
)


class FleetDesk:
    """Nodes come with ``boot``, time goes by with ``pass_s``."""

    def __init__(self, url: str, least: int = 0, most: int = 20) -> None:
        self.now_ms = 1_795_000_000_000
        name = "f" + secrets.token_hex(4)
        self.store = ValkeyStore(url, name, REGION, clock=lambda: self.now_ms)
        self.pools = PlayedPools(name, lambda: self.now_s)
        self.prices = PlayedPrices()
        self.workflows = PlayedWorkflows()
        self.registrations: dict[str, int] = {}
        self.slots: dict[str, int] = {}
        self.sent: list[dict[str, Any]] = []
        self.queue_away = False
        nothing = cast(Any, None)
        self.cell = Cell(
            name=name,
            region=REGION,
            at=REGIONS[REGION],
            livekit=(),
            store=self.store,
            workflows=cast(Any, self.workflows),
            queue=cast(Any, self),
            records=nothing,
            rooms=nothing,
            workers=nothing,
            peer_calls=nothing,
            scaling=Scaling(self.pools, self.prices, PUBLISHED, Bounds(least, most), 600.0),
        )

    def send(self, entries: Sequence[str]) -> None:
        """The queue to the records."""
        if self.queue_away:
            raise unavailable("records queue")
        self.sent += [json.loads(entry) for entry in entries]

    @property
    def now_s(self) -> float:
        return self.now_ms / 1000

    def boot(self, pool: str, nodes: int = 1, slots: int = 12) -> list[str]:
        """Nodes of the pool more, their workers ready."""
        if pool not in self.pools.groups:
            self.pools.make(pool)
        self.pools.set(pool, self.pools.groups[pool].desired + nodes)
        new = self.pools.launch()
        for node in new:
            self.register(node, slots)
        return new

    def register(self, node: str, slots: int = 12, state: str = "ready") -> None:
        facts = {
            "url": "http://127.0.0.1:1", "region": REGION, "zone": "us-east-1a", "version": "1",
            "avatars": "demo", "hardware": {}, "boot": secrets.token_hex(8),
        }  # fmt: skip
        self.registrations[node] = self.store.register(node, facts)
        self.slots[node] = slots
        self.beat(node, state)

    def beat(self, node: str, state: str = "ready") -> None:
        """With the leases that the store has on it, as live."""
        running = [
            [sid, int(self.store._call("hget", f"{self.store._prefix}s:{sid}", "generation")), True]
            for sid in self.store._call("smembers", f"{self.store._prefix}on:{node}")
        ]
        heard = {
            "state": state, "slots": self.slots[node], "avatars": "demo", "late": 0.0,
            "running": running,
        }  # fmt: skip
        self.store.heartbeat(node, self.registrations[node], heard)

    def pass_s(self, seconds: float, silent: tuple[str, ...] = ()) -> None:
        """Workers beat every five seconds, but for those."""
        until = self.now_ms + int(seconds * 1000)
        while self.now_ms < until:
            self.now_ms = min(until, self.now_ms + 5000)
            for node in self.registrations:
                if node not in silent:
                    self.beat(node)

    def lesson(self) -> str:
        """A session that was placed or queued; its id."""
        session_id = f"s-{self.cell.name}-{secrets.token_hex(8)}"
        ask = Placing(
            session_id=session_id, tenant="school", lesson_id=session_id, avatar="demo",
            distance=1.0, idempotency_key=None, fingerprint="f", livekit_url="ws://x",
            livekit_region=REGION, learner_identity="learner", learner_name=None,
            own_room_token=None, agent_identity=None, correlation_id=None, wait=True,
        )  # fmt: skip
        assert self.store.place(ask).outcome in ("placed", "queued")
        return session_id

    def place_of(self, session_id: str) -> str | None:
        session = self.store.session(session_id)
        assert session is not None
        return session.worker_id

    def end(self, session_id: str) -> None:
        self.store.finish(session_id, 0, "ended", "over")

    def fleet(self) -> Fleet:
        return look(self.cell).fleet

    def node(self, node_id: str) -> Node:
        return {one.node_id: one for one in self.fleet().nodes}[node_id]

    def notes(self) -> str:
        return "\n".join(look(self.cell).notes)

    def desired(self) -> dict[str, int]:
        return {name: group.desired for name, group in self.pools.groups.items()}


def plan(**changes: Any) -> Plan:
    """That and nothing else."""
    nothing: dict[str, Any] = {
        "launch": {}, "close": (), "reopen": (), "release": (), "replace": (), "order": {},
        "why": {"said": ["by hand"]},
    }  # fmt: skip
    return Plan(**(nothing | changes))


def always(**changes: Any) -> Any:
    """A planner that decides that, whatever it sees."""

    def decide(fleet: Fleet, outlook: Outlook, policy: Policy) -> Plan:
        assert outlook.high[0] >= fleet.live
        return plan(**changes)

    return decide
