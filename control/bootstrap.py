"""The one place that wires adapters to the use cases, from the environment."""

from __future__ import annotations

import json
import os
from functools import cache
from typing import Literal

from control.adapters import records
from control.adapters.aws import ScalingGroups, Secret, SqsQueue, StepFunctions
from control.adapters.aws_groups import ScalingPools
from control.adapters.aws_prices import AwsPrices
from control.adapters.cost_records import PostgresCosts
from control.adapters.home_records import HomeRecords
from control.adapters.livekit import LivekitRooms
from control.adapters.peer_calls import HttpPeerCalls, PeerCredentials
from control.adapters.published_prices import published
from control.adapters.records import PostgresRecords, as_user
from control.adapters.store import ValkeyStore
from control.adapters.timetable_records import PostgresAnnouncements
from control.adapters.worker_calls import HttpWorkerCalls
from control.domain.fleet.state import Bounds
from control.domain.geography import REGIONS, Point
from control.domain.rooms import LivekitServer
from control.services import access
from control.services.peer_ports import Peer, PeerCalls
from control.services.ports import Cell, Records
from control.services.scaling_ports import Scaling
from control.services.timetable_ports import Announcements

_MOST_WARM_ROOMS, _MOST_NODES, _LONGEST_BOOT_S = 20, 10_000, 7200


class ConfigurationError(Exception):
    """A setting is missing or wrong; the message names it and what it should be."""


def _setting(name: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        raise ConfigurationError(f"{name} is not set; template.yaml sets it for every function")
    return value


def livekit_servers(text: str) -> tuple[LivekitServer, ...]:
    """From JSON [{region, url, latitude?, longitude?}]; raises ConfigurationError."""
    try:
        servers = []
        for one in json.loads(text):
            known = REGIONS.get(one["region"], Point(0.0, 0.0))
            at = Point(
                float(one.get("latitude", known.latitude)),
                float(one.get("longitude", known.longitude)),
            )
            servers.append(LivekitServer(one["region"], one["url"], at))
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"RAPIDO_LIVEKIT is not a JSON list of {{region, url}} ({error!r}); correct it"
        ) from error
    return tuple(servers)


def peers(text: str, own: str) -> tuple[Peer, ...]:
    """From JSON [{cell, region, url}], this cell left out; raises ConfigurationError."""
    try:
        return tuple(
            Peer(one["cell"], one["region"], REGIONS[one["region"]], one["url"].rstrip("/"))
            for one in json.loads(text)
            if one["cell"] != own
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(
            f"RAPIDO_PEERS is not a JSON list of {{cell, region, url}} ({error!r}); correct it"
        ) from error


def _whole(name: str, default: str, most: int, zero: str) -> int:
    """A setting from 0 to ``most``; ``zero`` says what 0 means. Raises ConfigurationError."""
    text = os.environ.get(name, default)
    if not text.isascii() or not text.isdigit() or int(text) > most:
        raise ConfigurationError(f"{name} is {text!r}, not 0 to {most}; 0 {zero}")
    return int(text)


def _policy(text: str) -> dict[str, float]:
    """From a JSON object of numbers; which names there are the planner knows."""
    try:
        found = json.loads(text)
        return {str(name): float(value) for name, value in found.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigurationError(
            f"RAPIDO_FLEET_POLICY is no JSON object of numbers ({error}); correct FleetPolicy, as "
            'in {"spot_share": 0.5}'
        ) from error


def _scaling(name: str, region: str) -> Scaling | None:
    """None where the template gives the region no nodes."""
    least = _whole("RAPIDO_MIN_NODES", "0", _MOST_NODES, "lets every node go")
    most = _whole("RAPIDO_MAX_NODES", "0", _MOST_NODES, "plans no node at all")
    if least > most:
        raise ConfigurationError(
            f"RAPIDO_MIN_NODES is {least} and RAPIDO_MAX_NODES {most}; the least is over the most"
        )
    boot_limit_s = _whole("RAPIDO_BOOT_S", "600", _LONGEST_BOOT_S, "gives no node time")
    policy = _policy(os.environ.get("RAPIDO_FLEET_POLICY") or "{}")
    if not most:
        return None
    return Scaling(
        ScalingPools(name),
        AwsPrices(region),
        published(region),
        Bounds(least, most),
        float(boot_limit_s),
        policy,
    )


@cache
def cell() -> Cell:
    """This process's cell; touches nothing until it is used."""
    region = _setting("RAPIDO_REGION")
    name = _setting("RAPIDO_CELL")
    if region not in REGIONS:
        raise ConfigurationError(f"RAPIDO_REGION is {region!r}; known are {', '.join(REGIONS)}")
    others = peers(os.environ.get("RAPIDO_PEERS", "[]"), name)
    peer_calls = HttpPeerCalls(PeerCredentials(name))
    home = os.environ.get("RAPIDO_HOME_CELL") or name
    kept = _records(name, home, region, others, peer_calls)
    return Cell(
        name=name,
        region=region,
        at=REGIONS[region],
        livekit=livekit_servers(_setting("RAPIDO_LIVEKIT")),
        store=ValkeyStore(_setting("RAPIDO_STORE_URL"), name, region),
        workflows=StepFunctions(
            _setting("RAPIDO_SETUP_MACHINE_ARN"), _setting("RAPIDO_SCALE_OUT_MACHINE_ARN")
        ),
        queue=SqsQueue(_setting("RAPIDO_RECORDS_QUEUE_URL")),
        records=kept,
        rooms=LivekitRooms(Secret(_setting("RAPIDO_LIVEKIT_SECRET_ID"))),
        workers=HttpWorkerCalls(Secret(_setting("RAPIDO_WORKER_SECRET_ID"))),
        groups=ScalingGroups(),
        home=home,
        announcements=_announcements(kept),
        costs=PostgresCosts(kept) if isinstance(kept, PostgresRecords) else None,
        edge_key=os.environ.get("RAPIDO_EDGE_KEY", ""),
        peer_calls=peer_calls,
        peers=others,
        warm_rooms=_whole("RAPIDO_WARM_ROOMS", "1", _MOST_WARM_ROOMS, "keeps none"),
        scaling=_scaling(name, region),
    )


def _records(
    name: str, home: str, region: str, others: tuple[Peer, ...], calls: PeerCalls
) -> Records:
    if name == home:
        return PostgresRecords(_setting("RAPIDO_DATABASE_URL"), region)
    for one in others:
        if one.cell == home:
            return HomeRecords(one, calls)
    raise ConfigurationError(
        f"RAPIDO_HOME_CELL is {home!r}, which RAPIDO_PEERS does not name; add it there"
    )


def _announcements(kept: Records) -> Announcements | None:
    return PostgresAnnouncements(kept) if isinstance(kept, PostgresRecords) else None


def migrate() -> None:
    """Makes the tables, as their owner: the one whose secret RDS keeps, or the URL's user."""
    url = _setting("RAPIDO_DATABASE_URL")
    owner_secret = os.environ.get("RAPIDO_OWNER_SECRET_ID")
    if owner_secret:
        owner = Secret(owner_secret)
        url = as_user(url, owner("username"), owner("password"))
    records.migrate(url)


def create_key(tenant: str, role: Literal["client", "operator"], key: str | None = None) -> str:
    """A new client key of this cell, shown this once; or ``key``, which another cell made."""
    return access.create_key(cell(), tenant, role, key)
