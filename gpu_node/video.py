"""How pictures are encoded: what the settings ask for, on what the GPU has."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from gpu_node.settings import Codec, Settings, SettingsError

Encoder = Literal["software", "nvenc"]


@dataclass(frozen=True)
class Video:
    """One stream's encoding; ``bitrate_bps`` is the most it takes."""

    codec: Codec
    encoder: Encoder
    bitrate_bps: int


def choose(settings: Settings, gpu_codecs: Collection[Codec]) -> tuple[Video, str]:
    """The encoding, and why it is that. ``gpu_codecs``: what the GPU's own encoder makes.

    Raises SettingsError where the settings ask for an encoder that is not there.
    """
    asked = settings.video_codec
    by_gpu: Codec = "h264" if asked == "auto" else asked
    # in software VP8 shows its first frame sooner than H264
    in_software: Codec = "vp8" if asked == "auto" else asked
    bitrate_bps = settings.video_bitrate_kbit * 1000
    if settings.video_encoder == "software":
        return Video(in_software, "software", bitrate_bps), "RAPIDO_VIDEO_ENCODER is software"
    if settings.video_encoder == "nvenc":
        if by_gpu not in gpu_codecs:
            able = ", ".join(sorted(gpu_codecs)) or "no video"
            raise SettingsError(
                f"RAPIDO_VIDEO_ENCODER is 'nvenc', but the GPU here encodes {able}, not {by_gpu}; "
                "choose auto or software, or a GPU with that encoder"
            )
        return Video(by_gpu, "nvenc", bitrate_bps), "RAPIDO_VIDEO_ENCODER is nvenc"
    if settings.device == "cpu":
        return Video(in_software, "software", bitrate_bps), "RAPIDO_DEVICE is cpu"
    if by_gpu in gpu_codecs:
        return Video(by_gpu, "nvenc", bitrate_bps), f"the GPU encodes {by_gpu}"
    return Video(in_software, "software", bitrate_bps), f"no GPU here encodes {by_gpu}"
