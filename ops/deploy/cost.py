"""An estimate of what a region costs a month, from list prices and what a cell has. Pure but for
reading the price tables, of which the control plane has the GPU nodes'."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from control.adapters.published_prices import GPU
from ops.deploy.limits import Bounds

HOURS = 730.0
"""Of a month."""

_LIST = Path(__file__).parent / "prices" / "list.csv"


class NoPrice(KeyError):
    """The tables do not have that price; the message says which."""

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True)
class Prices:
    """List prices by item and region, and GPU nodes' by type and region; all in dollars."""

    items: Mapping[tuple[str, str], float]
    on_demand: Mapping[tuple[str, str], float]
    spot: Mapping[tuple[str, str], tuple[float, ...]]
    notes: tuple[str, ...]
    """What the tables say of themselves: their date, and that they are list prices."""

    def of(self, item: str, region: str) -> float:
        """Raises NoPrice."""
        try:
            return self.items[item, region]
        except KeyError:
            raise NoPrice(f"no price of {item} in {region}; add it to prices/list.csv") from None

    def node(self, kind: str, region: str) -> float:
        """A node's hour on demand. Raises NoPrice."""
        try:
            return self.on_demand[kind, region]
        except KeyError:
            raise NoPrice(f"no price of {kind} in {region}; add it to prices/gpu.csv") from None


def read_prices() -> Prices:
    """The tables as they are shipped."""
    items: dict[tuple[str, str], float] = {}
    listed, notes = _table(_LIST)
    for row in listed:
        for region, price in row.items():
            if region not in ("item", "unit"):
                items[row["item"], region] = float(price)
    nodes, more = _table(GPU)
    on_demand = {(row["type"], row["region"]): float(row["on_demand"]) for row in nodes}
    spot = {
        (row["type"], row["region"]): tuple(
            float(zone.split()[1]) for zone in row["spot"].split("|") if zone
        )
        for row in nodes
    }
    return Prices(items, on_demand, spot, (*notes, *more))


def _table(path: Path) -> tuple[list[dict[str, str]], tuple[str, ...]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    notes = tuple(line.lstrip("# ") for line in lines if line.startswith("#"))
    return list(csv.DictReader(line for line in lines if not line.startswith("#"))), notes


@dataclass(frozen=True)
class Shape:
    """What a cell has that costs by the hour, as its templates make it."""

    gateways: int
    valkey: str
    valkey_nodes: int
    postgres: str
    postgres_copies: int
    postgres_gb: int
    livekit_nodes: int = 0
    """Of the region's own LiveKit; 0 where rooms are elsewhere."""


@dataclass(frozen=True)
class Usage:
    """What is assumed of a month's use; every one of them can be another."""

    slots_of_a_node: int = 12
    used_share: float = 0.4
    lesson_h: float = 0.5
    stream_gb_h: float = 0.45
    """A picture and sound of 1 Mbit/s, out through NAT."""
    requests_of_a_lesson: int = 20
    request_s: float = 0.02
    steps_of_a_lesson: int = 8
    log_gb_of_a_node: float = 2.0
    node_disk_gb: int = 100

    def told(self) -> str:
        """In words."""
        return (
            f"{self.slots_of_a_node} slots a node, {self.used_share:.0%} of them used, lessons of "
            f"{self.lesson_h:g} h, {self.stream_gb_h:g} GB an hour of stream, "
            f"{self.requests_of_a_lesson} requests a lesson of {1000 * self.request_s:g} ms, "
            f"{self.steps_of_a_lesson} steps a lesson, {self.log_gb_of_a_node:g} GB of logs a node"
        )

    def stream_h(self, nodes: int) -> float:
        """Hours of streams in a month."""
        return nodes * self.slots_of_a_node * self.used_share * HOURS


@dataclass(frozen=True)
class Line:
    """Dollars a month of a part."""

    part: str
    usd: float


def monthly(
    region: str, bounds: Bounds, shape: Shape, *, home: bool, prices: Prices, usage: Usage
) -> list[Line]:
    """A region with the nodes it starts with, all on demand. Raises NoPrice."""
    nodes = bounds.start_nodes
    price = _For(prices, region)
    return [
        Line("GPU nodes, on demand", nodes * HOURS * prices.node("g5.xlarge", region)),
        Line("their disks", nodes * usage.node_disk_gb * price("disk_gp3")),
        Line("network", shape.gateways * HOURS * (price("nat_gateway") + price("public_address"))),
        Line(
            "streams' traffic",
            usage.stream_h(nodes)
            * usage.stream_gb_h
            * (price("nat_traffic") + price("internet_out")),
        ),
        Line("Valkey", shape.valkey_nodes * HOURS * price(f"valkey_{shape.valkey}")),
        Line("PostgreSQL", _postgres(shape, price) if home else 0.0),
        Line("LiveKit's servers", _livekit(shape, price) if shape.livekit_nodes else 0.0),
        Line("requests", _requests(nodes, usage, price)),
        Line("watching", _watching(nodes, usage, price)),
        Line("names, secrets, storage", sum(_rest(price, home=home))),
    ]


def gpu_range(region: str, bounds: Bounds, prices: Prices) -> tuple[float, float]:
    """Dollars a month of the least nodes on the cheapest spot, and of the most on demand."""
    spots = [min(zones) for (_, where), zones in prices.spot.items() if where == region and zones]
    demand = [usd for (_, where), usd in prices.on_demand.items() if where == region]
    if not spots or not demand:
        raise NoPrice(f"no price of GPU nodes in {region}; add it to prices/gpu.csv")
    return bounds.min_nodes * HOURS * min(spots), bounds.max_nodes * HOURS * max(demand)


@dataclass(frozen=True)
class _For:
    prices: Prices
    region: str

    def __call__(self, item: str) -> float:
        return self.prices.of(item, self.region)


def _postgres(shape: Shape, price: _For) -> float:
    instance = HOURS * price(f"postgres_{shape.postgres}")
    return shape.postgres_copies * (instance + shape.postgres_gb * price("postgres_storage"))


def _livekit(shape: Shape, price: _For) -> float:
    """Nodes, a Valkey between them, and a balancer each for calls and TURN."""
    node = price("livekit_c6i.xlarge") + price("public_address")
    store = min(shape.livekit_nodes, 2) * price("valkey_cache.t4g.small")
    return HOURS * (shape.livekit_nodes * node + store + 2 * price("network_balancer"))


def _requests(nodes: int, usage: Usage, price: _For) -> float:
    """Lessons' calls and steps, and a heartbeat of each node every five seconds, in millions."""
    lessons = usage.stream_h(nodes) / usage.lesson_h / 1e6
    calls = lessons * usage.requests_of_a_lesson + nodes * HOURS * 3600 / 5 / 1e6
    seconds = calls * 1e6 * usage.request_s  # of a function with 1 GB
    return (
        calls * (price("api_requests") + price("lambda_requests"))
        + seconds * price("lambda_time")
        + lessons * usage.steps_of_a_lesson * price("state_transitions")
        + lessons * 4 * price("queue_requests")
        + lessons * usage.requests_of_a_lesson * price("edge_requests")
    )


def _watching(nodes: int, usage: Usage, price: _For) -> float:
    metrics = 40 + 10 * nodes
    return (
        metrics * price("metrics")
        + 30 * price("alarms")
        + price("dashboard")
        + nodes * usage.log_gb_of_a_node * price("logs")
    )


def _rest(price: _For, *, home: bool) -> Iterator[float]:
    yield price("health_check")
    yield 3 * price("secrets")
    yield price("keys")
    yield 5 * price("objects")
    yield 10 * price("images")
    yield price("hosted_zone") if home else 0.0
