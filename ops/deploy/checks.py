"""Everything that can be known before anything is deployed, and what to do where it is missing."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from gpu_node.avatars.package import AvatarError
from ops.deploy import avatars, names, parameters
from ops.deploy.cell_parameters import (
    Parameters,
    Shared,
    artifacts_parameters,
    cell_parameters,
    edge_parameters,
    livekit_parameters,
)
from ops.deploy.cell_template import ARTIFACTS, CELL, EDGE, LIVEKIT
from ops.deploy.facts import CloudError, CredentialsExpired, Identity, Zone
from ops.deploy.limits import Finding, Level
from ops.deploy.ports import Builder, Cloud
from ops.deploy.region_checks import no_answer, region_findings, state_finding
from ops.deploy.settings import Wanted

_ANY = Shared("Z0000000000000", "00000000-0000-0000-0000-000000000000")
_ANY_SERVER = ("wss://rooms.example.com", "rooms")


@dataclass(frozen=True)
class Checked:
    """What was found; ``identity`` and ``zone`` are None where they were not."""

    findings: tuple[Finding, ...]
    identity: Identity | None
    zone: Zone | None

    @property
    def missing(self) -> tuple[Finding, ...]:
        """What has to be there first."""
        return tuple(one for one in self.findings if one.level is Level.MISSING)


def check(wanted: Wanted, cloud: Cloud, builder: Builder) -> Checked:
    """All checks, so that one run tells all that is missing."""
    found = list(local_findings(wanted, builder))
    zone: Zone | None = None
    try:
        identity = cloud.identity()
    except CloudError as error:
        return Checked((*found, _no_credentials(error)), None, None)
    try:
        zone = zone_of(wanted.domain, cloud)
        found += [_no_zone(wanted.domain)] if zone is None else []
        on = cloud.regions()
    except CloudError as error:
        return Checked((*found, no_answer(error)), identity, zone)
    touched = dict.fromkeys((*wanted.regions, names.EDGE_REGION))
    found += [_switched_off(region) for region in touched if region not in on]
    there = [region for region in wanted.regions if region in on]
    with ThreadPoolExecutor(len(there) or 1) as threads:
        for one in threads.map(lambda region: region_findings(wanted, cloud, region), there):
            found += one
    found += _edge(wanted, cloud) if names.EDGE_REGION in on else []
    return Checked(tuple(found), identity, zone)


def local_findings(wanted: Wanted, builder: Builder) -> Iterable[Finding]:
    """Tools, parameters and avatars: what needs no account."""
    for what, remedy in builder.missing():
        yield Finding(Level.MISSING, what, remedy)
    try:
        avatars.read(wanted.avatars)
    except AvatarError as error:
        what, _, remedy = str(error).rpartition("; ")
        yield Finding(Level.MISSING, what, remedy)
    for where, (template, given) in _all_parameters(wanted).items():
        for fault in parameters.check(template, given):
            yield Finding(
                Level.MISSING, f"{where}: parameter {fault}", "correct the option that sets it"
            )


def _all_parameters(wanted: Wanted) -> dict[str, tuple[Path, Parameters]]:
    """What every stack will be given, with stand-ins for what only a deploy finds out."""
    found: dict[str, tuple[Path, Parameters]] = {}
    for region in wanted.regions:
        given = cell_parameters(wanted, region, _ANY, bucket="bucket", livekit=_ANY_SERVER)
        cell = wanted.cell(region)
        found[names.cell_stack(cell)] = CELL, given
        found[names.artifacts_stack(cell)] = ARTIFACTS, artifacts_parameters(cell)
        if wanted.livekit and wanted.livekit.own:
            own = livekit_parameters(wanted, region, _ANY)
            found[names.livekit_stack(cell)] = LIVEKIT, own
    edge = edge_parameters(wanted, _ANY)
    return found | {names.edge_stack(wanted.stage): (EDGE, edge)}


def _edge(wanted: Wanted, cloud: Cloud) -> Iterable[Finding]:
    try:
        stack = cloud.region(names.EDGE_REGION).stacks.find(names.edge_stack(wanted.stage))
    except CloudError as error:
        return (no_answer(error),)
    return state_finding(stack, names.EDGE_REGION)


def zone_of(domain: str, cloud: Cloud) -> Zone | None:
    """The zone that the domain lies in: the longest there is. Raises CloudError."""
    inside = [
        one for one in cloud.zones() if domain == one.domain or domain.endswith(f".{one.domain}")
    ]
    return max(inside, key=lambda one: len(one.domain), default=None)


def _no_zone(domain: str) -> Finding:
    parent = domain.partition(".")[2] if domain.count(".") > 1 else domain
    return Finding(
        Level.MISSING,
        f"{domain}: this account has no public hosted zone for it or a parent of it",
        f"make one (aws route53 create-hosted-zone --name {parent} --caller-reference {parent}) "
        "and name its servers at the registrar, or use the account that has it",
    )


def _switched_off(region: str) -> Finding:
    return Finding(
        Level.MISSING,
        f"{region}: no region of this name is switched on for the account",
        f"correct --regions, or: aws account enable-region --region-name {region}",
    )


def _no_credentials(error: CloudError) -> Finding:
    expired = isinstance(error, CredentialsExpired)
    what = "the credentials are missing or have expired" if expired else "AWS did not answer"
    return Finding(
        Level.MISSING,
        f"{what} ({error})",
        "sign in (aws sso login, or set AWS_PROFILE), and run it again",
    )
