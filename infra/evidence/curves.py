"""A small SVG of how a series goes with the load that was offered, claim and controls together."""

from __future__ import annotations

from html import escape

from infra.evidence.figures import shown, summarise
from infra.evidence.plots import AXIS, LABEL, MARGIN, WIDTH, ticks_of
from infra.evidence.results import ClaimResult
from infra.evidence.verdict import Role

OFFERED = "offered_per_s"
"""The series of loads: figures that have it were measured step by step, at each of its values."""

HEIGHT = 120
LEFT = 3 * MARGIN

STYLE = """
svg.curves text { font: 11px system-ui, sans-serif; fill: var(--dim); }
svg.curves .end { text-anchor: end; } svg.curves .tick { text-anchor: middle; }
svg.curves .grid { stroke: var(--rule); } svg.curves .label { fill: currentColor; }
svg.curves polyline { fill: none; stroke: currentColor; stroke-width: 2; }
svg.curves circle { fill: currentColor; }
"""
"""For the page around `curves`, whose custom properties it uses (`html.STYLE`)."""

Points = list[tuple[float, float]]


def curves(one: ClaimResult) -> str:
    """A picture of each series that has a value for each load; "" where no loads were offered."""
    figures = [run.figures for run in one.runs if run.figures]
    steps = {len(found.samples.get(OFFERED, ())) for found in figures}
    if len(steps) != 1 or (count := steps.pop()) < 2:
        return ""
    names = dict.fromkeys(
        name
        for found in figures
        for name, samples in found.samples.items()
        if name != OFFERED and len(samples) == count
    )
    return "".join(_picture(one, name) for name in names)


def points(one: ClaimResult, step: str, name: str) -> Points:
    """The median of all runs at `step` at each load, by load."""
    at: dict[float, list[float]] = {}
    for run in one.runs:
        if run.step == step and run.figures:
            samples = run.figures.samples
            for load, value in zip(samples[OFFERED], samples[name], strict=True):
                at.setdefault(load, []).append(value)
    return [(load, summarise(values, "median")) for load, values in sorted(at.items())]


def _picture(one: ClaimResult, name: str) -> str:
    lines = [
        (f"{role}: {step}", role, points(one, step, name))
        for role in Role
        for step in one.steps(role)
    ]
    every = [point for _, _, found in lines for point in found]
    across, up = ticks_of([x for x, _ in every]), ticks_of([0.0, *(y for _, y in every)])
    top = LABEL * len(lines) + LABEL // 2
    bottom = top + HEIGHT
    wide = WIDTH - LEFT - 2 * MARGIN

    def place(point: tuple[float, float]) -> tuple[float, float]:
        x, y = point
        right = (x - across[0]) / (across[-1] - across[0])
        high = (y - up[0]) / (up[-1] - up[0])
        return LEFT + wide * right, bottom - HEIGHT * high

    parts = [f'<text x="{MARGIN}" y="{LABEL - 4}" class="label">{escape(name)}</text>']
    for tick in up:
        _, y = place((across[0], tick))
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{LEFT + wide}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        parts.append(f'<text x="{LEFT - 4}" y="{y + 4:.1f}" class="end">{shown(tick)}</text>')
    for tick in across:
        x, _ = place((tick, up[0]))
        parts.append(f'<text x="{x:.1f}" y="{bottom + 15}" class="tick">{shown(tick)}</text>')
    parts.append(f'<text x="{WIDTH / 2}" y="{bottom + 29}" class="tick">{OFFERED}</text>')
    for number, (label, role, found) in enumerate(lines):
        places = [place(point) for point in found]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in places)
        parts.append(
            f'<g class="{role}"><text x="{WIDTH - MARGIN}" y="{LABEL * (number + 1) - 4}" '
            f'class="label end">{escape(label)}</text><polyline points="{path}"/>{dots}</g>'
        )
    told = "; ".join(
        f"{label}: " + ", ".join(f"{shown(y)} at {shown(x)}" for x, y in found)
        for label, _, found in lines
    )
    return (
        f'<svg class="curves" viewBox="0 0 {WIDTH} {bottom + AXIS}" role="img" '
        f'aria-label="{escape(name)} by {OFFERED}: {escape(told)}">{"".join(parts)}</svg>'
    )
