"""ONNX graphs of the SyncTalk 2D networks, straight from their weights; BatchNorm folded in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

from gpu_node.avatars.crops import audio_stride
from gpu_node.avatars.package import AvatarError

Array = npt.NDArray[np.float32]
_OPSET, _IR = 17, 9
_EPSILON = 1e-5
LEVELS = tuple(f"level{index}" for index in range(6))


class Weights:
    """All tensors of a file as float32, a loader's prefix removed.

    Raises AvatarError for a tensor that the network needs and the file does not hold.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tensors = {
            key.removeprefix("audio_encoder."): value.astype(np.float32)
            for key, value in load_file(path).items()
        }

    def __getitem__(self, key: str) -> Array:
        if key not in self._tensors:
            raise AvatarError(
                f"{self._path}: {key} is missing: these are not this network's weights; "
                "convert the avatar again"
            )
        return self._tensors[key]

    def optional(self, key: str, default: Array) -> Array:
        """The tensor, or ``default`` where the network has none."""
        return self._tensors.get(key, default)

    @property
    def names(self) -> frozenset[str]:
        """Of all tensors."""
        return frozenset(self._tensors)

    def expect_channels(self, key: str, channels: int, field: str) -> None:
        """Raises AvatarError where the manifest's ``field`` is not what the file was made with."""
        found = len(self[key])
        if found != channels:
            raise AvatarError(
                f"{self._path}: made with {field} {found}, not {channels} as the manifest says; "
                "correct the manifest"
            )


class _Graph:
    """Nodes in the order they run; every method returns the name of its output."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def conv(
        self,
        x: str,
        key: str,
        norm: str | None = None,
        stride: tuple[int, int] = (1, 1),
        pad: int = 0,
        relu: bool = False,
        add: str | None = None,
    ) -> str:
        """Convolution, folded BatchNorm, optional addend, optional ReLU, in this order."""
        weight, bias = self._folded(key, norm)
        depthwise = key.endswith("conv.3") and weight.shape[1] == 1
        group = len(weight) if depthwise else 1
        y = self.node(
            "Conv", [x, self.constant(weight), self.constant(bias)],
            strides=list(stride), pads=[pad] * 4, group=group,
        )  # fmt: skip
        if add is not None:
            y = self.node("Add", [y, add])
        return self.node("Relu", [y]) if relu else y

    def _folded(self, key: str, norm: str | None) -> tuple[Array, Array]:
        weight = self._weights[f"{key}.weight"]
        bias = self._weights.optional(f"{key}.bias", np.zeros(len(weight), np.float32))
        if norm is None:
            return weight, bias
        scale = self._weights[f"{norm}.weight"] / np.sqrt(
            self._weights[f"{norm}.running_var"] + _EPSILON
        )
        bias = (bias - self._weights[f"{norm}.running_mean"]) * scale
        return weight * scale[:, None, None, None], bias + self._weights[f"{norm}.bias"]

    def both(self, x: str, y: str, key: str, norm: str) -> str:
        """The 1x1 convolution of ``[x, y]`` without joining them first: one of each, added."""
        weight, bias = self._folded(key, norm)
        middle = weight.shape[1] // 2
        first = self.node("Conv", [x, self.constant(weight[:, :middle])])
        second = self.node("Conv", [y, self.constant(weight[:, middle:]), self.constant(bias)])
        return self.node("Relu", [self.node("Add", [second, first])])

    def inverted_residual(
        self,
        x: str,
        key: str,
        stride: int = 1,
        residual: bool = False,
        beside: str | None = None,
    ) -> str:
        """``beside`` is joined to ``x``, as the second half of the channels."""
        if beside is not None:
            y = self.both(x, beside, f"{key}.conv.0", f"{key}.conv.1")
        else:
            y = self.conv(x, f"{key}.conv.0", f"{key}.conv.1", relu=True)
        y = self.conv(y, f"{key}.conv.3", f"{key}.conv.4", (stride, stride), 1, relu=True)
        return self.conv(y, f"{key}.conv.6", f"{key}.conv.7", add=x if residual else None)

    def pair(self, x: str, key: str, stride: int = 1, beside: str | None = None) -> str:
        y = self.inverted_residual(x, f"{key}.double_conv.0", stride, beside=beside)
        return self.inverted_residual(y, f"{key}.double_conv.1", residual=True)

    def double(self, x: str) -> str:
        """Bilinear, corners aligned."""
        scales = self.constant(np.array([1, 1, 2, 2], np.float32))
        mode: dict[str, Any] = {"mode": "linear", "coordinate_transformation_mode": "align_corners"}
        return self.node("Resize", [x, "", scales], **mode)

    def node(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        name = f"n{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def constant(self, value: npt.NDArray[np.generic]) -> str:
        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def serialise(
        self,
        inputs: Mapping[str, tuple[int | str, ...]],
        outputs: Mapping[str, str],
        kind: int = TensorProto.FLOAT,
    ) -> bytes:
        """``inputs`` name to shape; ``outputs``, of element type ``kind``, name to the node output
        it is."""
        for name, node in outputs.items():
            self._nodes.append(helper.make_node("Identity", [node], [name], name))
        graph = helper.make_graph(
            self._nodes,
            "synctalk",
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
            [helper.make_tensor_value_info(n, kind, None) for n in outputs],
            self._constants,
        )
        opset = [helper.make_opsetid("", _OPSET)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=_IR)
        data: bytes = model.SerializeToString()
        return data


def image_encoder(weights: Weights, crop: int) -> bytes:
    """image (1, 6, crop, crop) to the six levels, which no audio touches."""
    graph = _Graph(weights)
    levels = [graph.inverted_residual("image", "inc.inconv.0")]
    for depth in range(1, 6):
        levels.append(graph.pair(levels[-1], f"down{depth}.maxpool_conv.0", stride=2))
    return graph.serialise({"image": (1, 6, crop, crop)}, dict(zip(LEVELS, levels, strict=True)))


def decoder(weights: Weights, crop: int) -> bytes:
    """The six levels and audio (1, 32, 16, 16) to the picture, uint8 (1, crop, crop, 3)."""
    graph = _Graph(weights)
    stride, pad = audio_stride(crop // 32)
    x = graph.inverted_residual("audio", "audio_model.conv1")
    x = graph.inverted_residual(x, "audio_model.conv2")
    x = graph.conv(x, "audio_model.conv3", "audio_model.bn3", (1, 1), 1, relu=True)
    x = graph.inverted_residual(x, "audio_model.conv4", residual=True)
    x = graph.conv(x, "audio_model.conv5", "audio_model.bn5", (stride, stride), pad, relu=True)
    x = graph.inverted_residual(x, "audio_model.conv6", residual=True)
    x = graph.inverted_residual(x, "audio_model.conv7", residual=True)
    x = graph.pair(graph.pair("level5", "fuse_conv.0", beside=x), "fuse_conv.1")
    for step in range(1, 6):
        x = graph.pair(graph.double(x), f"up{step}.conv", beside=LEVELS[5 - step])
    x = graph.node("Sigmoid", [graph.conv(x, "outc.conv")])
    x = graph.node("Mul", [x, graph.constant(np.array(255.0, np.float32))])
    x = graph.node("Add", [x, graph.constant(np.array(0.5, np.float32))])
    x = graph.node("Cast", [x], to=TensorProto.UINT8)
    x = graph.node("Transpose", [x], perm=[0, 2, 3, 1])
    inputs: dict[str, tuple[int | str, ...]] = {"audio": (1, 32, 16, 16)}
    for depth, name in enumerate(LEVELS):
        inputs[name] = (1, f"c{depth}", crop >> depth, crop >> depth)
    return graph.serialise(inputs, {"picture": x}, TensorProto.UINT8)


_ENCODER_STRIDES = {3: (3, 1), 6: (3, 3), 9: (3, 2)}
_ENCODER_RESIDUAL = frozenset({1, 2, 4, 5, 7, 8, 10})


def audio_encoder(weights: Weights) -> bytes:
    """window (1, 1, 80, 16) to feature (1, 512)."""
    graph = _Graph(weights)
    x = "window"
    for layer in range(13):
        x = graph.conv(
            x,
            f"{layer}.conv_block.0",
            f"{layer}.conv_block.1",
            _ENCODER_STRIDES.get(layer, (1, 1)),
            0 if layer >= 11 else 1,
            relu=True,
            add=x if layer in _ENCODER_RESIDUAL else None,
        )
    return graph.serialise({"window": (1, 1, 80, 16)}, {"feature": graph.node("Flatten", [x])})
