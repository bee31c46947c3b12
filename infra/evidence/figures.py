"""What one run of a claim measured: named series of raw samples, one of them the figure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Summary = Literal["median", "lowest", "highest", "total", "p99"]
SUMMARIES: tuple[str, ...] = get_args(Summary)

SAMPLES_MAX = 100_000
"""Of one series: results are kept raw, and a file of them is read by people."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Samples of one run, as measured; nothing in it is rounded, left out or estimated.

    Args:
        unit: of the headline series, the same words as the claim's.
        headline: name of the series that is the claim's figure.
        samples: raw numbers by name; a series other than the headline ends in its unit
            (`latency_ms`). An empty one is not named at all.
        attempts: operations that the measurement itself counted, whatever became of them.
        seed: the `lab.seed` that the run used.
        summary: which number stands for the headline series in tables.
        notes: short lines for the report, for example how long a fault lasted.
    """

    unit: str
    headline: str
    samples: Mapping[str, Sequence[float]]
    attempts: int
    seed: int
    summary: Summary = "median"
    notes: Sequence[str] = field(default=())

    def __post_init__(self) -> None:
        # A copy: what a claim goes on doing with its lists is no part of the result.
        series = {name: tuple(samples) for name, samples in self.samples.items()}
        object.__setattr__(self, "samples", series)
        object.__setattr__(self, "notes", tuple(self.notes))

    def __getitem__(self, name: str) -> Sequence[float]:
        """The samples of one series. Raises KeyError for a series that was not measured."""
        return self.samples[name]

    @property
    def value(self) -> float:
        """The headline in one number. Raises ValueError when it has no samples."""
        return summarise(self.samples.get(self.headline, ()), self.summary)

    def flaws(self, unit: str, seed: int) -> list[str]:
        """Why these figures are no evidence for a claim in `unit` run with `seed`; [] when fit."""
        found = []
        if self.unit != unit:
            found.append(f"the figures are in {self.unit or 'no unit'!r}, the claim in {unit!r}")
        if self.attempts < 1:
            found.append(f"it counted {self.attempts} attempts")
        if self.headline not in self.samples:
            found.append(f"it has no samples of its headline {self.headline!r}")
        found += [f"{name!r} has no samples" for name, all_ in self.samples.items() if not all_]
        for name, samples in self.samples.items():
            if not all(_is_number(sample) for sample in samples):
                found.append(f"{name!r} has samples that are no finite numbers")
            if len(samples) > SAMPLES_MAX:
                found.append(f"{name!r} has more than {SAMPLES_MAX} samples")
        if self.summary not in SUMMARIES:
            found.append(f"its summary {self.summary!r} is none of {', '.join(SUMMARIES)}")
        if self.seed != seed:
            found.append(f"it used the seed {self.seed} in place of lab.seed, {seed}")
        return found

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON types."""
        return {
            "unit": self.unit,
            "headline": self.headline,
            "summary": self.summary,
            "attempts": self.attempts,
            "seed": self.seed,
            "notes": list(self.notes),
            "samples": {name: list(samples) for name, samples in self.samples.items()},
        }


def summarise(samples: Sequence[float], summary: str) -> float:
    """One number for a series. Raises ValueError for an empty series or an unknown summary."""
    if not samples:
        raise ValueError("no samples")
    match summary:
        case "median":
            return statistics.median(samples)
        case "lowest":
            return min(samples)
        case "highest":
            return max(samples)
        case "total":
            return math.fsum(samples)
        case "p99":
            return quantile(samples, 0.99)
    raise ValueError(f"no such summary: {summary}")


def quantile(samples: Sequence[float], share: float) -> float:
    """The smallest sample that at least `share` (0 to 1) of all do not exceed (nearest rank)."""
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def shown(number: float) -> str:
    """A figure for people: three significant digits, whole numbers whole."""
    if not math.isfinite(number):
        return str(number)
    if number == int(number) or abs(number) >= 1000:
        return f"{number:,.0f}"
    return f"{number:.3g}"


def _is_number(sample: object) -> bool:
    return isinstance(sample, int | float) and math.isfinite(sample)
