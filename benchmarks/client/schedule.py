"""When requests are due, whatever the server does: the open loop's arrivals. Pure.

A closed loop waits for an answer before it asks again, so a server that stalls is asked less just
when it is slow, and the waiting of all who would have come is never measured (G. Tene,
"How NOT to Measure Latency": coordinated omission). Here arrivals are fixed beforehand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from functools import cached_property


class Step(Enum):
    """What to do with the next arrival."""

    SEND = "send"
    GIVE_UP = "give up"
    WAIT = "wait"
    """It is not due, or it is and there is no room yet."""
    OVER = "over"


@dataclass(frozen=True)
class Arrivals:
    """`rate_per_s` arrivals a second, evenly, for `seconds`; the first one at 0."""

    rate_per_s: float
    seconds: float

    @cached_property
    def count(self) -> int:
        """How many there are."""
        return math.ceil(round(self.rate_per_s * self.seconds, 9))

    def at_s(self, number: int) -> float:
        """When arrival `number` is due. Multiplied, not added up, so that no error builds up."""
        return number / self.rate_per_s

    def step(self, number: int, now_s: float, room: bool, give_up_s: float) -> Step:
        """What to do with arrival `number` now.

        Args:
            room: whether a connection is free.
            give_up_s: how late an arrival may be sent.
        """
        if number >= self.count:
            return Step.OVER
        late_s = now_s - self.at_s(number)
        if late_s < 0:
            return Step.WAIT
        if late_s > give_up_s:
            return Step.GIVE_UP
        return Step.SEND if room else Step.WAIT
