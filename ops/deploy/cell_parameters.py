"""What each stack is given. None: as it was, or at first the template's default."""

from __future__ import annotations

import json
from dataclasses import dataclass

from ops.deploy import names
from ops.deploy.avatars import PREFIX
from ops.deploy.cell_template import CELL
from ops.deploy.parameters import declared
from ops.deploy.settings import Wanted

Parameters = dict[str, str | None]


@dataclass(frozen=True)
class Shared:
    """What all stacks of a stage are given: Route 53's zone, and which version of the edge's
    secret is in force. Templates read a secret again only when its version changes."""

    zone_id: str
    secret_version: str


def cell_parameters(
    wanted: Wanted,
    region: str,
    shared: Shared,
    *,
    bucket: str,
    livekit: tuple[str, str] | None,
) -> Parameters:
    """Of the cell's own stack; ``livekit`` is its URL and its keys' secret, None as it was."""
    home = region == wanted.home
    parameters: Parameters = {
        "CellName": wanted.cell(region),
        "HomeCell": "" if home else wanted.cell(wanted.home),
        "HomeRegion": wanted.home,
        "ViewerHost": wanted.domain,
        "HostedZoneId": shared.zone_id,
        "EdgeSecretId": names.edge_secret(wanted.stage),
        "EdgeSecretVersion": shared.secret_version,
        "Peers": json.dumps(_peers(wanted, region)),
        "AvatarsUri": f"s3://{bucket}/{PREFIX.rstrip('/')}",
        "LivekitServers": None,
        "LivekitSecretId": None,
        "WorkerImage": wanted.worker_image,
        "AlarmEmail": wanted.alarm_email,
        "MonthlyBudgetUsd": None if wanted.budget_usd is None else str(wanted.budget_usd),
        "Size": wanted.size,
    }
    if livekit is not None:
        url, secret = livekit
        parameters["LivekitServers"] = json.dumps([{"region": region, "url": url}])
        parameters["LivekitSecretId"] = secret
    # what was set by name once would be lost with the next update otherwise
    kept: Parameters = dict.fromkeys(declared(CELL))
    return kept | parameters | wanted.extra_of(region)


def _peers(wanted: Wanted, region: str) -> list[dict[str, str]]:
    return [
        {
            "cell": (cell := wanted.cell(other)),
            "region": other,
            "url": names.cell_url(cell, wanted.domain),
        }
        for other in wanted.regions
        if other != region
    ]


def artifacts_parameters(cell: str) -> Parameters:
    """Of the bucket's and the repository's stack."""
    return {"CellName": cell}


def livekit_parameters(wanted: Wanted, region: str, shared: Shared) -> Parameters:
    """Of the region's own LiveKit."""
    return {
        "CellName": wanted.cell(region),
        "ViewerHost": wanted.domain,
        "HostedZoneId": shared.zone_id,
        "Size": wanted.size,
        "AlarmEmail": wanted.alarm_email,
    }


def edge_parameters(wanted: Wanted, shared: Shared) -> Parameters:
    """Of the public address."""
    return {
        "ViewerHost": wanted.domain,
        "HostedZoneId": shared.zone_id,
        "EdgeSecretId": names.edge_secret(wanted.stage),
        "EdgeSecretVersion": shared.secret_version,
    }
