"""The mouth and chin of the drawn tutor as SVG, from four numbers."""

from __future__ import annotations

from dataclasses import dataclass

MOUTH_X, MOUTH_Y = 256.0, 304.0
JAW_DROP_PX = 11.0
LOWER_TRAVEL_PX = 23.0
UPPER_TRAVEL_PX = 4.0


@dataclass(frozen=True)
class Mouth:
    """Shape of the mouth: `opening`, `teeth`, `tongue` in 0..1, `width` from -1 (round) to 1."""

    opening: float = 0.0
    width: float = 0.0
    teeth: float = 0.5
    tongue: float = 0.2


def _half_width(mouth: Mouth) -> float:
    stretch = 5.0 * mouth.width if mouth.width > 0 else 12.0 * mouth.width
    return 30.0 + stretch - 2.5 * mouth.opening


def _lens(half: float, top: float, bottom: float, corner: float) -> str:
    """Closed curve from the left corner over `top` to the right one and back under `bottom`."""
    reach = half * 0.62
    return (
        f"M{-half:.2f},{corner:.2f} C{-reach:.2f},{top:.2f} {-reach * 0.4:.2f},{top * 1.12:.2f} "
        f"0,{top * 1.06 + 0.9:.2f} C{reach * 0.4:.2f},{top * 1.12:.2f} {reach:.2f},{top:.2f} "
        f"{half:.2f},{corner:.2f} C{reach * 1.06:.2f},{bottom:.2f} {reach * 0.52:.2f},"
        f"{bottom * 1.16 + 0.6:.2f} 0,{bottom * 1.16 + 0.6:.2f} C{-reach * 0.52:.2f},"
        f"{bottom * 1.16 + 0.6:.2f} {-reach * 1.06:.2f},{bottom:.2f} {-half:.2f},{corner:.2f} Z"
    )


def _lips(half: float, top: float, bottom: float, corner: float, pucker: float) -> tuple[str, str]:
    """Outlines of the upper lip (with its bow) and of the lower lip, each filled to the middle."""
    up, low = 7.4 + 1.6 * pucker, 10.2 + 1.8 * pucker
    bow = half * 0.2
    upper = (
        f"M{-half - 2.2:.2f},{corner:.2f} C{-half * 0.72:.2f},{top - up * 0.5:.2f} "
        f"{-half * 0.44:.2f},{top - up:.2f} {-bow:.2f},{top - up:.2f} "
        f"C{-bow * 0.5:.2f},{top - up:.2f} {-bow * 0.35:.2f},{top - up + 1.9:.2f} "
        f"0,{top - up + 1.9:.2f} C{bow * 0.35:.2f},{top - up + 1.9:.2f} {bow * 0.5:.2f},"
        f"{top - up:.2f} {bow:.2f},{top - up:.2f} C{half * 0.44:.2f},{top - up:.2f} "
        f"{half * 0.72:.2f},{top - up * 0.5:.2f} {half + 2.2:.2f},{corner:.2f} "
        f"Q0,{bottom + 5:.2f} {-half - 2.2:.2f},{corner:.2f} Z"
    )
    deep = bottom * 1.12 + low
    lower = (
        f"M{-half - 2.2:.2f},{corner:.2f} C{-half * 0.78:.2f},{deep * 0.72:.2f} "
        f"{-half * 0.5:.2f},{deep:.2f} 0,{deep:.2f} C{half * 0.5:.2f},{deep:.2f} "
        f"{half * 0.78:.2f},{deep * 0.72:.2f} {half + 2.2:.2f},{corner:.2f} "
        f"Q0,{top - 3:.2f} {-half - 2.2:.2f},{corner:.2f} Z"
    )
    return upper, lower


def _inside(mouth: Mouth, half: float, top: float, bottom: float) -> str:
    edge = top + 2.2 + 6.0 * mouth.teeth
    floor = bottom * 1.16
    tongue_y = floor + 3.0 - 9.0 * mouth.tongue
    lower_teeth = floor - 3.2 * mouth.opening
    arch = half * 0.86
    return (
        f'<rect x="-40" y="-20" width="80" height="70" fill="url(#cavity)"/>'
        f'<ellipse cx="0" cy="{tongue_y + 6:.2f}" rx="{half * 0.66:.2f}" ry="10" '
        f'fill="url(#tongue)"/>'
        f'<path d="M{-half * 0.6:.2f},{lower_teeth + 1.5:.2f} Q0,{lower_teeth - 1:.2f} '
        f'{half * 0.6:.2f},{lower_teeth + 1.5:.2f} V60 H{-half * 0.6:.2f} Z" fill="#e9e2d9" '
        f'opacity="{0.75 * mouth.teeth:.2f}"/>'
        f'<path d="M{-arch:.2f},-24 V{edge - 2.4:.2f} Q{-arch * 0.7:.2f},{edge:.2f} 0,{edge:.2f} '
        f'Q{arch * 0.7:.2f},{edge:.2f} {arch:.2f},{edge - 2.4:.2f} V-24 Z" fill="url(#teeth)"/>'
    )


def mouth_svg(mouth: Mouth) -> str:
    """The mouth as an SVG group in head coordinates; its gradients are in `MOUTH_DEFS`."""
    half = _half_width(mouth)
    top = -UPPER_TRAVEL_PX * mouth.opening - 0.2
    bottom = LOWER_TRAVEL_PX * 0.86 * mouth.opening
    corner = -2.2 + 3.4 * mouth.opening + 1.4 * max(0.0, -mouth.width)
    pucker = max(0.0, -mouth.width)
    upper, lower = _lips(half, top, bottom, corner, pucker)
    lens = _lens(half, top, bottom, corner)
    deep = bottom * 1.12 + 10.2 + 1.8 * pucker
    shown = max(0.0, 1 - 7 * mouth.opening)
    seam = (
        f'<path d="M{-half - 1:.2f},{corner:.2f} Q{-half * 0.5:.2f},1.4 0,1 '
        f'Q{half * 0.5:.2f},1.4 {half + 1:.2f},{corner:.2f}" fill="none" stroke="#7d2b33" '
        f'stroke-width="1.5" stroke-linecap="round" opacity="{shown:.2f}"/>'
    )
    return (
        f'<g transform="translate({MOUTH_X},{MOUTH_Y})">'
        f'<ellipse cx="0" cy="{deep + 5.5:.2f}" rx="{half * 0.62:.2f}" ry="5.5" '
        f'fill="url(#underlip)"/>'
        f'<path d="{upper}" fill="url(#lipup)"/><path d="{lower}" fill="url(#liplow)"/>'
        f'<ellipse cx="-1" cy="{deep - 5.2:.2f}" rx="{half * 0.36:.2f}" ry="2.3" '
        f'fill="url(#lipshine)"/>'
        f'<clipPath id="inner"><path d="{lens}"/></clipPath>'
        f'<g clip-path="url(#inner)">{_inside(mouth, half, top, bottom)}</g>{seam}'
        f'<circle cx="{-half - 3:.2f}" cy="{corner:.2f}" r="5" fill="url(#corner)"/>'
        f'<circle cx="{half + 3:.2f}" cy="{corner:.2f}" r="5" fill="url(#corner)"/></g>'
    )


def _soft(name: str, colour: str, alpha: float) -> str:
    return (
        f'<radialGradient id="{name}"><stop offset="0" stop-color="{colour}" '
        f'stop-opacity="{alpha}"/><stop offset="1" stop-color="{colour}" stop-opacity="0"/>'
        f"</radialGradient>"
    )


MOUTH_DEFS = (
    '<linearGradient id="lipup" x2="0" y2="1"><stop offset="0" stop-color="#d0676b"/>'
    '<stop offset="1" stop-color="#ad444e"/></linearGradient>'
    '<linearGradient id="liplow" x2="0" y2="1"><stop offset="0" stop-color="#b94d57"/>'
    '<stop offset=".7" stop-color="#d56d72"/><stop offset="1" stop-color="#c25c61"/>'
    "</linearGradient>"
    '<linearGradient id="cavity" x2="0" y2="1"><stop offset="0" stop-color="#3a1118"/>'
    '<stop offset="1" stop-color="#64202a"/></linearGradient>'
    '<linearGradient id="tongue" x2="0" y2="1"><stop offset="0" stop-color="#d9737c"/>'
    '<stop offset="1" stop-color="#b04e5a"/></linearGradient>'
    '<linearGradient id="teeth" x2="0" y2="1"><stop offset=".5" stop-color="#e4ddd6"/>'
    '<stop offset="1" stop-color="#fffdf8"/></linearGradient>'
    + _soft("underlip", "#a85a3c", 0.34)
    + _soft("lipshine", "#ffe4e0", 0.75)
    + _soft("corner", "#a4553c", 0.38)
)
