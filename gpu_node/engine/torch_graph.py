"""The generator and the audio encoder as the GPU runs them: folded, and split by what they see.

``see`` runs what sees the picture alone; its results are kept and read again by ``paint``, which
runs what hears. Nothing is concatenated: an expand distributes over a concatenation, so each half
is multiplied where it lies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from gpu_node.avatars.crops import mask_rectangle
from gpu_node.engine.torch_blocks import (
    Block,
    Kernels,
    fold,
    fold_pair,
    folded,
    pixels_last,
    shades,
)
from gpu_node.synctalk.blocks import ConvBlock, InvertedResidual, Pair
from gpu_node.synctalk.model import AudioEncoder, Generator

LEVELS = 6
_Convolution = Callable[[Tensor], Tensor]
Pairs = tuple[Block, Block]


class Painter:
    """The generator of an avatar on ``device``, in ``dtype``."""

    def __init__(
        self, generator: Generator, kernels: Kernels, device: torch.device, dtype: torch.dtype
    ) -> None:
        def pair(module: nn.Module) -> Pairs:
            first, second = fold_pair(cast(Pair, module))
            return first.to(device, dtype), second.to(device, dtype)

        self.kernels, self.device, self.dtype = kernels, device, dtype
        self.crop, self.width = generator.crop, generator.width
        first = cast(InvertedResidual, generator.inc.inconv[0])
        self._first = fold(first).to(device, dtype)
        downs = (generator.down1, generator.down2, generator.down3, generator.down4,
                 generator.down5)  # fmt: skip
        self._downs = [pair(down.maxpool_conv[0]) for down in downs]
        self._ear = _Ear(generator, device, dtype)
        self._fuse = [pair(module) for module in generator.fuse_conv]
        ups = (generator.up1, generator.up2, generator.up3, generator.up4, generator.up5)
        self._ups = [pair(up.conv) for up in ups]
        last = generator.outc.conv
        assert last.bias is not None
        self._last = last.weight.detach().flatten(1).t().contiguous().to(device, dtype)
        self._last_bias = last.bias.detach().to(device, dtype)
        self._masked = _masked(self.crop).to(device)

    def shapes(self) -> list[tuple[int, int, int]]:
        """H, W and C of what ``see`` makes of a frame."""
        w, crop = self.width, self.crop
        channels = (w, w, 2 * w, 4 * w, 8 * w, 64 * w)
        sides = [crop >> depth for depth in range(LEVELS)]
        return [(side, side, c) for side, c in zip(sides, channels, strict=True)]

    def see(self, crops: Tensor) -> list[Tensor]:
        """uint8 crops (B, crop, crop, 3) to the five skips, largest first, and the image half of
        the fusion, already expanded."""
        reference = (crops.float() / 255.0).to(self.dtype)
        image = torch.cat([reference, reference.masked_fill(self._masked, 0.0)], dim=-1)
        x = self._block(image, self._first)
        seen = [x]
        for down in self._downs:
            x = self._pair(x, down)
            seen.append(x)
        deepest, fuse = seen.pop(), self._fuse[0][0]
        half = torch.addmm(fuse.expand_bias, _flat(deepest), fuse.expand[: deepest.shape[-1]])
        return [*seen, half.view(*deepest.shape[:-1], -1)]

    def hear(self, kept: Sequence[Tensor], rows: Tensor, audio: Tensor) -> Tensor:
        """The last picture before colours, (B, crop, crop, width / 2).

        kept: what ``see`` made, of any number of frames; rows (B,): which of them.
        audio: (B, 32, 16, 16), or features (B, 16, 512), the same numbers.
        """
        heard = self._ear.listen(audio.view(-1, 32, 16, 16).to(self.dtype), self._block)
        fuse, hidden = self._fuse[0][0], kept[5].index_select(0, rows)
        seen = fuse.expand.shape[0] - heard.shape[-1]
        _flat(hidden).addmm_(_flat(heard), fuse.expand[seen:])
        x = self.kernels.finish(hidden.relu_(), fuse, None)
        x = self._pair(self._block(x, self._fuse[0][1]), self._fuse[1])
        for up, skip in zip(self._ups, reversed(kept[:5]), strict=True):
            expand, below = up[0].expand, x.shape[-1]
            low = torch.addmm(up[0].expand_bias, _flat(x), expand[:below])
            low = low.view(*x.shape[:-1], -1)
            hidden = self.kernels.expand_up(skip, rows, expand[below:], low)
            x = self._block(self.kernels.finish(hidden, up[0], None), up[1])
        return x

    def paint(self, kept: Sequence[Tensor], rows: Tensor, audio: Tensor) -> Tensor:
        """uint8 (B, crop, crop, 3) BGR; arguments as ``hear`` takes them."""
        return self.kernels.colour(self.hear(kept, rows, audio), self._last, self._last_bias)

    def shades(self, kept: Sequence[Tensor], rows: Tensor, audio: Tensor) -> Tensor:
        """The same, float32 in 0..1, not rounded."""
        return shades(self.hear(kept, rows, audio), self._last, self._last_bias)

    def _pair(self, x: Tensor, pair: Pairs) -> Tensor:
        return self._block(self._block(x, pair[0]), pair[1])

    def _block(self, x: Tensor, block: Block) -> Tensor:
        hidden = self.kernels.expand(x, block.expand, block.expand_bias)
        return self.kernels.finish(hidden, block, x if block.residual else None)


class _Ear:
    """The generator's own audio branch."""

    def __init__(self, generator: Generator, device: torch.device, dtype: torch.dtype) -> None:
        model = generator.audio_model

        def block(module: InvertedResidual) -> Block:
            return fold(module).to(device, dtype)

        self._conv1, self._conv2 = block(model.conv1), block(model.conv2)
        self._conv3 = _placed(folded(model.conv3, model.bn3), device, dtype)
        self._conv4 = block(model.conv4)
        self._conv5 = _placed(folded(model.conv5, model.bn5), device, dtype)
        self._conv6, self._conv7 = block(model.conv6), block(model.conv7)

    def listen(self, audio: Tensor, run: Callable[[Tensor, Block], Tensor]) -> Tensor:
        """(B, 32, 16, 16) to (B, grid, grid, 16 width)."""
        x = run(run(pixels_last(audio), self._conv1), self._conv2)
        x = run(_relu(self._conv3, x), self._conv4)
        return run(run(_relu(self._conv5, x), self._conv6), self._conv7)


class Listener:
    """The audio encoder: mel windows (B, 80, 16) to features (B, 512), float32."""

    def __init__(self, encoder: AudioEncoder, device: torch.device, dtype: torch.dtype) -> None:
        self._dtype = dtype
        layers = [cast(ConvBlock, layer) for layer in encoder]
        self._layers = [
            (_placed(folded(*layer.conv_block), device, dtype), layer.residual) for layer in layers
        ]

    def features(self, windows: Tensor) -> Tensor:
        """Float32 (B, 80, 16) in."""
        x = windows[:, None].to(self._dtype).contiguous(memory_format=torch.channels_last)
        for conv, residual in self._layers:
            made = conv(x)
            x = made.add_(x).relu_() if residual else made.relu_()
        return x.flatten(1).float()


def _placed(conv: nn.Conv2d, device: torch.device, dtype: torch.dtype) -> _Convolution:
    """The convolution there, channels last."""
    assert conv.bias is not None
    return partial(
        functional.conv2d,
        weight=conv.weight.detach().to(device, dtype).to(memory_format=torch.channels_last),
        bias=conv.bias.detach().to(device, dtype),
        stride=conv.stride,
        padding=conv.padding,
    )


def _relu(conv: _Convolution, image: Tensor) -> Tensor:
    return pixels_last(functional.relu_(conv(image.permute(0, 3, 1, 2))))


def _flat(image: Tensor) -> Tensor:
    return image.view(-1, image.shape[-1])


def _masked(crop: int) -> Tensor:
    """(crop, crop, 1), true where the generator must not see."""
    x0, y0, x1, y1 = mask_rectangle(crop)
    hidden = torch.zeros(crop, crop, 1, dtype=torch.bool)
    hidden[y0:y1, x0:x1] = True
    return hidden
