"""What the environment says about this worker."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

from pydantic import TypeAdapter, ValidationError

from control.contracts.base import Region, WorkerId
from control.contracts.worker import InstanceType, Market

Device = Literal["auto", "cpu", "cuda"]
Codec = Literal["vp8", "h264", "vp9", "av1"]
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - recognised, not bound


class SettingsError(Exception):
    """A variable is missing or wrong; the message names it, the fault and the remedy."""


@dataclass(frozen=True)
class Settings:
    """``port`` 0 takes a free one; ``slots`` replaces the measured number where it is given.

    ``avatars`` is a folder or s3://bucket/prefix; None: those that come with the worker.
    ``video_size_px`` bounds the longest side of what is streamed; None: as large as the avatar.
    """

    worker_id: str
    cell_urls: tuple[str, ...]
    host: str
    port: int
    advertise_url: str | None
    region: str
    zone: str
    instance_type: str | None
    market: Market | None
    device: Device
    cpu_share: float
    slots: int | None
    drain_limit_s: float
    stuck_limit_s: float
    emf: bool
    avatars: str | None
    avatar_cache_mib: float
    video_codec: Codec | Literal["auto"]
    video_encoder: Literal["auto", "software", "nvenc"]
    video_bitrate_kbit: int
    video_size_px: int | None

    def url(self, port: int) -> str:
        """Where the cell reaches this worker, once it listens on ``port``."""
        return self.advertise_url or f"http://{self.host}:{port}"


def from_environment(environment: Mapping[str, str]) -> Settings:
    """The settings in ``RAPIDO_*``. Raises SettingsError at the first variable that is wrong."""
    get = environment.get
    host = get("RAPIDO_HOST") or "127.0.0.1"
    advertise = get("RAPIDO_ADVERTISE_URL") or None
    if advertise is not None:
        advertise = _url("RAPIDO_ADVERTISE_URL", advertise)
    elif host in _EVERYWHERE:
        raise SettingsError(
            f"RAPIDO_ADVERTISE_URL is not set, and RAPIDO_HOST {host} is no address to call; "
            "set it to where the cell reaches this worker"
        )
    region = _matching(environment, "RAPIDO_REGION", Region, "name an AWS region, as us-east-1")
    return Settings(
        worker_id=_matching(
            environment, "RAPIDO_WORKER_ID", WorkerId, "use 1 to 63 letters, digits, - and _"
        ),
        cell_urls=_cell_urls(environment),
        host=host,
        port=int(_number(environment, "RAPIDO_PORT", 0, 0, 65_535, whole=True)),
        advertise_url=advertise,
        region=region,
        zone=get("RAPIDO_ZONE") or f"{region}a",
        instance_type=_optional(
            environment, "RAPIDO_INSTANCE_TYPE", InstanceType, "name one, as g5.2xlarge"
        ),
        market=cast(
            Market | None,
            _optional(environment, "RAPIDO_MARKET", Market, "choose on-demand or spot"),
        ),
        device=cast(Device, _choice(environment, "RAPIDO_DEVICE", ("auto", "cpu", "cuda"))),
        cpu_share=_number(environment, "RAPIDO_CPU_SHARE", 1.0, 0.0, 1.0),
        slots=_slots(environment),
        drain_limit_s=_number(environment, "RAPIDO_DRAIN_LIMIT_S", 10.0, 0.0, 86_400.0),
        stuck_limit_s=_number(environment, "RAPIDO_STUCK_LIMIT_S", 120.0, 10.0, 86_400.0),
        emf=_choice(environment, "RAPIDO_EMF", ("0", "1")) == "1",
        avatars=_avatars(environment),
        avatar_cache_mib=_number(environment, "RAPIDO_AVATAR_CACHE_MIB", 4096.0, 64.0, 1e6),
        **_video(environment),
    )


def _video(environment: Mapping[str, str]) -> dict[str, Any]:
    codec = _choice(environment, "RAPIDO_VIDEO_CODEC", ("auto", *get_args(Codec)))
    encoder = _choice(environment, "RAPIDO_VIDEO_ENCODER", ("auto", "software", "nvenc"))
    if encoder == "nvenc" and codec in ("vp8", "vp9"):
        raise SettingsError(
            f"RAPIDO_VIDEO_ENCODER is 'nvenc', which makes no {codec}; "
            "choose auto or software, or set RAPIDO_VIDEO_CODEC to auto, h264 or av1"
        )
    bitrate = _number(environment, "RAPIDO_VIDEO_BITRATE_KBIT", 800, 100, 20_000, whole=True)
    size = _number(environment, "RAPIDO_VIDEO_SIZE", 0, 128, 4096, whole=True)
    return {
        "video_codec": codec,
        "video_encoder": encoder,
        "video_bitrate_kbit": int(bitrate),
        "video_size_px": int(size) or None,
    }


def _matching(environment: Mapping[str, str], name: str, kind: Any, remedy: str) -> str:
    value = environment.get(name, "")
    if not value:
        raise SettingsError(f"{name} is not set; {remedy}")
    try:
        return str(TypeAdapter(kind).validate_python(value))
    except ValidationError:
        raise SettingsError(f"{name} is {value[:80]!r}, which is not accepted; {remedy}") from None


def _optional(environment: Mapping[str, str], name: str, kind: Any, remedy: str) -> str | None:
    return _matching(environment, name, kind, remedy) if environment.get(name) else None


def _cell_urls(environment: Mapping[str, str]) -> tuple[str, ...]:
    name = "RAPIDO_CELL_URLS"
    urls = [part.strip() for part in environment.get(name, "").split(",") if part.strip()]
    if not urls:
        raise SettingsError(f"{name} is not set; give the cell's addresses, separated by commas")
    return tuple(_url(name, url) for url in urls)


def _url(name: str, value: str) -> str:
    if not re.fullmatch(r"https?://[^\s/]+[^\s]*", value):
        raise SettingsError(f"{name} has {value[:80]!r}, no address; write http://host:port")
    return value.rstrip("/")


def _number(
    environment: Mapping[str, str],
    name: str,
    default: float,
    least: float,
    most: float,
    *,
    whole: bool = False,
) -> float:
    text = environment.get(name, "")
    if not text:
        return default
    kind = "a whole number" if whole else "a number"
    try:
        value = int(text) if whole else float(text)
    except ValueError:
        raise SettingsError(
            f"{name} is {text[:40]!r}, not {kind}; give {least:g} to {most:g}"
        ) from None
    if not least <= value <= most:
        raise SettingsError(f"{name} is {text[:40]}, out of range; give {least:g} to {most:g}")
    return value


def _choice(environment: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    """The first of them where it is not set."""
    value = environment.get(name) or choices[0]
    if value not in choices:
        remedy = f"{', '.join(choices[:-1])} or {choices[-1]}"
        raise SettingsError(f"{name} is {value[:40]!r}; choose {remedy}")
    return value


def _slots(environment: Mapping[str, str]) -> int | None:
    if not environment.get("RAPIDO_SLOTS"):
        return None
    return int(_number(environment, "RAPIDO_SLOTS", 0, 0, 1000, whole=True))


def _avatars(environment: Mapping[str, str]) -> str | None:
    name = "RAPIDO_AVATARS"
    value = environment.get(name) or None
    if value is None:
        return None
    if value.startswith("s3:"):
        if not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^\s]*)?", value):
            raise SettingsError(f"{name} is {value[:80]!r}, no bucket; write s3://bucket/prefix")
    elif not Path(value).is_dir():
        raise SettingsError(
            f"{name} is {value[:80]!r}, no folder; name one that holds NAME/manifest.json, "
            "or s3://bucket/prefix"
        )
    return value
