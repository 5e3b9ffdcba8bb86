"""What the operator asks for, checked before anything else happens."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ops.deploy import names

REGIONS = ("us-east-1", "us-west-2", "eu-central-1")
SIZES = ("full", "small")

_HOST = re.compile(r"(?=.{4,200}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}")
_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-[0-9]")
_STAGE = re.compile(r"[a-z][a-z0-9]{0,11}")
_LIVEKIT = re.compile(r"wss?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._/-]*)?")


class SettingError(ValueError):
    """A setting is wrong; the message names it, the fault and the remedy."""

    def __init__(self, setting: str, message: str) -> None:
        self.setting = setting
        super().__init__(f"{setting}: {message}")


@dataclass(frozen=True)
class Livekit:
    """Where rooms are: a URL a region with the name of the keys' secret, or one's own servers."""

    urls: Mapping[str, str]
    secret: str
    own: bool = False


@dataclass(frozen=True)
class Wanted:
    """A deployment. None: as it was, or at first the template's default."""

    domain: str
    regions: tuple[str, ...]
    home: str
    stage: str = "prod"
    size: str | None = None
    livekit: Livekit | None = None
    worker_image: str | None = None
    avatars: tuple[str, ...] = ("demo",)
    alarm_email: str | None = None
    budget_usd: int | None = None
    extra: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Parameters of the cells' template by region; the region ``""`` is all of them."""

    def cell(self, region: str) -> str:
        """The name of the region's cell."""
        return names.cell_name(self.stage, region)

    def extra_of(self, region: str) -> dict[str, str]:
        """The parameters set by name for that region's cell."""
        return {**self.extra.get("", {}), **self.extra.get(region, {})}


def regions_of(text: str | None) -> tuple[str, ...]:
    """``a,b,c``; the reference's three if not given. Raises SettingError."""
    regions = tuple(part.strip() for part in text.split(",")) if text else REGIONS
    for region in regions:
        if not _REGION.fullmatch(region):
            raise SettingError("--regions", f"{region!r} is no region; write them as us-east-1,…")
    if len(set(regions)) != len(regions):
        raise SettingError("--regions", f"{text}: one is there twice; name each once")
    return regions


def home_of(home: str | None, regions: Sequence[str]) -> str:
    """The first unless another of them is named. Raises SettingError."""
    if home is not None and home not in regions:
        raise SettingError("--home", f"{home} is none of {', '.join(regions)}; name one of them")
    return home or regions[0]


def stage_of(stage: str) -> str:
    """Raises SettingError."""
    if not _STAGE.fullmatch(stage):
        raise SettingError("--stage", f"{stage!r}: use a-z and 0-9, a letter first, at most 12")
    return stage


def domain_of(domain: str) -> str:
    """The public address's host. Raises SettingError."""
    host = domain.strip().rstrip(".").lower()
    if not _HOST.fullmatch(host):
        raise SettingError("--domain", f"{domain!r} is no host name; write rapido.example.com")
    return host


def livekit_of(given: Sequence[str], secret: str | None, regions: Sequence[str]) -> Livekit | None:
    """``self``, one URL for all regions, or REGION=URL for each. Raises SettingError."""
    if not given:
        if secret:
            raise SettingError("--livekit-secret", "names keys of no server; give --livekit URL")
        return None
    if "self" in given:
        if len(given) > 1 or secret:
            raise SettingError("--livekit", "self makes servers and keys; give nothing beside it")
        return Livekit({}, "", own=True)
    if not secret:
        raise SettingError(
            "--livekit-secret", "missing; name the secret with livekit_api_key, livekit_api_secret"
        )
    urls: dict[str, str] = {}
    for one in given:
        region, found, url = one.partition("=")
        for each in (region,) if found else regions:
            urls[each] = url if found else one
    for region, url in urls.items():
        if region not in regions:
            raise SettingError("--livekit", f"{region} is none of {', '.join(regions)}")
        if not _LIVEKIT.fullmatch(url):
            raise SettingError("--livekit", f"{url!r} is no address; write wss://host, or self")
    without = [region for region in regions if region not in urls]
    if without:
        raise SettingError("--livekit", f"none for {', '.join(without)}; add REGION=URL for each")
    return Livekit(urls, secret)


def extra_parameters(given: Sequence[str], regions: Sequence[str]) -> dict[str, dict[str, str]]:
    """``NAME=VALUE`` or ``REGION:NAME=VALUE``, by region. Raises SettingError."""
    extra: dict[str, dict[str, str]] = {}
    for one in given:
        left, found, value = one.partition("=")
        region, colon, name = left.rpartition(":")
        if not found or not name:
            raise SettingError("--set", f"{one!r}: write NAME=VALUE or REGION:NAME=VALUE")
        if colon and region not in regions:
            raise SettingError("--set", f"{region} is none of {', '.join(regions)}")
        extra.setdefault(region, {})[name] = value
    return extra
