"""The generator's blocks, folded: what they hold, and how torch alone runs them.

Pictures are (B, H, W, C), contiguous, so that a 1x1 convolution is one matrix product. Folding a
BatchNorm multiplies the convolution before it by weight / sqrt(running_var + eps).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from gpu_node.synctalk.blocks import InvertedResidual, Pair


@dataclass(frozen=True, eq=False)
class Block:
    """Inverted residual, weights (channels in, channels out).

    expand (ci, hidden), taps (9, hidden) of the depthwise 3x3, the same as torch's convolution
    takes them (hidden, 1, 3, 3), project (hidden, co). ``project_bias`` is None where it went
    elsewhere.
    """

    expand: Tensor
    expand_bias: Tensor
    taps: Tensor
    filters: Tensor
    taps_bias: Tensor
    project: Tensor
    project_bias: Tensor | None
    stride: int
    residual: bool

    def to(self, device: torch.device, dtype: torch.dtype) -> Block:
        """The same block elsewhere."""
        moved = {
            name: value.to(device, dtype).contiguous()
            for name, value in vars(self).items()
            if isinstance(value, Tensor)
        }
        return replace(self, **moved)  # type: ignore[arg-type]


def folded(conv: nn.Module, norm: nn.Module) -> nn.Conv2d:
    """One convolution that does what the two do in evaluation mode."""
    return fuse_conv_bn_eval(cast(nn.Conv2d, conv), cast(nn.BatchNorm2d, norm))


def fold(block: InvertedResidual) -> Block:
    """The block with its three BatchNorms folded."""
    expand, depthwise, project = (folded(block.conv[at], block.conv[at + 1]) for at in (0, 3, 6))
    return Block(
        _matrix(expand),
        _bias(expand),
        depthwise.weight.detach().reshape(-1, 9).t().contiguous(),
        depthwise.weight.detach(),
        _bias(depthwise),
        _matrix(project),
        _bias(project),
        depthwise.stride[0],
        block.residual,
    )


def fold_pair(pair: Pair) -> tuple[Block, Block]:
    """Both blocks; the second one's last bias b is added by the first, where it is free.

    y = u + P h(W u + e) + b is u' + P h(W u' + e - W b) with u' = u + b.
    """
    first, second = (fold(cast(InvertedResidual, block)) for block in pair.double_conv)
    assert first.project_bias is not None
    assert second.project_bias is not None
    late = second.project_bias
    return (
        replace(first, project_bias=first.project_bias + late),
        replace(second, expand_bias=second.expand_bias - late @ second.expand, project_bias=None),
    )


def _matrix(conv: nn.Conv2d) -> Tensor:
    return conv.weight.detach().flatten(1).t().contiguous()


def _bias(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None
    return conv.bias.detach()


class Kernels(Protocol):
    """The steps in which the network's time goes."""

    def expand(self, image: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """relu(image @ weight + bias): (B, H, W, ci) to (B, H, W, hidden)."""

    def expand_up(self, kept: Tensor, rows: Tensor, weight: Tensor, low: Tensor) -> Tensor:
        """relu(kept[rows] @ weight + low doubled): low (B, H/2, W/2, hidden) to (B, H, W, hidden).

        The first expand of an up block. A 1x1 convolution commutes with the doubling, so the
        upsampled half comes already expanded, its bias too.
        """

    def finish(self, hidden: Tensor, block: Block, image: Tensor | None) -> Tensor:
        """The block after its expand; adds ``image``, which may be overwritten, if given."""

    def colour(self, image: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """(B, H, W, c) to uint8 (B, H, W, 3): sigmoid, 0..255, rounded."""


class Eager:
    """Torch's own operators."""

    def expand(self, image: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """See Kernels."""
        # one product whose epilogue adds the bias and cuts off below zero
        made = torch._addmm_activation(bias, image.reshape(-1, image.shape[-1]), weight)
        return made.view(*image.shape[:-1], -1)

    def expand_up(self, kept: Tensor, rows: Tensor, weight: Tensor, low: Tensor) -> Tensor:
        """See Kernels."""
        hidden = doubled(low)
        skip = kept.index_select(0, rows).view(-1, kept.shape[-1])
        hidden.view(-1, hidden.shape[-1]).addmm_(skip, weight)
        return hidden.relu_()

    def finish(self, hidden: Tensor, block: Block, image: Tensor | None) -> Tensor:
        """See Kernels."""
        return project(self.depthwise(hidden, block), block, image)

    def depthwise(self, hidden: Tensor, block: Block) -> Tensor:
        """relu of the 3x3."""
        made = functional.conv2d(
            hidden.permute(0, 3, 1, 2), block.filters, block.taps_bias,
            block.stride, 1, groups=hidden.shape[-1],
        )  # fmt: skip
        return pixels_last(made.relu_())

    def colour(self, image: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """See Kernels."""
        return (shades(image, weight, bias) * 255.0 + 0.5).to(torch.uint8)


def shades(image: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The picture (B, H, W, 3) in 0..1, float32, before it is rounded."""
    made = torch.addmm(bias, image.reshape(-1, image.shape[-1]), weight)
    return made.float().sigmoid_().view(*image.shape[:-1], 3)


def project(hidden: Tensor, block: Block, image: Tensor | None) -> Tensor:
    """The block's last product; in place of ``image`` where it is added to it."""
    flat = hidden.view(-1, hidden.shape[-1])
    if image is not None:
        flat_image = image.view(-1, image.shape[-1]).addmm_(flat, block.project)
        if block.project_bias is not None:
            flat_image.add_(block.project_bias)
        return image
    assert block.project_bias is not None
    return torch.addmm(block.project_bias, flat, block.project).view(*hidden.shape[:-1], -1)


def doubled(image: Tensor) -> Tensor:
    """Twice the height and width, bilinear, corners aligned."""
    return pixels_last(
        functional.interpolate(
            image.permute(0, 3, 1, 2), scale_factor=2, mode="bilinear", align_corners=True
        )
    )


def pixels_last(image: Tensor) -> Tensor:
    """(B, C, H, W) as (B, H, W, C); a copy only where it does not already lie so."""
    return image.permute(0, 2, 3, 1).contiguous()
