"""Building blocks of the SyncTalk 2D generator and of its audio-visual encoder."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class InvertedResidual(nn.Module):
    """1x1 expand (x2), 3x3 depthwise, 1x1 project; (B, ci, H, W) -> (B, co, H/s, W/s)."""

    def __init__(self, ci: int, co: int, stride: int = 1, residual: bool = False) -> None:
        super().__init__()
        hidden = ci * 2
        self.residual = residual
        self.conv = nn.Sequential(
            nn.Conv2d(ci, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, co, 1, bias=False),
            nn.BatchNorm2d(co),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.conv(x)
        return x + y if self.residual else y


class Pair(nn.Module):
    """Two inverted residuals, the second one residual."""

    def __init__(self, ci: int, co: int, stride: int = 1) -> None:
        super().__init__()
        self.double_conv = nn.Sequential(
            InvertedResidual(ci, co, stride), InvertedResidual(co, co, 1, residual=True)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.double_conv(x)
        return y


class Down(nn.Module):
    """Halves height and width."""

    def __init__(self, ci: int, co: int) -> None:
        super().__init__()
        self.maxpool_conv = nn.Sequential(Pair(ci, co, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.maxpool_conv(x)
        return y


class Up(nn.Module):
    """Doubles height and width and joins the encoder's picture of that size."""

    def __init__(self, ci: int, co: int) -> None:
        super().__init__()
        self.conv = Pair(ci, co)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
        y: torch.Tensor = self.conv(torch.cat([x, skip], dim=1))
        return y


class First(nn.Module):
    """The generator's first layer, at full size."""

    def __init__(self, ci: int, co: int) -> None:
        super().__init__()
        self.inconv = nn.Sequential(InvertedResidual(ci, co))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.inconv(x)
        return y


class Last(nn.Module):
    """The 1x1 convolution to three colours."""

    def __init__(self, ci: int, co: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(ci, co, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.conv(x)
        return y


class ConvBlock(nn.Module):
    """Convolution, batch norm, optional residual, ReLU: one layer of the audio encoder."""

    def __init__(
        self,
        ci: int,
        co: int,
        kernel: int = 3,
        stride: int | tuple[int, int] = 1,
        padding: int = 1,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.residual = residual
        self.conv_block = nn.Sequential(
            nn.Conv2d(ci, co, kernel, stride, padding), nn.BatchNorm2d(co)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.conv_block(x)
        return torch.relu(x + y if self.residual else y)
