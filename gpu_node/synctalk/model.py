"""The SyncTalk 2D networks, crop and width being parameters.

Published size: inner crop 320, width 32: 12,186,935 parameters in the generator (556 keys) and
2,812,672 in the audio-visual encoder (91 keys).
"""

from __future__ import annotations

import torch
from torch import nn

from gpu_node.avatars.crops import audio_stride
from gpu_node.synctalk.blocks import ConvBlock, Down, First, InvertedResidual, Last, Pair, Up

PUBLISHED_CROP = 320
PUBLISHED_WIDTH = 32
AUDIO_PLANES = 32


class AudioModel(nn.Module):
    """Audio branch, mode `ave`: (B, 32, 16, 16) -> (B, 16 * width, crop/32, crop/32).

    The published branch goes from 16² to 10² with stride 2 and padding 3. Other crops keep the
    kernel and choose stride and padding so that the grid is crop/32.
    """

    def __init__(self, width: int, grid: int) -> None:
        super().__init__()
        stride, padding = audio_stride(grid)
        self.conv1 = InvertedResidual(AUDIO_PLANES, 2 * width)
        self.conv2 = InvertedResidual(2 * width, 4 * width)
        self.conv3 = nn.Conv2d(4 * width, 8 * width, 3, 1, 1)
        self.bn3 = nn.BatchNorm2d(8 * width)
        self.conv4 = InvertedResidual(8 * width, 8 * width, residual=True)
        self.conv5 = nn.Conv2d(8 * width, 16 * width, 3, stride, padding)
        self.bn5 = nn.BatchNorm2d(16 * width)
        self.conv6 = InvertedResidual(16 * width, 16 * width, residual=True)
        self.conv7 = InvertedResidual(16 * width, 16 * width, residual=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv2(self.conv1(x))
        x = self.conv4(torch.relu(self.bn3(self.conv3(x))))
        y: torch.Tensor = self.conv7(self.conv6(torch.relu(self.bn5(self.conv5(x)))))
        return y


class Generator(nn.Module):
    """Six image channels and the audio window in, the mouth's picture out.

    forward: image (B, 6, crop, crop) in 0..1 (unmasked reference, then the masked frame, BGR),
    audio (B, 32, 16, 16) -> (B, 3, crop, crop) in 0..1, BGR.
    """

    def __init__(self, crop: int = PUBLISHED_CROP, width: int = PUBLISHED_WIDTH) -> None:
        super().__init__()
        if crop % 32:
            raise ValueError(f"crop: {crop} is no multiple of 32")
        if width % 2 or width < 2:
            raise ValueError(f"width: {width} is not a positive even number")
        self.crop, self.width = crop, width
        w = width
        self.inc = First(6, w)
        self.down1, self.down2, self.down3 = Down(w, w), Down(w, 2 * w), Down(2 * w, 4 * w)
        self.down4, self.down5 = Down(4 * w, 8 * w), Down(8 * w, 16 * w)
        self.audio_model = AudioModel(w, crop // 32)
        self.fuse_conv = nn.Sequential(Pair(32 * w, 16 * w), Pair(16 * w, 8 * w))
        self.up1, self.up2 = Up(16 * w, 4 * w), Up(8 * w, 2 * w)
        self.up3, self.up4, self.up5 = Up(4 * w, w), Up(2 * w, w), Up(2 * w, w // 2)
        self.outc = Last(w // 2, 3)

    def encode_image(self, image: torch.Tensor) -> list[torch.Tensor]:
        """The six encoder pictures, largest first; they depend on no audio and may be kept."""
        levels = [self.inc(image)]
        for down in (self.down1, self.down2, self.down3, self.down4, self.down5):
            levels.append(down(levels[-1]))
        return levels

    def decode(self, levels: list[torch.Tensor], audio: torch.Tensor) -> torch.Tensor:
        """The mouth's picture from the encoder's pictures and the audio window."""
        x = self.fuse_conv(torch.cat([levels[5], self.audio_model(audio)], dim=1))
        ups = (self.up1, self.up2, self.up3, self.up4, self.up5)
        for up, skip in zip(ups, reversed(levels[:5]), strict=True):
            x = up(x, skip)
        return torch.sigmoid(self.outc(x))

    def forward(self, image: torch.Tensor, audio: torch.Tensor) -> torch.Tensor:
        return self.decode(self.encode_image(image), audio)


class AudioEncoder(nn.Sequential):
    """Audio-visual encoder: mel window (B, 1, 80, 16) -> (B, 512)."""

    def __init__(self, width: int = PUBLISHED_WIDTH) -> None:
        w = width
        super().__init__(
            ConvBlock(1, w),
            ConvBlock(w, w, residual=True),
            ConvBlock(w, w, residual=True),
            ConvBlock(w, 2 * w, stride=(3, 1)),
            ConvBlock(2 * w, 2 * w, residual=True),
            ConvBlock(2 * w, 2 * w, residual=True),
            ConvBlock(2 * w, 4 * w, stride=3),
            ConvBlock(4 * w, 4 * w, residual=True),
            ConvBlock(4 * w, 4 * w, residual=True),
            ConvBlock(4 * w, 8 * w, stride=(3, 2)),
            ConvBlock(8 * w, 8 * w, residual=True),
            ConvBlock(8 * w, 16 * w, padding=0),
            ConvBlock(16 * w, 512, kernel=1, padding=0),
        )
        self.width = width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self:
            x = layer(x)
        return x.flatten(1)
