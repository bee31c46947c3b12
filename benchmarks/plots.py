"""Plots of the client's results as SVG: the course of a run, and latencies. Pure.

They fit a phone's width, follow light and dark mode, and never rely on colour alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks import svg
from benchmarks.client.histogram import Distribution, bucket_range_us
from benchmarks.client.outcomes import Outcome
from benchmarks.client.results import Result, Second

MARKS_MAX: Final = 8
_PANEL: Final = 84
_GAP: Final = 42
_TOP: Final = 30
_NOTE: Final = 15
_INNER: Final = svg.WIDTH - svg.LEFT - svg.RIGHT
_SECOND_TICKS: Final = 6
_BARS_PER_OCTAVE: Final = 4
_TALL: Final = 200
_VISIBLE: Final = 2.0
"""One failure among ten thousand requests is still to be seen."""

_CURVE: Final = (50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.95, 99.99)


@dataclass(frozen=True, slots=True)
class Mark:
    """An event to show on the timeline, such as a fault, in seconds since its start."""

    at_s: float
    label: str


def timeline(result: Result, title: str, marks: Sequence[Mark] = ()) -> str:
    """The course of a run: requests and failures of each second, and its p99, with marks.

    Requests are shown in the second they were due, so that what a stall did to them stands where
    the stall was. ValueError for a run without requests or with more marks than MARKS_MAX.
    """
    seconds = result.timeline
    if not seconds:
        raise ValueError("this run has no requests to show")
    if len(marks) > MARKS_MAX:
        raise ValueError(f"{len(marks)} marks are more than {MARKS_MAX}: leave some out")
    top = _TOP + _NOTE * len(marks) + 20
    scale = _INNER / len(seconds)
    panels = [_due_panel(seconds, top, scale)]
    panels.append(_failed_panel(seconds, top + _PANEL + _GAP, scale))
    panels.append(_p99_panel(seconds, top + 2 * (_PANEL + _GAP), scale))
    bottom = top + 3 * _PANEL + 2 * _GAP
    parts = [svg.text(8, 18, title, "head")]
    parts += [part for panel in panels for part in panel]
    parts += _second_axis(len(seconds), bottom, scale)
    for number, mark in enumerate(sorted(marks, key=lambda one: one.at_s)):
        parts += _mark(mark, _TOP + _NOTE * number, bottom, scale)
    told = (
        f"{result.due} requests in {result.elapsed_s:.1f} s, {result.ok} right, "
        f"{result.faults} failed, {result.outage_count} outages. "
        + "; ".join(f"{mark.label} at {mark.at_s:.1f} s" for mark in marks)
    )
    return svg.document(title, told, bottom + 36, parts)


def course(named: Mapping[str, Sequence[tuple[float, float]]], title: str) -> str:
    """Rates by the second since the start, for tools that tell no single requests.

    ValueError for no series, an empty one, or more than `svg.SERIES_MAX`.
    """
    if not 1 <= len(named) <= svg.SERIES_MAX or not all(named.values()):
        raise ValueError(f"1 to {svg.SERIES_MAX} series of some points each can be shown")
    every = [point for points in named.values() for point in points]
    top = _TOP + 16 * len(named) + 24
    scale = _INNER / max(1.0, *(at_s for at_s, _ in every))
    parts, levels = _panel("per second", max(rate for _, rate in every), top, svg.short)
    for series, (name, points) in enumerate(named.items()):
        places = [
            (svg.LEFT + at_s * scale, top + _PANEL * (1 - rate / levels[-1]))
            for at_s, rate in points
        ]
        parts.append(svg.polyline(places, series))
        parts += _key_line(series, name)
    parts += _second_axis(int(max(at_s for at_s, _ in every)), top + _PANEL, scale)
    told = "; ".join(
        f"{name}: at most {svg.short(max(rate for _, rate in points))} a second"
        for name, points in named.items()
    )
    head = [svg.text(8, 18, title, "head")]
    return svg.document(title, told, top + _PANEL + 36, head + parts)


def percentiles(named: Mapping[str, Distribution], title: str) -> str:
    """Latency by percentile, each further nine as wide as the one before; both ends are honest.

    A curve ends at the last percentile that its number of values can tell. ValueError for no
    distribution, an empty one, or more than `svg.SERIES_MAX`.
    """
    _check(named)
    top, left = _TOP + 16 * len(named) + 6, svg.LEFT + 4
    width = svg.WIDTH - left - svg.RIGHT - 18
    curves = {name: _curve(one) for name, one in named.items()}
    values = [value for curve in curves.values() for _, value in curve]
    low, high = _decades(min(values), max(values))
    span = _nines(_CURVE[-1]) - _nines(_CURVE[0])

    def x(percent: float) -> float:
        return left + width * (_nines(percent) - _nines(_CURVE[0])) / span

    def y(value: float) -> float:
        return top + _TALL * (1 - (math.log10(max(value, 1)) - low) / (high - low))

    parts = [svg.text(8, 18, title, "head")]
    for power in range(low, high + 1):
        parts.append(svg.line(left, y(10**power), left + width, y(10**power), "grid"))
        words = svg.milliseconds(10**power)
        parts.append(svg.text(left - 5, y(10**power) + 4, words, "minor", "end"))
    for percent in (50.0, 90.0, 99.0, 99.9, 99.99):
        parts.append(svg.line(x(percent), top, x(percent), top + _TALL, "grid"))
        parts.append(svg.text(x(percent), top + _TALL + 16, f"p{percent:g}", "minor", "middle"))
    for series, (name, curve) in enumerate(curves.items()):
        parts.append(svg.polyline([(x(percent), y(value)) for percent, value in curve], series))
        parts += _legend(series, name, named[name])
    told = "; ".join(f"{name}: {_words(one)}" for name, one in named.items())
    return svg.document(title, told, top + _TALL + 28, parts)


def histogram(distribution: Distribution, title: str) -> str:
    """How often each latency was, on a logarithmic axis, with p50 and p99 marked.

    ValueError for an empty distribution.
    """
    _check({title: distribution})
    bars = _bars(distribution)
    first, last = min(bars), max(bars) + 1
    top, left, tall = _TOP + 34, svg.LEFT, 150
    width = svg.WIDTH - left - svg.RIGHT
    share = {bar: 100 * many / distribution.count for bar, many in bars.items()}
    levels = svg.ticks(max(share.values()), 4)

    def x(value_us: float) -> float:
        at = math.log2(max(value_us, 1)) * _BARS_PER_OCTAVE
        return left + width * (at - first) / (last - first)

    parts = [svg.text(8, 18, title, "head")]
    for level in levels:
        y = top + tall * (1 - level / levels[-1])
        parts.append(svg.line(left, y, left + width, y, "grid"))
        parts.append(svg.text(left - 5, y + 4, f"{level:g}%", "minor", "end"))
    bar_width = width / (last - first)
    for bar, percent in sorted(share.items()):
        high = tall * percent / levels[-1]
        at = left + (bar - first) * bar_width
        parts.append(svg.rect(at, top + tall - high, max(bar_width - 0.6, 0.6), high, "ok"))
    parts.append(svg.line(left, top + tall, left + width, top + tall, "axis"))
    parts += _latency_axis(first, last, left, top + tall, width)
    for row, percent in enumerate((50.0, 99.0)):
        value = distribution.percentile_us(percent)
        at, y = x(value), _TOP + 4 + 14 * row
        parts.append(svg.line(at, y - 8, at, top + tall, "mark"))
        anchor, shift = ("end", -4) if at > left + width / 2 else ("start", 4)
        words = f"p{percent:g} {svg.milliseconds(value)}"
        parts.append(svg.text(at + shift, y, words, "note", anchor))
    return svg.document(title, _words(distribution), top + tall + 28, parts)


# ---- panels of the timeline


def _due_panel(seconds: Sequence[Second], top: float, scale: float) -> list[str]:
    parts, levels = _panel("due per second", max(one.due for one in seconds), top, svg.short)
    parts += _key(top, [("unsent", "unsent"), ("failed", "bad"), ("right", "ok")])
    for one in seconds:
        unsent = one.ends.get(Outcome.UNSENT, 0)
        failed = one.due - one.ok - unsent
        parts += _stack(
            one.second,
            top,
            scale,
            levels[-1],
            [(one.ok, "ok"), (failed, "bad"), (unsent, "unsent")],
        )
    return parts


def _failed_panel(seconds: Sequence[Second], top: float, scale: float) -> list[str]:
    failed = [one.due - one.ok - one.ends.get(Outcome.UNSENT, 0) for one in seconds]
    parts, levels = _panel("failed per second", max(failed), top, svg.short)
    for one, many in zip(seconds, failed, strict=True):
        parts += _stack(one.second, top, scale, levels[-1], [(many, "bad")])
    kinds = sorted({name for one in seconds for name in one.ends} - {Outcome.OK, Outcome.UNSENT})
    words = ", ".join(kinds) if kinds else "none"
    parts.append(svg.text(svg.WIDTH - svg.RIGHT, top - 12, words, "minor", "end"))
    return parts


def _p99_panel(seconds: Sequence[Second], top: float, scale: float) -> list[str]:
    most = max((one.latency_us.get("p99", 0) for one in seconds), default=0)
    parts, levels = _panel("p99 of right answers", most, top, svg.milliseconds)
    run: list[tuple[float, float]] = []
    runs = [run]
    for one in seconds:
        if "p99" in one.latency_us:
            y = top + _PANEL * (1 - one.latency_us["p99"] / levels[-1])
            run.append((svg.LEFT + (one.second + 0.5) * scale, y))
        elif run:  # a second without a right answer is a gap, not a line through it
            runs.append(run := [])
    return parts + [svg.polyline(points, 0) for points in runs if points]


def _panel(name: str, most: float, top: float, words: object) -> tuple[list[str], list[float]]:
    assert callable(words)
    levels = svg.ticks(most, 3)
    parts = [svg.text(8, top - 12, name)]
    for level in levels:
        y = top + _PANEL * (1 - level / levels[-1])
        parts.append(svg.line(svg.LEFT, y, svg.WIDTH - svg.RIGHT, y, "grid" if level else "axis"))
        parts.append(svg.text(svg.LEFT - 5, y + 4, words(level) if level else "0", "minor", "end"))
    return parts, levels


def _stack(
    second: int, top: float, scale: float, most: float, layers: Sequence[tuple[int, str]]
) -> list[str]:
    parts, y = [], top + _PANEL
    for many, kind in layers:
        if many:
            high = max(_PANEL * many / most, _VISIBLE if kind == "bad" else 0)
            y -= high
            gap = min(1.0, scale / 5)
            parts.append(svg.rect(svg.LEFT + second * scale, y, scale - gap, high, kind))
    return parts


def _key(top: float, kinds: Sequence[tuple[str, str]]) -> list[str]:
    parts, x = [], float(svg.WIDTH - svg.RIGHT)
    for words, kind in kinds:
        parts.append(svg.text(x, top - 12, words, "minor", "end"))
        x -= 7.2 * len(words) + 14
        parts.append(svg.rect(x, top - 21, 10, 10, kind))
        x -= 8
    return parts


def _second_axis(count: int, bottom: float, scale: float) -> list[str]:
    parts = []
    for at_s in svg.ticks(count, _SECOND_TICKS):
        if at_s <= count:
            x = svg.LEFT + at_s * scale
            parts.append(svg.line(x, bottom, x, bottom + 4, "axis"))
            parts.append(svg.text(x, bottom + 17, f"{at_s:g}", "minor", "middle"))
    words = "seconds since the start"
    parts.append(svg.text(svg.WIDTH - svg.RIGHT, bottom + 31, words, "minor", "end"))
    return parts


def _mark(mark: Mark, top: float, bottom: float, scale: float) -> list[str]:
    x = min(svg.LEFT + mark.at_s * scale, float(svg.WIDTH - svg.RIGHT))
    anchor, shift = ("end", -4) if x > svg.WIDTH / 2 else ("start", 4)
    words = f"{mark.label}, {mark.at_s:.1f} s"
    return [
        svg.line(x, top + 2, x, bottom, "mark"),
        svg.text(x + shift, top + 11, words, "note", anchor),
    ]


# ---- parts of the latency plots


def _check(named: Mapping[str, Distribution]) -> None:
    if not 1 <= len(named) <= svg.SERIES_MAX:
        raise ValueError(f"{len(named)} distributions: 1 to {svg.SERIES_MAX} can be told apart")
    for name, one in named.items():
        if not one.count:
            raise ValueError(f"{name} has no values to show")


def _curve(distribution: Distribution) -> list[tuple[float, float]]:
    """Percentiles up to the last one that is not simply the maximum; at least the median."""
    known = [p for p in _CURVE if distribution.count * (100 - p) / 100 >= 1 - 1e-9]
    return [(p, float(distribution.percentile_us(p))) for p in known or _CURVE[:1]]


def _nines(percent: float) -> float:
    return -math.log10(1 - percent / 100)


def _decades(low: float, high: float) -> tuple[int, int]:
    first = math.floor(math.log10(max(low, 1)))
    return first, max(first + 1, math.ceil(math.log10(max(high, 1))))


def _legend(series: int, name: str, distribution: Distribution) -> list[str]:
    most = svg.milliseconds(distribution.max_us)
    return _key_line(series, f"{name} ({svg.short(distribution.count)} values, max {most})")


def _key_line(series: int, words: str) -> list[str]:
    y = _TOP + 6 + 16 * series
    return [svg.polyline([(10, y - 4), (40, y - 4)], series), svg.text(46, y, words)]


def _bars(distribution: Distribution) -> dict[int, int]:
    bars: dict[int, int] = {}
    for bucket, many in distribution.buckets:
        low, high = bucket_range_us(bucket)
        bar = math.floor(math.log2(max((low + high) / 2, 1)) * _BARS_PER_OCTAVE)
        bars[bar] = bars.get(bar, 0) + many
    return bars


def _latency_axis(first: int, last: int, left: float, y: float, width: float) -> list[str]:
    parts, before = [], -math.inf
    values = [factor * 10**power for power in range(11) for factor in (1, 2, 5)]
    for value in values:
        at = math.log2(value) * _BARS_PER_OCTAVE
        x = left + width * (at - first) / (last - first)
        if first <= at <= last and x - before >= 48:
            parts.append(svg.line(x, y, x, y + 4, "axis"))
            parts.append(svg.text(x, y + 17, svg.milliseconds(value), "minor", "middle"))
            before = x
    return parts


def _words(distribution: Distribution) -> str:
    figures = distribution.summary_us()
    told = ", ".join(f"{name} {svg.milliseconds(value)}" for name, value in figures.items())
    return f"{distribution.count} values: {told}"
