"""What cells need of an account's quotas. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

VCPUS_OF_A_NODE = 4
"""Of the smallest node, a g5.xlarge or g6.xlarge."""

TYPES = ("g5.xlarge", "g5.2xlarge", "g6.xlarge", "g4dn.2xlarge")
NEEDED_TYPES = ("g5.xlarge", "g5.2xlarge")
"""The on-demand pools; the others only make a cell cheaper."""


class Level(Enum):
    """How much a finding matters."""

    MISSING = "missing"
    """Nothing is deployed until it is there."""
    NOTE = "note"


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be, and what to do about it."""

    level: Level
    what: str
    remedy: str

    def text(self) -> str:
        """One line."""
        return f"{self.what}; {self.remedy}"


@dataclass(frozen=True)
class Quota:
    """A quota by Service Quotas' own codes."""

    service: str
    code: str
    name: str

    def raise_it(self, region: str, value: float) -> str:
        """The remedy, as a command."""
        return (
            f"ask for more: aws service-quotas request-service-quota-increase --region {region} "
            f"--service-code {self.service} --quota-code {self.code} --desired-value {value:g}"
        )


ON_DEMAND = Quota("ec2", "L-DB2E81BA", "vCPUs of running on-demand G and VT instances")
SPOT = Quota("ec2", "L-3819A6DF", "vCPUs of G and VT spot instances")
CONCURRENCY = Quota("lambda", "L-B99A9384", "concurrent executions of Lambda")
NETWORKS = Quota("vpc", "L-F678F1CE", "VPCs")
ADDRESSES = Quota("ec2", "L-0263D0A3", "Elastic IP addresses")


@dataclass(frozen=True)
class Bounds:
    """A region's nodes over all its pools."""

    min_nodes: int
    start_nodes: int
    max_nodes: int


def gpu_findings(
    region: str, bounds: Bounds, on_demand: float, spot: float, *, pools: bool
) -> Iterable[Finding]:
    """Whether the region's nodes may start, and grow to its bound; vCPUs on both markets.

    Without ``pools`` no node starts yet, so that all of it is a note.
    """
    start, most = (n * VCPUS_OF_A_NODE for n in (bounds.start_nodes, bounds.max_nodes))
    if on_demand < start:
        level = Level.MISSING if pools else Level.NOTE
        yield Finding(
            level,
            f"{region}: {ON_DEMAND.name} are {on_demand:g}, and the {bounds.start_nodes} nodes it "
            f"starts with need {start}",
            ON_DEMAND.raise_it(region, most),
        )
    elif on_demand < most:
        yield Finding(
            Level.NOTE,
            f"{region}: {ON_DEMAND.name} are {on_demand:g}: without spot it grows to "
            f"{int(on_demand // VCPUS_OF_A_NODE)} of {bounds.max_nodes} nodes",
            ON_DEMAND.raise_it(region, most),
        )
    if spot < most:
        yield Finding(
            Level.NOTE,
            f"{region}: {SPOT.name} are {spot:g}: {int(spot // VCPUS_OF_A_NODE)} of "
            f"{bounds.max_nodes} nodes may be on spot",
            SPOT.raise_it(region, most),
        )


def type_findings(region: str, offered: frozenset[str]) -> Iterable[Finding]:
    """Whether the region has the nodes that the pools are made of."""
    lacking = [one for one in NEEDED_TYPES if one not in offered]
    if lacking:
        yield Finding(
            Level.MISSING,
            f"{region}: has no {' and no '.join(lacking)}, which the on-demand pools are made of",
            "leave the region out of --regions, or take one near it that has them: aws ec2 "
            f"describe-instance-type-offerings --filters Name=instance-type,Values={lacking[0]} "
            "--region REGION",
        )
    others = [one for one in TYPES if one not in offered and one not in NEEDED_TYPES]
    if others:
        yield Finding(
            Level.NOTE,
            f"{region}: has no {' and no '.join(others)}",
            "the spot pools of that type stay empty there; nothing to do",
        )


def concurrency_findings(region: str, quota: float, reserved: int) -> Iterable[Finding]:
    """Lambda keeps 100 executions unreserved, whatever is reserved."""
    needed = reserved + 100
    if quota < needed:
        yield Finding(
            Level.MISSING,
            f"{region}: {CONCURRENCY.name} are {quota:g}, and a cell reserves {reserved} beside "
            "the 100 that Lambda keeps free",
            CONCURRENCY.raise_it(region, max(1000, needed)),
        )


def network_findings(
    region: str,
    networks: tuple[int, float],
    addresses: tuple[int, float],
    *,
    made: int,
    gateways: int,
) -> Iterable[Finding]:
    """A new cell's networks and its NAT gateways' addresses; each pair is what is used, and the
    quota."""
    if networks[0] + made > networks[1]:
        yield Finding(
            Level.MISSING,
            f"{region}: {networks[0]} of {networks[1]:g} {NETWORKS.name} are used, and "
            f"{made} more would be made",
            NETWORKS.raise_it(region, networks[0] + made),
        )
    if addresses[0] + gateways > addresses[1]:
        yield Finding(
            Level.MISSING,
            f"{region}: {addresses[0]} of {addresses[1]:g} {ADDRESSES.name} are used, and a cell "
            f"takes {gateways} for its NAT gateways",
            ADDRESSES.raise_it(region, addresses[0] + gateways),
        )
