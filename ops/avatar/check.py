"""What an avatar does on speech it never heard, through the very parts a worker runs."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt

from gpu_node.avatars import Avatar
from gpu_node.engine import Engine
from ops.avatar.opening import lip_report, measured_openings
from ops.avatar.rendering import rendered
from ops.avatar.speech import Speech, held_out

Image = npt.NDArray[np.uint8]


def performed(avatar: Avatar, engine: Engine, speech: Speech) -> Iterator[Image]:
    """The pictures of a whole speech at 16 kHz, one each 40 ms: uint8 (h, w, 3) BGR."""
    for made in rendered(avatar, engine, speech.pcm, len(speech.mouths)):
        yield np.asarray(cv2.cvtColor(made, cv2.COLOR_YUV2BGR_I420), np.uint8)


def held_out_report(avatar: Avatar, engine: Engine) -> dict[str, float]:
    """Correlation of painted with asked-for openings on speech and voices never trained on.

    ``open_in_silence`` is the mean opening measured in pauses, as a share of the 95th percentile.
    """
    speech = held_out()
    measured = measured_openings(performed(avatar, engine, speech))
    report = lip_report(measured, speech.openings.astype(float), speech.speaking)
    quiet = ~speech.speaking & (speech.openings < 0.02)
    widest = max(1e-9, float(np.quantile(measured, 0.95)))
    return {
        "speech_s": len(speech.mouths) / 25,
        "correlation": round(report["correlation"], 3),
        "shifted": round(report["shifted"], 3),
        "lag_frames": report["lag_frames"],
        "open_in_silence": round(float(measured[quiet].mean()) / widest, 3),
    }
