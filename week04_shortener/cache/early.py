"""Early refresh: an entry is renewed before it ends, by chance, the likelier the nearer its end.

When a popular entry ends, all who ask at that moment miss at once. XFetch lets each who asks draw
lots on whether to renew it already: ``-cost * beta * ln(u)`` seconds ahead of the end, u uniform in
(0, 1]. That lead is distributed exponentially, so hardly anybody renews long before the end,
somebody nearly surely does shortly before it, and no one needs to know of the others.

A. Vattani, F. Chierichetti, K. Lowenstein, "Optimal Probabilistic Cache Stampede Prevention",
PVLDB 8(8), 2015: the algorithm of their figure 3, and why the exponential distribution is the best.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

HORIZON: Final = 5.0
"""Leads of more mean costs than this are not drawn: one draw in e^5, about 150, would be longer.
Below it nobody needs to draw at all, which keeps the dice off a path that counts microseconds."""

_DECAY: Final = 0.1
"""Share by which a cost goes down with each cheaper one."""


@dataclass(frozen=True)
class Early:
    """How early entries are renewed.

    `beta` is the paper's: 1 suits when a renewal's cost is all there is to go by, more is earlier,
    0 never renews. `random` returns floats in [0, 1).
    """

    beta: float
    random: Callable[[], float]

    def is_due(self, left_s: float, cost_s: float) -> bool:
        """Whether whoever asks now is to renew an entry that ends in `left_s` seconds.

        `cost_s` is the time a renewal takes, seconds.
        """
        if left_s > self.horizon_s(cost_s):
            return False
        # 1 - [0, 1) is (0, 1]: the logarithm is always there.
        return -cost_s * self.beta * math.log(1.0 - self.random()) > left_s

    def horizon_s(self, cost_s: float) -> float:
        """Seconds before its end from which on an entry may be due; 0 when never."""
        return HORIZON * cost_s * self.beta


class Cost:
    """What a renewal takes, seconds: up at once, down slowly, and at most `most_s`.

    A mean would be below the half of all renewals, and those are the ones that come too late.
    """

    def __init__(self, most_s: float) -> None:
        self._most_s = most_s
        self.value_s = 0.0

    def saw(self, took_s: float) -> None:
        """A renewal took `took_s`."""
        slower_s = self.value_s + _DECAY * (took_s - self.value_s)
        self.value_s = min(self._most_s, max(took_s, slower_s))
