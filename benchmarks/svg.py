"""The few marks that the plots are made of, written as SVG text. Pure.

By hand instead of matplotlib, which would bring numpy and fix one background: text stays text, a
plot is a few kilobytes, and it follows the reader's colour scheme.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final
from xml.sax.saxutils import escape, quoteattr

WIDTH: Final = 400
"""User units; shown as wide as the page, so on a phone one unit is about a pixel."""

LEFT: Final = 54
RIGHT: Final = 10

SERIES_MAX: Final = 5
_LIGHT: Final = ("#0b62a4", "#c2410c", "#15803d", "#7e22ce", "#57534e")
_DARK: Final = ("#6cb8f5", "#fb923c", "#4ade80", "#c99bfa", "#a8a29e")
_DASHES: Final = ("none", "7 3", "2 2", "9 3 2 3", "4 4")
"""Series differ by their dashes too, for those who do not see the colours."""


def _style() -> str:
    def colours(palette: Sequence[str]) -> str:
        return "".join(
            f".l{n}{{stroke:{colour}}}.f{n}{{fill:{colour}}}" for n, colour in enumerate(palette)
        )

    dashes = "".join(f".l{n}{{stroke-dasharray:{dash}}}" for n, dash in enumerate(_DASHES))
    return (
        "text{font:12px system-ui,sans-serif;fill:#1c1917}.back{fill:#fff}"
        ".grid{stroke:#e7e5e4;stroke-width:1}.axis{stroke:#a8a29e;stroke-width:1}"
        ".minor{fill:#57534e}.head{font-weight:600}"
        ".line{fill:none;stroke-width:2;stroke-linejoin:round}"
        ".ok{fill:#0b62a4}.bad{fill:#dc2626}.unsent{fill:#a8a29e}"
        ".mark{stroke:#b45309;stroke-width:1.5;stroke-dasharray:5 3}"
        ".note{fill:#92400e;stroke:#fff;stroke-width:4;paint-order:stroke}"
        f"{colours(_LIGHT)}{dashes}"
        "@media(prefers-color-scheme:dark){text{fill:#f5f5f4}.back{fill:#1c1917}"
        ".grid{stroke:#3f3b38}.axis{stroke:#78716c}.minor{fill:#d6d3d1}"
        ".ok{fill:#6cb8f5}.bad{fill:#f87171}.unsent{fill:#78716c}"
        f".mark{{stroke:#fbbf24}}.note{{fill:#fcd34d;stroke:#1c1917}}{colours(_DARK)}}}"
    )


def document(title: str, description: str, height: float, parts: Iterable[str]) -> str:
    """A whole SVG file; `description` is what a screen reader says instead of the picture."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" role="img" '
        f'style="width:100%;max-width:{2 * WIDTH}px" aria-label={quoteattr(title)}>\n'
        f"<title>{escape(title)}</title><desc>{escape(description)}</desc>\n"
        f"<style>{_style()}</style>\n"
        f'<rect class="back" width="{WIDTH}" height="{height:g}"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    """One line of text."""
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} class="{kind}">{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """A straight line."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def rect(x: float, y: float, width: float, height: float, kind: str) -> str:
    """A filled rectangle."""
    return (
        f'<rect x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}" class="{kind}"/>'
    )


def polyline(points: Sequence[tuple[float, float]], series: int) -> str:
    """A line through points; a single point becomes a dot."""
    if len(points) == 1:
        x, y = points[0]
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" class="f{series}"/>'
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" class="line l{series}"/>'


def ticks(most: float, count: int) -> list[float]:
    """Round values from 0 to at least `most`, in about `count` steps of 1, 2 or 5."""
    if most <= 0:
        return [0.0, 1.0]
    rough = most / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    return [step * number for number in range(math.ceil(most / step - 1e-9) + 1)]


def short(value: float) -> str:
    """A number for an axis: 1500 is 1.5k."""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def milliseconds(value_us: float) -> str:
    """A latency for an axis."""
    if value_us >= 1e6:
        return f"{value_us / 1e6:.3g} s"
    return f"{value_us / 1e3:.3g} ms" if value_us >= 1e3 else f"{value_us:.3g} µs"
