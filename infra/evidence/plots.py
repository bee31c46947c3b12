"""A small SVG of a claim beside its controls: every run's samples on one common axis."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

from infra.evidence.figures import quantile, shown, summarise
from infra.evidence.results import ClaimResult
from infra.evidence.verdict import Role

# In CSS pixels of a phone: the picture is drawn at that size and only ever enlarged.
WIDTH, LANE, LABEL, AXIS, MARGIN = 340, 44, 16, 34, 14
DOTS_MAX = 60
LOG_FROM_RATIO = 30
TICKS_MAX = 5

Scale = Callable[[float], float]
Lane = tuple[str, str, Sequence[float]]
"""Label, CSS class and samples."""

STYLE = """
svg.lanes text { font: 11px system-ui, sans-serif; fill: var(--dim); }
svg.lanes .label { fill: currentColor; stroke: var(--card); stroke-width: 4px;
  paint-order: stroke; }
svg.lanes .end { text-anchor: end; } svg.lanes .tick { text-anchor: middle; }
svg.lanes .axis, svg.lanes .grid { stroke: var(--rule); }
svg.lanes .median, svg.lanes .range { stroke: currentColor; }
svg.lanes .median { stroke-width: 2.5; } svg.lanes .dot { fill: currentColor; fill-opacity: .45; }
svg.lanes .box { fill: currentColor; fill-opacity: .35; }
"""
"""For the page around `lanes`, whose custom properties it uses (`html.STYLE`)."""


def plot(one: ClaimResult, series: str) -> str:
    """The samples of a claim and of its controls."""
    return lanes(
        [
            (f"{role}: {step}", role, one.samples(step, series))
            for role in Role
            for step in one.steps(role)
        ],
        one.unit,
    )


def lanes(named: Sequence[Lane], unit: str) -> str:
    """SVG without any style of its own: the page's classes colour it, in light and dark.

    "" where there are no samples at all.
    """
    named = [lane for lane in named if lane[2]]
    every = [sample for _, _, samples in named for sample in samples]
    if not every:
        return ""
    log = min(every) > 0 and max(every) / min(every) >= LOG_FROM_RATIO
    ticks = _log_ticks(min(every), max(every)) if log else ticks_of(every)
    scale = _scale(ticks, log)
    height = LANE * len(named) + AXIS
    unit = f"{unit}{', logarithmic' if log else ''}"
    parts = [_axis(ticks, scale, LANE * len(named), unit)]
    for number, (label, kind, samples) in enumerate(named):
        parts.append(_lane(label, kind, samples, scale, LANE * number))
    told = "; ".join(f"{label}: {_words(samples)}" for label, _, samples in named)
    return (
        f'<svg class="lanes" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(told)}">{"".join(parts)}</svg>'
    )


def _lane(label: str, kind: str, samples: Sequence[float], scale: Scale, top: int) -> str:
    middle = top + LABEL + (LANE - LABEL) / 2
    low, high = scale(min(samples)), scale(max(samples))
    parts = [
        f'<text x="{MARGIN}" y="{top + 12}" class="label">{escape(label)}</text>',
        f'<text x="{WIDTH - MARGIN}" y="{top + 12}" class="label end">{_words(samples)}</text>',
        f'<line class="range" x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}"/>',
    ]
    if len(samples) > DOTS_MAX:
        left, right = scale(quantile(samples, 0.25)), scale(quantile(samples, 0.75))
        parts.append(
            f'<rect class="box" x="{left:.1f}" y="{middle - 7}" '
            f'width="{max(right - left, 1):.1f}" height="14"/>'
        )
    else:
        parts += [
            # Moved up and down by turns, so that equal samples can be told from one.
            f'<circle class="dot" cx="{scale(sample):.1f}" cy="{middle + (index % 5 - 2) * 3}" '
            'r="3"/>'
            for index, sample in enumerate(samples)
        ]
    median = scale(summarise(samples, "median"))
    parts.append(
        f'<line class="median" x1="{median:.1f}" x2="{median:.1f}" '
        f'y1="{middle - 10}" y2="{middle + 10}"/>'
    )
    return f'<g class="{kind}">{"".join(parts)}</g>'


def _words(samples: Sequence[float]) -> str:
    count = f"{len(samples):,} sample{'s' * (len(samples) != 1)}"
    return f"median {shown(summarise(samples, 'median'))}, {count}"


def _axis(ticks: Sequence[float], scale: Scale, top: int, unit: str) -> str:
    parts = [f'<line class="axis" x1="{MARGIN}" x2="{WIDTH - MARGIN}" y1="{top}" y2="{top}"/>']
    for tick in ticks:
        at = scale(tick)
        parts.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="0" y2="{top + 4}"/>')
        parts.append(f'<text x="{at:.1f}" y="{top + 15}" class="tick">{shown(tick)}</text>')
    parts.append(f'<text x="{WIDTH / 2}" y="{top + 29}" class="tick">{escape(unit)}</text>')
    return "".join(parts)


def _scale(ticks: Sequence[float], log: bool) -> Scale:
    """From a sample to a place between the first tick and the last."""
    place: Scale = math.log10 if log else float
    low, high = place(ticks[0]), place(ticks[-1])
    inner = WIDTH - 4 * MARGIN
    return lambda sample: 2 * MARGIN + inner * (place(sample) - low) / (high - low)


def ticks_of(samples: Sequence[float]) -> list[float]:
    """Round steps that enclose all samples; from zero when that is near."""
    low, high = min(samples), max(samples)
    if 0 <= low <= high / 2 or low == high >= 0:
        low = 0.0
    spread = (high - low) or abs(high) or 1.0
    raw = spread / (TICKS_MAX - 1)
    size = 10 ** math.floor(math.log10(raw))
    step = next(factor * size for factor in (1, 2, 5, 10) if factor * size >= raw * (1 - 1e-9))
    first = math.floor(low / step + 1e-9)
    last = max(math.ceil(high / step - 1e-9), first + 1)
    return [number * step for number in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten that enclose all; every second or third of them when there are many."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    step = math.ceil((last - first) / (TICKS_MAX - 1))
    last = first + step * math.ceil((last - first) / step)
    return [10.0**power for power in range(first, last + 1, step)]
