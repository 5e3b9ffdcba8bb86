"""The gradients that colour the drawn tutor."""

from __future__ import annotations


def _linear(name: str, *stops: str, across: bool = False) -> str:
    axis = 'x2="1" y2="0"' if across else 'x2="0" y2="1"'
    return f'<linearGradient id="{name}" {axis}>{_stops(stops)}</linearGradient>'


def _radial(name: str, place: str, *stops: str) -> str:
    return f'<radialGradient id="{name}" {place}>{_stops(stops)}</radialGradient>'


def _stops(stops: tuple[str, ...]) -> str:
    parts = []
    for index, stop in enumerate(stops):
        colour, _, opacity = stop.partition("/")
        alpha = f' stop-opacity="{opacity}"' if opacity else ""
        parts.append(
            f'<stop offset="{index / (len(stops) - 1):.3f}" stop-color="{colour}"{alpha}/>'
        )
    return "".join(parts)


def _glow(name: str, colour: str, alpha: float) -> str:
    return _radial(name, "", f"{colour}/{alpha}", f"{colour}/{alpha * 0.45:.3f}", f"{colour}/0")


PALETTE = (
    _linear("wall", "#dcebea", "#e9eee6", "#f3e7d8")
    + _glow("lamp", "#fff3d6", 0.9)
    + _glow("cool", "#bcd6d8", 0.7)
    + _linear("jacket", "#2f5375", "#213e5c", "#1a3149")
    + _linear("lapel", "#3a6389", "#25486a")
    + _linear("blouse", "#fff8ec", "#eadfcd")
    + _linear("neck", "#e0a27e", "#eeb894", "#f0bd9a")
    + _radial("neckshade", "", "#9a5233/.85", "#9a5233/.62", "#9a5233/.0")
    + _glow("bridge", "#c07a55", 0.26)
    + _linear("hairback", "#5a331e", "#4a2817", "#6b3f26")
    + _radial("hair", 'cx=".42" cy=".2" r=".95"', "#96613c", "#774629", "#54301b")
    + _linear("sheen", "#e0a876/.0", "#e0a876/.42", "#e0a876/.0")
    + _radial("skin", 'cx=".46" cy=".42" r=".68"', "#fcdcc3", "#f8cfb0", "#f1bb97", "#d8946d")
    + _linear("ear", "#eeb48f", "#d99a76")
    + _glow("foreshade", "#a8643f", 0.42)
    + _glow("forelight", "#fff0e0", 0.55)
    + _glow("blush", "#ee7f6b", 0.36)
    + _glow("noseshade", "#b5683f", 0.36)
    + _glow("noselight", "#fff4ea", 0.75)
    + _glow("socket", "#b9714d", 0.26)
    + _radial("iris", 'cx=".5" cy=".72" r=".62"', "#7fb08a", "#4d8267", "#2c5446", "#20382f")
    + _linear("lidshade", "#4a2a20/.55", "#4a2a20/.0")
)
