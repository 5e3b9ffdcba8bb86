"""Values for every parameter of the templates, the first of each a plain deployment's."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations as combinations_of
from itertools import product
from pathlib import Path

from ops.cell.files import ROOT
from ops.cell.intrinsics import read_yaml
from tests.templates.parameters import fault
from tests.templates.rendering import NESTED, Stack, render
from tests.templates.sam import transformed

CELL = ROOT / "template.yaml"
REGION = "us-east-1"
_PEERS = '[{"cell":"us-west-2","region":"us-west-2","url":"https://us-west-2.rapido.example.com"}]'
_IMAGE = f"123456789012.dkr.ecr.us-east-1.amazonaws.com/rapido/worker@sha256:{'0' * 64}"
Choice = tuple[str, str]
VALUES: dict[str, tuple[str, ...]] = {
    "AlarmEmail": ("ops@example.com", ""),
    "AvatarsUri": ("s3://rapido-avatars/prod",),
    "BootSeconds": ("600",),
    "Calendar1At": ("50 7 ? * MON-FRI *", ""),
    "Calendar1Slots": ("120",),
    "Calendar2At": ("",),
    "Calendar2Slots": ("0",),
    "Calendar3At": ("",),
    "Calendar3Slots": ("0",),
    "CalendarTimezone": ("Europe/Berlin",),
    "CellName": ("us-east-1",),
    "DatabaseUrl": ("", "postgresql://rapido@records.example.com/rapido"),
    "EdgeSecretId": ("rapido-prod-edge", ""),
    "EdgeSecretVersion": ("", "0a1b2c3d-1111-2222-3333-444455556666"),
    "FleetPolicy": ("{}",),
    "HomeCell": ("", "us-east-1", "us-west-2"),
    "HomeRegion": ("us-west-2",),
    "HostedZoneId": ("Z0123456789ABCDEFGHIJ",),
    "LivekitSecretId": ("rapido-livekit",),
    "LivekitServers": ('[{"region":"us-east-1","url":"wss://livekit.example.com"}]',),
    "LogDays": ("30",),
    "MaxNodes": ("0", "6"),
    "MinNodes": ("0", "1"),
    "MonthlyBudgetUsd": ("1000", "0"),
    "Peers": (_PEERS,),
    "Size": ("full", "small"),
    "StartNodes": ("0", "2"),
    "StoreUrl": ("", "redis://store.example.com:6379"),
    "Tracing": ("1", "0"),
    "ViewerHost": ("rapido.example.com", ""),
    "WarmRooms": ("1",),
    "WorkerImage": (_IMAGE, ""),
    "Zones": ("", "us-east-1b,us-east-1c,us-east-1d"),
}


def by_themselves() -> list[Path]:
    """The templates that are deployed as they are, not as a part of the cell's."""
    parts = {
        CELL.parent / resource["Properties"]["TemplateURL"]
        for resource in read_yaml(CELL)["Resources"].values()
        if resource["Type"] == NESTED
    }
    return [CELL, *sorted(set((ROOT / "infra").glob("*.yaml")) - parts)]


def deployment(**other: str) -> dict[str, str]:
    """A plain one's parameters with those others."""
    return {name: other.get(name, values[0]) for name, values in VALUES.items()}


def cell(**other: str) -> Stack:
    """The cell's stacks, a plain deployment's with those other parameters. Raises RenderError."""
    return render(CELL, deployment(**other), "rapido-us-east-1", REGION)


def combinations(path: Path) -> Iterator[dict[str, str]]:
    """So many that any three parameters have each of their values together in some.

    No condition of the templates asks about more at once.
    """
    declared = transformed(path).get("Parameters", {})
    offered = {
        name: tuple(one for one in VALUES[name] if path == CELL or not fault(one, declared[name]))
        for name in declared
        if name in VALUES
    }
    free = [name for name, values in offered.items() if len(values) > 1]
    left = [
        frozenset(zip(names, values, strict=True))
        for names in combinations_of(free, min(3, len(free)))
        for values in product(*(offered[name] for name in names))
    ]
    while left:
        row = dict(left[0])
        for name in free:
            if name not in row:
                row[name] = max(offered[name], key=lambda one: _newly(left, row, (name, one)))
        left = [three for three in left if not three <= row.items()]
        yield {name: values[0] for name, values in offered.items()} | row


def _newly(left: list[frozenset[Choice]], row: dict[str, str], choice: Choice) -> int:
    """How many threes that are left the choice completes."""
    items = {*row.items(), choice}
    return sum(three <= items for three in left if choice in three)
