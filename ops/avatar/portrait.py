"""The drawn tutor without her mouth, as SVG: background, body, head, hair and eyes."""

from __future__ import annotations

BACKGROUND = (
    '<rect width="512" height="512" fill="url(#wall)"/>'
    '<circle cx="430" cy="96" r="150" fill="url(#lamp)"/>'
    '<circle cx="70" cy="400" r="170" fill="url(#cool)"/>'
    '<g opacity=".30"><rect x="18" y="150" width="92" height="6" rx="3" fill="#8a6a52"/>'
    '<rect x="26" y="96" width="13" height="54" rx="2" fill="#c77f5a"/>'
    '<rect x="41" y="88" width="15" height="62" rx="2" fill="#5f8a86"/>'
    '<rect x="58" y="102" width="11" height="48" rx="2" fill="#e0b46c"/>'
    '<rect x="71" y="92" width="14" height="58" rx="2" fill="#93698a"/>'
    '<path d="M412,250 q-4,-40 -22,-58 M412,250 q2,-52 14,-74 M412,250 q10,-36 34,-48" '
    'fill="none" stroke="#5d8a63" stroke-width="9" stroke-linecap="round"/>'
    '<path d="M394,250 h38 l-5,44 h-28 z" fill="#d98e6a"/>'
    '<rect x="372" y="294" width="120" height="6" rx="3" fill="#8a6a52"/></g>'
)

BODY = (
    '<path d="M60,530 C62,452 104,428 178,408 L334,408 C408,428 450,452 452,530 Z" '
    'fill="url(#jacket)"/>'
    '<path d="M204,398 C214,452 238,486 256,530 C274,486 298,452 308,398 Z" fill="url(#blouse)"/>'
    '<path d="M219,330 C219,372 217,388 196,402 C212,434 236,446 256,446 C276,446 300,434 316,402 '
    'C295,388 293,372 293,330 Z" fill="url(#neck)"/>'
    '<clipPath id="throat"><path d="M219,330 C219,372 217,388 196,402 C212,434 236,446 256,446 '
    'C276,446 300,434 316,402 C295,388 293,372 293,330 Z"/></clipPath><g clip-path="url(#throat)">'
    '<ellipse cx="256" cy="352" rx="66" ry="42" fill="url(#neckshade)"/>'
    '<ellipse cx="208" cy="392" rx="22" ry="34" fill="url(#noseshade)"/>'
    '<ellipse cx="306" cy="392" rx="24" ry="34" fill="url(#noseshade)"/></g>'
    '<path d="M226,436 q14,9 24,9 M286,436 q-14,9 -24,9" stroke="#c98b6c" stroke-width="2" '
    'fill="none" stroke-linecap="round" opacity=".55"/>'
    '<path d="M196,400 C188,404 180,407 172,411 C180,456 214,504 244,530 L256,530 '
    'C236,492 206,446 196,400 Z" fill="url(#lapel)"/>'
    '<path d="M316,400 C324,404 332,407 340,411 C332,456 298,504 268,530 L256,530 '
    'C276,492 306,446 316,400 Z" fill="url(#lapel)"/>'
    '<path d="M172,411 C180,456 214,504 244,530 M340,411 C332,456 298,504 268,530" fill="none" '
    'stroke="#16293f" stroke-width="1.6" opacity=".6"/>'
    '<path d="M112,530 C114,492 122,470 132,456 M400,530 C398,492 390,470 380,456" fill="none" '
    'stroke="#16293f" stroke-width="2" opacity=".45"/>'
)

HAIR_BACK = (
    '<path d="M258,74 C180,72 132,130 130,222 C129,292 108,340 124,386 C136,424 196,428 218,394 '
    'L294,394 C316,428 376,424 388,386 C404,340 383,292 382,222 C380,130 336,74 258,74 Z" '
    'fill="url(#hairback)"/>'
    '<path d="M148,250 C146,310 136,350 150,396 M164,300 C164,346 158,372 168,404 '
    'M364,250 C366,310 376,350 362,396 M348,300 C348,346 354,372 344,404" fill="none" '
    'stroke="#8a5636" stroke-width="3" opacity=".35" stroke-linecap="round"/>'
)

EARS = (
    '<path d="M164,226 C150,218 146,240 152,256 C156,270 164,274 170,270 Z" fill="url(#ear)"/>'
    '<path d="M348,226 C362,218 366,240 360,256 C356,270 348,274 342,270 Z" fill="url(#ear)"/>'
    '<circle cx="158" cy="275" r="3.6" fill="#f0d48a"/><circle cx="157" cy="274" r="1.3" '
    'fill="#fffbe8"/><circle cx="354" cy="275" r="3.6" fill="#f0d48a"/>'
    '<circle cx="353" cy="274" r="1.3" fill="#fffbe8"/>'
)


def face(drop: float) -> str:
    """The face's skin with its chin lowered by `drop` px: contour, shading, blush, chin."""
    chin = 358.0 + drop
    return (
        f'<path d="M256,112 C196,112 162,152 161,218 C160,262 172,304 200,333 '
        f"C218,{351 + drop * 0.75:.2f} 238,{chin:.2f} 256,{chin:.2f} "
        f"C274,{chin:.2f} 294,{351 + drop * 0.75:.2f} 312,333 C340,304 352,262 351,218 "
        f'C350,152 316,112 256,112 Z" fill="url(#skin)"/>'
        f'<ellipse cx="256" cy="150" rx="84" ry="46" fill="url(#foreshade)"/>'
        f'<ellipse cx="236" cy="186" rx="62" ry="34" fill="url(#forelight)"/>'
        f'<ellipse cx="197" cy="280" rx="31" ry="22" fill="url(#blush)"/>'
        f'<ellipse cx="315" cy="280" rx="31" ry="22" fill="url(#blush)"/>'
        f'<ellipse cx="199" cy="262" rx="22" ry="12" fill="url(#forelight)"/>'
        f'<ellipse cx="308" cy="262" rx="20" ry="11" fill="url(#forelight)"/>'
        f'<ellipse cx="255" cy="{341 + drop:.2f}" rx="19" ry="10" fill="url(#forelight)"/>'
    )


NOSE = (
    '<ellipse cx="244" cy="246" rx="7" ry="26" fill="url(#bridge)"/>'
    '<ellipse cx="268" cy="248" rx="6" ry="24" fill="url(#bridge)"/>'
    '<ellipse cx="255" cy="254" rx="7" ry="24" fill="url(#forelight)"/>'
    '<ellipse cx="256" cy="277" rx="23" ry="11" fill="url(#noseshade)"/>'
    '<ellipse cx="254" cy="270" rx="9" ry="7" fill="url(#noselight)"/>'
    '<path d="M239,273 C236,277 238,282 243,281 M273,273 C276,277 274,282 269,281" fill="none" '
    'stroke="#b9714f" stroke-width="2" stroke-linecap="round" opacity=".75"/>'
    '<ellipse cx="248.5" cy="281.5" rx="4" ry="1.9" fill="#8c4a38" opacity=".7"/>'
    '<ellipse cx="263.5" cy="281.5" rx="4" ry="1.9" fill="#8c4a38" opacity=".7"/>'
    '<ellipse cx="256" cy="290" rx="5" ry="7" fill="url(#noseshade)"/>'
)

HAIR_FRONT = (
    '<path d="M262,76 C186,72 134,122 135,214 C136,262 136,296 122,340 C148,318 164,276 166,236 '
    "C180,214 214,192 238,150 C246,138 252,132 258,130 C290,166 330,186 345,228 "
    'C348,268 364,310 390,340 C376,296 376,262 377,214 C378,122 330,76 262,76 Z" '
    'fill="url(#hair)"/>'
    '<path d="M256,92 C206,92 166,124 158,196 C182,150 214,128 252,112 Z" fill="url(#sheen)"/>'
    '<path d="M272,94 C316,98 348,130 354,192 C338,150 308,130 272,114 Z" fill="url(#sheen)"/>'
    '<path d="M250,100 C208,110 176,140 160,214 M244,122 C214,140 186,166 165,226 '
    'M268,102 C312,112 340,146 352,216 M272,126 C306,148 336,176 347,226" fill="none" '
    'stroke="#4d2a18" stroke-width="1.7" opacity=".4" stroke-linecap="round"/>'
    '<path d="M236,104 C200,116 176,142 164,190 M290,104 C322,118 342,142 350,184" fill="none" '
    'stroke="#d59a68" stroke-width="2" opacity=".5" stroke-linecap="round"/>'
)


def brows(lift: float) -> str:
    """Both eyebrows, raised by `lift` px."""
    return (
        f'<g transform="translate(0,{-lift:.2f})" fill="#5d3822">'
        '<path d="M187,205 C196,194 214,190 234,198 C236,200 235,203 232,203 C216,197 201,199 '
        '189,207 C187,208 186,207 187,205 Z"/>'
        '<path d="M325,205 C316,194 298,190 278,198 C276,200 277,203 280,203 C296,197 311,199 '
        '323,207 C325,208 326,207 325,205 Z"/></g>'
    )


def _eye(x: float, side: int, closed: float, look: tuple[float, float]) -> str:
    """One eye at `x`; `side` -1 is the viewer's left; `closed` 0 open .. 1 shut."""

    def between(shown: float, shut: float) -> float:
        return shown + (shut - shown) * closed

    top, low = between(-14.5, 6.5), between(8.6, 6.5)
    shape = (
        f"M-20,2.5 C-14,{top:.2f} 8,{top - 1.5:.2f} 19,-0.5 "
        f"C13,{max(low, top):.2f} -10,{max(low + between(1.2, 0.0), top):.2f} -20,2.5 Z"
    )
    lid = f"M-21.5,3.2 C-14,{top - 0.6:.2f} 8,{top - 2.1:.2f} 20.5,-1.2"
    name = "eyel" if side < 0 else "eyer"
    lash = (
        f'<path d="M-21,3 C-24,{between(1, 4):.1f} -26,{between(-1, 5.5):.1f} '
        f"-27,{between(-3.5, 7.5):.1f} M-17,{between(-1, 4):.1f} "
        f'C-20,{between(-4, 6.5):.1f} -22,{between(-6, 8.5):.1f} -23,{between(-8, 10.5):.1f}" '
        f'fill="none" stroke="#2e1a12" stroke-width="2" stroke-linecap="round"/>'
    )
    return (
        f'<g transform="translate({x},232) scale({-side},1)">'
        f'<path d="M-20,{top - 4.5 * (1 - closed):.2f} C-10,{top - 9 + 4 * closed:.2f} 8,'
        f'{top - 9 + 4 * closed:.2f} 18,{top + 1:.2f}" fill="none" stroke="#b87a5a" '
        f'stroke-width="1.7" opacity=".6" stroke-linecap="round" transform="scale(-1,1) '
        f'scale(-1,1)"/>'
        f'<clipPath id="{name}"><path d="{shape}"/></clipPath><g clip-path="url(#{name})">'
        f'<rect x="-30" y="-24" width="60" height="48" fill="#fbf7f3"/>'
        f'<g transform="translate({-side * look[0]:.2f},{look[1] - 1.6:.2f})">'
        f'<circle r="11.2" fill="#35210f"/><circle r="10.2" fill="url(#iris)"/>'
        f'<circle r="5" fill="#120b08"/></g>'
        f'<rect x="-30" y="{top - 6:.2f}" width="60" height="11" fill="url(#lidshade)"/></g>'
        f'<g transform="translate({-side * look[0]:.2f},{look[1] - 1.6:.2f})" '
        f'opacity="{max(0.0, 1 - 1.7 * closed):.2f}"><circle cx="{-side * -3.6:.1f}" cy="-3.8" '
        f'r="3" fill="#fff"/><circle cx="{-side * 3.6:.1f}" cy="3.6" r="1.4" fill="#fff" '
        f'opacity=".75"/></g>'
        f'<path d="{lid}" fill="none" stroke="#2e1a12" stroke-width="3.4" '
        f'stroke-linecap="round"/>{lash}'
        f'<path d="M-18,5 C-9,{low + 2:.2f} 10,{low + 1.5:.2f} 18,1.5" fill="none" '
        f'stroke="#9c6248" stroke-width="1.3" opacity=".65" stroke-linecap="round"/></g>'
    )


def eyes(closed: float, look: tuple[float, float]) -> str:
    """Both eyes: `closed` 0..1, `look` the gaze in px (right, down)."""
    return (
        '<ellipse cx="211" cy="231" rx="33" ry="24" fill="url(#socket)"/>'
        '<ellipse cx="301" cy="231" rx="33" ry="24" fill="url(#socket)"/>'
        + _eye(211, -1, closed, look)
        + _eye(301, 1, closed, look)
    )
