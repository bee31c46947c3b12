"""Latencies in a log-linear histogram: three significant digits from a microsecond to an hour.

The layout is HdrHistogram's with three digits: values up to 2047 have a bucket each; from there on
each power of two is cut into 1024 buckets, so a bucket is never wider than 1/1024 of its values.
Only buckets that were hit take memory. (G. Tene, HdrHistogram. The package of that name gives the
same figures, costs twice the time for each value, and brings setuptools and pbr along.)
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

_BITS: Final = 10
_STEPS: Final = 1 << _BITS
_EXACT: Final = 2 * _STEPS
MAX_US: Final = 3_600_000_000
"""Longer than any time limit of the client; more is counted as this much."""

PERCENTILES: Final = (50.0, 90.0, 99.0, 99.9)


@dataclass(frozen=True)
class Distribution:
    """A finished histogram of microseconds.

    Attributes:
        count: how many values.
        min_us, max_us, sum_us: of the values themselves, not of their buckets.
        buckets: (bucket, how many) in ascending order; only those that were hit.
    """

    count: int
    min_us: int
    max_us: int
    sum_us: int
    buckets: tuple[tuple[int, int], ...]

    @property
    def mean_us(self) -> float:
        """The mean; NaN without values."""
        return self.sum_us / self.count if self.count else math.nan

    def percentile_us(self, percent: float) -> int:
        """The smallest value that at least `percent` of all values do not exceed (nearest rank).

        It is the upper end of its bucket, so never flatters, and never above the true maximum.
        ValueError without values or for a percentage outside of (0, 100].
        """
        if not 0 < percent <= 100:
            raise ValueError(f"{percent} is not a percentage above 0 and up to 100")
        if not self.count:
            raise ValueError("there are no values")
        # Exact: 0.999 * 1000 in floating point is above 999, which would be the next rank.
        rank = math.ceil(Fraction(str(percent)) * self.count / 100)
        seen = 0
        for bucket, many in self.buckets:
            seen += many
            if seen >= rank:
                return min(bucket_range_us(bucket)[1], self.max_us)
        raise AssertionError("the buckets hold fewer values than were counted")

    def summary_us(self) -> dict[str, int]:
        """p50, p90, p99, p99.9 and max; empty without values."""
        if not self.count:
            return {}
        figures = {f"p{percent:g}": self.percentile_us(percent) for percent in PERCENTILES}
        return figures | {"max": self.max_us}

    def to_json(self) -> dict[str, Any]:
        """Everything, for `json.dumps`; `from_json` takes it back."""
        return {
            "unit": "us",
            "layout": f"log-linear, {_STEPS} buckets per power of two, {_EXACT} exact",
            "count": self.count,
            "min": self.min_us,
            "max": self.max_us,
            "sum": self.sum_us,
            "percentiles": self.summary_us(),
            "buckets": [list(pair) for pair in self.buckets],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Distribution:
        """What `to_json` gave. KeyError or TypeError for anything else."""
        pairs = tuple((bucket, many) for bucket, many in data["buckets"])
        return cls(data["count"], data["min"], data["max"], data["sum"], pairs)


class Histogram:
    """Counts values while a run goes on."""

    __slots__ = ("_buckets", "_count", "_max", "_min", "_sum")

    def __init__(self) -> None:
        self._buckets: dict[int, int] = {}
        self._count = self._sum = self._max = 0
        self._min = MAX_US

    def record_s(self, seconds: float) -> None:
        """Count one duration; below 0 (clocks are read at different moments) counts as 0."""
        value = int(seconds * 1e6)
        value = 0 if value < 0 else min(value, MAX_US)
        index = bucket_of(value)
        self._buckets[index] = self._buckets.get(index, 0) + 1
        self._count += 1
        self._sum += value
        if value > self._max:
            self._max = value
        if value < self._min:
            self._min = value

    def done(self) -> Distribution:
        """What was counted so far."""
        pairs = tuple(sorted(self._buckets.items()))
        return Distribution(
            self._count, self._min if self._count else 0, self._max, self._sum, pairs
        )


def merged(parts: Iterable[Distribution]) -> Distribution:
    """One distribution of the values of all `parts`."""
    buckets: dict[int, int] = {}
    kept = [part for part in parts if part.count]
    for part in kept:
        for bucket, many in part.buckets:
            buckets[bucket] = buckets.get(bucket, 0) + many
    return Distribution(
        sum(part.count for part in kept),
        min((part.min_us for part in kept), default=0),
        max((part.max_us for part in kept), default=0),
        sum(part.sum_us for part in kept),
        tuple(sorted(buckets.items())),
    )


def bucket_of(value_us: int) -> int:
    """The bucket of a value of 0 or more."""
    if value_us < _EXACT:
        return value_us
    shift = value_us.bit_length() - _BITS - 1
    return (shift << _BITS) + (value_us >> shift)


def bucket_range_us(bucket: int) -> tuple[int, int]:
    """Lowest and highest value that `bucket` counts."""
    if bucket < _EXACT:
        return bucket, bucket
    shift = (bucket >> _BITS) - 1
    low = (bucket - (shift << _BITS)) << shift
    return low, low + (1 << shift) - 1
