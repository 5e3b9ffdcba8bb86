"""Draws the demo tutor: a pose and a mouth in, a picture out; and her idle motion."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import cv2
import numpy as np
import resvg_py

from ops.avatar import palette, portrait
from ops.avatar.mouth import JAW_DROP_PX, MOUTH_DEFS, Mouth, mouth_svg

SIZE = 512
CROP = 160
IDLE_FRAMES = 125
CROP_ORIGIN = (176, 240)  # of the box around the mouth in head coordinates, at rest
SUPERSAMPLE = 2


@dataclass(frozen=True)
class Pose:
    """Head and body of one idle frame; lengths in px of the 512 px picture, angles in degrees."""

    shift: tuple[float, float] = (0.0, 0.0)
    roll_deg: float = 0.0
    yaw_px: float = 0.0
    breath_px: float = 0.0
    blink: float = 0.0
    look: tuple[float, float] = (0.0, 0.0)
    brow_px: float = 0.0
    rest: Mouth = field(default_factory=Mouth)

    @property
    def box(self) -> tuple[int, int, int, int]:
        """x, y, w, h (all even) of the square the generator redraws."""
        turn = math.radians(self.roll_deg)
        lever = 430.0 - (CROP_ORIGIN[1] + CROP / 2)
        x = CROP_ORIGIN[0] + self.shift[0] + self.yaw_px + lever * math.sin(turn)
        y = CROP_ORIGIN[1] + self.shift[1]
        return 2 * round(x / 2), 2 * round(y / 2), CROP, CROP


def picture_svg(pose: Pose, mouth: Mouth, view: tuple[int, int, int, int]) -> str:
    """The whole picture as SVG, seen through `view` = x, y, w, h."""
    x, y, w, h = view
    dx, dy = pose.shift

    def layer(depth: float, body: str) -> str:
        return f'<g transform="translate({pose.yaw_px * depth:.3f},0)">{body}</g>'

    head = (
        layer(-0.35, portrait.EARS)
        + layer(0.35, portrait.face(JAW_DROP_PX * mouth.opening))
        + layer(1.0, portrait.eyes(pose.blink, pose.look) + mouth_svg(mouth))
        + layer(1.45, portrait.NOSE)
        + layer(0.15, portrait.HAIR_FRONT)
        + layer(0.9, portrait.brows(pose.brow_px))
    )
    move = f"translate({dx:.3f},{dy:.3f}) rotate({pose.roll_deg:.3f},256,430)"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{x} {y} {w} {h}" '
        f'width="{w * SUPERSAMPLE}" height="{h * SUPERSAMPLE}">'
        f"<defs>{palette.PALETTE}{MOUTH_DEFS}</defs>{portrait.BACKGROUND}"
        f'<g transform="{move}">{layer(-0.2, portrait.HAIR_BACK)}</g>'
        f'<g transform="translate({dx * 0.25:.3f},{pose.breath_px:.3f})">{portrait.BODY}</g>'
        f'<g transform="{move}">{head}</g></svg>'
    )


def draw(
    pose: Pose, mouth: Mouth, view: tuple[int, int, int, int] = (0, 0, SIZE, SIZE)
) -> np.ndarray:
    """Paint `view` of the picture: uint8 (h, w, 3) BGR, antialiased by supersampling."""
    png = resvg_py.svg_to_bytes(svg_string=picture_svg(pose, mouth, view), skip_system_fonts=True)
    large = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    if large is None:
        raise RuntimeError("the SVG renderer returned no picture")
    return np.asarray(cv2.resize(large, view[2:], interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _bump(frame: int, centre: float, half: float) -> float:
    """A smooth bump of height 1, `half` frames to each side of `centre`."""
    distance = abs(frame - centre) / half
    return 0.0 if distance >= 1 else 0.5 + 0.5 * math.cos(math.pi * distance)


def idle_pose(frame: int) -> Pose:
    """Pose of idle frame 0..IDLE_FRAMES-1; at rest at both ends, for playing back and forth."""
    phase = math.pi * frame / (IDLE_FRAMES - 1)
    sway = 0.5 - 0.5 * math.cos(phase)  # stands still at both ends, so the turn is not seen
    slow = 0.5 - 0.5 * math.cos(2 * phase)
    blink = max(_bump(frame, 27, 4.2), _bump(frame, 88, 4.2), _bump(frame, 97, 4.0))
    glance = _bump(frame, 60, 11)
    return Pose(
        shift=(7.0 * sway - 3.5, 2.2 * slow - 1.1),
        roll_deg=1.5 * math.sin(phase) * math.cos(phase) + 1.2 * sway - 0.6,
        yaw_px=5.0 * sway - 2.5 + 1.2 * math.sin(2 * phase) * math.sin(phase),
        breath_px=1.7 - 1.7 * math.cos(4 * phase),
        blink=blink,
        look=(3.4 * glance - 0.8 * sway, 0.6 * glance),
        brow_px=2.6 * _bump(frame, 66, 20) + 0.6 * blink,
    )
