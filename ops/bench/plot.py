"""One log-log plot as SVG, readable on light and dark pages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 720, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 150, 48, 56
_GREY = "#888888"


@dataclass(frozen=True)
class Line:
    """Points by x, both greater than zero; ``dash`` as SVG has it."""

    name: str
    colour: str
    points: Mapping[float, float]
    dash: str = ""


@dataclass(frozen=True)
class _Scale:
    """Powers of ten between two pixels."""

    low: int
    high: int
    first_px: float
    last_px: float

    def __call__(self, value: float) -> float:
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return round(self.first_px + share * (self.last_px - self.first_px), 1)

    def decades(self) -> list[float]:
        return [10.0**power for power in range(self.low, self.high + 1)]


def log_log(title: str, x_title: str, y_title: str, lines: Sequence[Line]) -> str:
    """The whole file's text. Raises ValueError for a point that is not greater than zero."""
    xs = [x for line in lines for x in line.points]
    ys = [y for line in lines for y in line.points.values()]
    across = _scale(xs, _LEFT, _WIDTH - _RIGHT)
    up = _scale(ys, _HEIGHT - _BOTTOM, _TOP)
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'font-family="sans-serif" font-size="13" fill="{_GREY}">',
        f"<title>{escape(title)}</title>",
        _text(_LEFT, 24, title, "start", 15),
        *_grid(across, up),
        _text(middle, _HEIGHT - 14, x_title),
        f'<g transform="rotate(-90 18 {(_TOP + _HEIGHT - _BOTTOM) / 2})">',
        _text(18, (_TOP + _HEIGHT - _BOTTOM) / 2, y_title),
        "</g>",
        *(part for line in lines for part in _drawn(line, across, up)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _scale(values: Sequence[float], first_px: float, last_px: float) -> _Scale:
    low = math.floor(math.log10(min(values)))
    high = math.ceil(math.log10(max(values)))
    return _Scale(low, max(high, low + 1), first_px, last_px)


def _grid(across: _Scale, up: _Scale) -> list[str]:
    parts = []
    stroke = f'stroke="{_GREY}" stroke-opacity="0.3"'
    for x in across.decades():
        at = across(x)
        parts.append(f'<line x1="{at}" y1="{_TOP}" x2="{at}" y2="{_HEIGHT - _BOTTOM}" {stroke}/>')
        parts.append(_text(at, _HEIGHT - _BOTTOM + 20, f"{x:,.0f}"))
    for y in up.decades():
        at = up(y)
        parts.append(f'<line x1="{_LEFT}" y1="{at}" x2="{_WIDTH - _RIGHT}" y2="{at}" {stroke}/>')
        parts.append(_text(_LEFT - 8, at + 4, f"{y:,g}", "end"))
    return parts


def _drawn(line: Line, across: _Scale, up: _Scale) -> list[str]:
    spots = [(across(x), up(y)) for x, y in sorted(line.points.items())]
    path = " ".join(f"{x},{y}" for x, y in spots)
    dash = f' stroke-dasharray="{line.dash}"' if line.dash else ""
    drawn = [
        f'<polyline points="{path}" fill="none" stroke="{line.colour}" stroke-width="2"{dash}/>'
    ]
    drawn += [f'<circle cx="{x}" cy="{y}" r="3.5" fill="{line.colour}"/>' for x, y in spots]
    x, y = spots[-1]
    drawn.append(f'<g fill="{line.colour}">{_text(x + 10, y + 4, line.name, "start")}</g>')
    return drawn


def _text(x: float, y: float, text: str, anchor: str = "middle", size: int = 13) -> str:
    place = f'x="{x:g}" y="{y:g}" text-anchor="{anchor}"'
    return f'<text {place} font-size="{size}">{escape(text)}</text>'
