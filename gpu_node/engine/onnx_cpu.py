"""The CPU's engine: onnxruntime, with what no audio touches computed once an avatar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import onnxruntime

from gpu_node.avatars.crops import cut, image_input
from gpu_node.avatars.package import Avatar
from gpu_node.engine import graphs
from gpu_node.engine.port import Array, Image, MouthJob


@dataclass(frozen=True, eq=False)
class _Ready:
    ear: Any
    painter: Any
    levels: list[dict[str, npt.NDArray[np.float32]]]


class OnnxEngine:
    """Batching gains nothing on a CPU, so jobs run one after another on ``threads`` threads."""

    name = "onnxruntime"

    def __init__(self, threads: int = 1) -> None:
        self._options = onnxruntime.SessionOptions()
        self._options.intra_op_num_threads = threads
        self._options.inter_op_num_threads = 1
        self._options.log_severity_level = 3
        # spinning threads would take the cores that encode the video
        self._options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._ready: WeakKeyDictionary[Avatar, _Ready] = WeakKeyDictionary()

    def prepare(self, avatar: Avatar) -> None:
        """Builds the graphs and encodes every idle frame: 2.4 MB a frame at crop 160, width 16.

        Raises AvatarError for weights of another network or size.
        """
        if avatar in self._ready:
            return
        weights = graphs.Weights(avatar.generator_path)
        weights.expect_channels("inc.inconv.0.conv.6.weight", avatar.width, "width")
        ear = graphs.Weights(avatar.audio_encoder_path)
        ear.expect_channels("0.conv_block.0.weight", avatar.audio_width, "audio_width")
        encoder = self._session(graphs.image_encoder(weights, avatar.crop))
        levels = []
        for frame, box in zip(avatar.frames, avatar.boxes, strict=True):
            x, y, w, h = (int(value) for value in box)
            image = image_input(cut(frame, (x, y, w, h), avatar.crop))[None]
            outputs = encoder.run(list(graphs.LEVELS), {"image": image})
            levels.append(dict(zip(graphs.LEVELS, outputs, strict=True)))
        self._ready[avatar] = _Ready(
            self._session(graphs.audio_encoder(ear)),
            self._session(graphs.decoder(weights, avatar.crop)),
            levels,
        )

    def encode(self, avatar: Avatar, window: Array) -> Array:
        """See the port."""
        feature = self._ready[avatar].ear.run(["feature"], {"window": window[None, None]})[0][0]
        return np.asarray(feature, np.float32)

    def render(self, jobs: Sequence[MouthJob]) -> list[Image]:
        """See the port."""
        pictures: list[Image] = []
        for job in jobs:
            ready = self._ready[job.avatar]
            given = {"audio": job.audio.reshape(1, 32, 16, 16), **ready.levels[job.frame]}
            made = ready.painter.run(["picture"], given)[0][0]
            pictures.append((made.transpose(1, 2, 0) * 255.0 + 0.5).astype(np.uint8))
        return pictures

    def _session(self, model: bytes) -> Any:
        return onnxruntime.InferenceSession(model, self._options, ["CPUExecutionProvider"])
