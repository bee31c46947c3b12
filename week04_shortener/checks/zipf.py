"""Popularity as it is on the web: the link of rank r is asked for in proportion to 1 / r."""

from __future__ import annotations

from bisect import bisect
from itertools import accumulate
from random import Random


class Zipf:
    """Ranks 0 to `size` - 1 (Breslau et al., "Web Caching and Zipf-like Distributions", 1999)."""

    def __init__(self, size: int, exponent: float = 1.0) -> None:
        self._sums: list[float] = list(accumulate(rank**-exponent for rank in range(1, size + 1)))

    def pick(self, random: Random) -> int:
        """A rank, the lower the likelier."""
        return bisect(self._sums, random.random() * self._sums[-1], hi=len(self._sums) - 1)

    def share_of_first(self, ranks: int) -> float:
        """The part of all requests that goes to the first `ranks`."""
        return float(self._sums[min(ranks, len(self._sums)) - 1] / self._sums[-1])
