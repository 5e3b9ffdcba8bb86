"""The worker's environment: what is missing or wrong is told by name, with its remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpu_node.settings import SettingsError, from_environment

GOOD = {
    "RAPIDO_WORKER_ID": "w-1",
    "RAPIDO_CELL_URLS": "http://127.0.0.1:8000/, https://cell.example/cell",
    "RAPIDO_REGION": "us-east-1",
}


def test_the_rest_has_defaults() -> None:
    settings = from_environment(GOOD)

    assert settings.cell_urls == ("http://127.0.0.1:8000", "https://cell.example/cell")
    assert (settings.port, settings.device, settings.cpu_share) == (0, "auto", 1.0)
    assert (settings.zone, settings.slots) == ("us-east-1a", None)
    assert (settings.emf, settings.stuck_limit_s) == (False, 120.0)
    assert (settings.video_codec, settings.video_encoder) == ("auto", "auto")
    assert (settings.video_bitrate_kbit, settings.video_size_px) == (800, None)
    assert settings.url(4321) == "http://127.0.0.1:4321"


def test_an_advertised_address_is_what_the_cell_is_told() -> None:
    settings = from_environment(
        {**GOOD, "RAPIDO_HOST": "0.0.0.0", "RAPIDO_ADVERTISE_URL": "http://10.0.0.7:80/"}
    )

    assert settings.url(80) == "http://10.0.0.7:80"


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("RAPIDO_WORKER_ID", "", "not set"),
        ("RAPIDO_WORKER_ID", "a worker", "not accepted"),
        ("RAPIDO_CELL_URLS", " , ", "not set"),
        ("RAPIDO_CELL_URLS", "cell.example", "write http://host:port"),
        ("RAPIDO_REGION", "mars", "not accepted"),
        ("RAPIDO_INSTANCE_TYPE", "large", "name one, as g5.2xlarge"),
        ("RAPIDO_MARKET", "free", "choose on-demand or spot"),
        ("RAPIDO_PORT", "eighty", "not a whole number"),
        ("RAPIDO_PORT", "70000", "out of range"),
        ("RAPIDO_CPU_SHARE", "1.5", "out of range"),
        ("RAPIDO_CPU_SHARE", "nan", "out of range"),
        ("RAPIDO_SLOTS", "-1", "out of range"),
        ("RAPIDO_SLOTS", "2.5", "not a whole number"),
        ("RAPIDO_DEVICE", "tpu", "choose auto, cpu or cuda"),
        ("RAPIDO_ADVERTISE_URL", "10.0.0.7", "write http://host:port"),
        ("RAPIDO_STUCK_LIMIT_S", "1", "out of range"),
        ("RAPIDO_EMF", "yes", "choose 0 or 1"),
        ("RAPIDO_AVATARS", "/nowhere/at/all", "no folder"),
        ("RAPIDO_AVATARS", "s3:/faces", "write s3://bucket/prefix"),
        ("RAPIDO_AVATAR_CACHE_MIB", "1", "out of range"),
        ("RAPIDO_VIDEO_CODEC", "h265", "choose auto, vp8, h264, vp9 or av1"),
        ("RAPIDO_VIDEO_ENCODER", "vaapi", "choose auto, software or nvenc"),
        ("RAPIDO_VIDEO_BITRATE_KBIT", "50", "out of range"),
        ("RAPIDO_VIDEO_SIZE", "64", "out of range"),
    ],
)
def test_a_wrong_variable_is_named_with_its_fault(name: str, value: str, fault: str) -> None:
    with pytest.raises(SettingsError) as refused:
        from_environment({**GOOD, name: value})

    assert str(refused.value).startswith(name)
    assert fault in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_worker_may_know_its_instance_and_how_it_is_paid_for() -> None:
    plain = from_environment(GOOD)
    rented = from_environment(
        {**GOOD, "RAPIDO_INSTANCE_TYPE": "g5.2xlarge", "RAPIDO_MARKET": "spot"}
    )

    assert (plain.instance_type, plain.market) == (None, None)
    assert (rented.instance_type, rented.market) == ("g5.2xlarge", "spot")


def test_listening_everywhere_needs_an_address_to_advertise() -> None:
    with pytest.raises(SettingsError, match="RAPIDO_ADVERTISE_URL is not set"):
        from_environment({**GOOD, "RAPIDO_HOST": "0.0.0.0"})


@pytest.mark.parametrize("bucket", ["s3://faces", "s3://faces/", "s3://my.faces-1/v1/prod"])
def test_avatars_may_come_from_a_bucket(bucket: str) -> None:
    assert from_environment({**GOOD, "RAPIDO_AVATARS": bucket}).avatars == bucket


def test_avatars_may_come_from_a_folder_that_is_there(tmp_path: Path) -> None:
    settings = from_environment({**GOOD, "RAPIDO_AVATARS": str(tmp_path)})

    assert settings.avatars == str(tmp_path)
    assert settings.avatar_cache_mib == 4096


@pytest.mark.parametrize("codec", ["vp8", "vp9"])
def test_what_no_gpu_encodes_is_refused_before_one_is_looked_for(codec: str) -> None:
    asked = {**GOOD, "RAPIDO_VIDEO_ENCODER": "nvenc", "RAPIDO_VIDEO_CODEC": codec}

    with pytest.raises(SettingsError, match=f"RAPIDO_VIDEO_ENCODER .* makes no {codec}; choose"):
        from_environment(asked)
