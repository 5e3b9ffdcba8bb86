"""Values for every parameter of the templates, the first of each a plain deployment's."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

from ops.cell.files import ROOT
from tests.templates.rendering import Stack, render
from tests.templates.sam import transformed

CELL = ROOT / "template.yaml"
REGION = "us-east-1"
_PEERS = '[{"cell":"us-west-2","region":"us-west-2","url":"https://us-west-2.rapido.example.com"}]'
_IMAGE = f"123456789012.dkr.ecr.us-east-1.amazonaws.com/rapido/worker@sha256:{'0' * 64}"
VALUES: dict[str, tuple[str, ...]] = {
    "AlarmEmail": ("ops@example.com", ""),
    "AvatarsUri": ("s3://rapido-avatars/prod", ""),
    "CellName": ("us-east-1",),
    "DatabaseUrl": ("", "postgresql://rapido@records.example.com/rapido"),
    "EdgeSecretId": ("rapido-prod-edge", ""),
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


def deployment(**other: str) -> dict[str, str]:
    """A plain one's parameters with those others."""
    return {name: other.get(name, values[0]) for name, values in VALUES.items()}


def cell(**other: str) -> Stack:
    """The cell's stacks, a plain deployment's with those other parameters. Raises RenderError."""
    return render(CELL, deployment(**other), "rapido-us-east-1", REGION)


def combinations(path: Path) -> Iterator[dict[str, str]]:
    """All of the values that some condition asks about; the rest as in a plain deployment."""
    template = transformed(path)
    known = [name for name in template["Parameters"] if name in VALUES]
    asked = sorted(_refs(template.get("Conditions", {})) & set(known))
    for values in product(*(VALUES[name] for name in asked)):
        yield {name: VALUES[name][0] for name in known} | dict(zip(asked, values, strict=True))


def _refs(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["Ref"]} if isinstance(value.get("Ref"), str) else set()
        return own.union(*(_refs(one) for one in value.values()))
    return set().union(*(_refs(one) for one in value)) if isinstance(value, list) else set()
