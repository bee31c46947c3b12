"""Token bucket, sliding window and fixed window: pure, exact, in whole microseconds.

All three answer the same question, may this caller take `cost` more now, and remember different
things for it:

=============== ============================ ================================================
policy          remembers, of each caller    lets through, at most
=============== ============================ ================================================
TokenBucket     one number                   `burst` at once, then one each `interval_us`
SlidingWindow   a time for each take, up to  `quota` in *any* stretch of `window_us`
                `quota` of them
FixedWindow     a count                      `quota` in each window by the clock, and so twice
                                             that across the edge between two
=============== ============================ ================================================

The sliding window is the exact one, a log of the takes. What it costs is memory: with 10,000 in
the window that is 10,000 times per caller, where the well-known approximation by two counters
would need two numbers, and lets through too much or too little when the takes are unevenly spread.

Times are integers, microseconds of any one clock. Nothing is divided and added up again, so nothing
drifts: a caller who takes a token the moment it is there gets exactly the rate.
"""

import re
from collections import deque
from dataclasses import dataclass
from typing import Final, Protocol

SECOND_US: Final = 1_000_000
MAX_SPAN_US: Final = 31 * 86_400 * SECOND_US
MAX_QUOTA: Final = 1_000_000
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,31}")


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a take was allowed, and how things stand after it.

    `remaining` is what could be taken now. `reset_us` is the time until more than that can be, 0
    when all can. `retry_us` is the earliest time at which the refused take could be allowed, 0
    when it was; another caller of the same name may be quicker.
    """

    allowed: bool
    remaining: int
    reset_us: int
    retry_us: int


class State(Protocol):
    """What is remembered of one caller."""

    def take(self, now_us: int, cost: int = 1) -> Decision:
        """Take `cost` at `now_us`, all or nothing; a refused take changes nothing."""
        ...


@dataclass(frozen=True, slots=True)
class TokenBucket:
    """`burst` tokens to begin with, and one more each `interval_us` while there are fewer.

    The size of a burst and the rate that can be kept up are chosen apart from each other, and a
    caller is a single number: the cheapest of the three.
    """

    name: str
    burst: int
    interval_us: int

    def __post_init__(self) -> None:
        _check(self.name, self.burst, self.burst * self.interval_us)

    @classmethod
    def per_second(cls, name: str, burst: int, rate: float) -> "TokenBucket":
        """At most `rate` tokens each second: the time between two is rounded up to whole µs."""
        return cls(name, burst, max(1, -int(-SECOND_US // rate)))

    @property
    def quota(self) -> int:
        """The most that can be taken at once."""
        return self.burst

    @property
    def window_us(self) -> int:
        """How long an empty bucket takes to fill."""
        return self.burst * self.interval_us

    def begin(self) -> "Bucket":
        """A full bucket."""
        return Bucket(self)


class Bucket:
    """The moment at which the bucket will be full again says all of a bucket.

    It lacks a token for each `interval_us` until then, begun ones included. A take moves that
    moment on; it is refused when the bucket would then lack more than it holds. (The same thing,
    seen from the other side, is the generic cell rate algorithm, ITU-T I.371.)
    """

    def __init__(self, policy: TokenBucket) -> None:
        self._policy = policy
        self._full_at_us = 0

    def take(self, now_us: int, cost: int = 1) -> Decision:
        interval_us, capacity_us = self._policy.interval_us, self._policy.window_us
        # It cannot lack more than it holds, unless the clock was set back: then it is empty now.
        full_at_us = max(now_us, min(self._full_at_us, now_us + capacity_us))
        wait_us = full_at_us + cost * interval_us - now_us - capacity_us
        if wait_us <= 0:
            full_at_us += cost * interval_us
        if wait_us <= 0 or self._full_at_us > full_at_us:
            self._full_at_us = full_at_us
        lacking_us = full_at_us - now_us
        return Decision(
            allowed=wait_us <= 0,
            remaining=(capacity_us - lacking_us) // interval_us,
            reset_us=(lacking_us - 1) % interval_us + 1 if lacking_us else 0,
            retry_us=max(0, wait_us),
        )


@dataclass(frozen=True, slots=True)
class SlidingWindow:
    """`quota` in any stretch of `window_us`, wherever it begins.

    Exact at the edge: a take counts until `window_us` after it, to the microsecond.
    """

    name: str
    quota: int
    window_us: int

    def __post_init__(self) -> None:
        _check(self.name, self.quota, self.window_us)

    def begin(self) -> "Log":
        """An empty log."""
        return Log(self)


class Log:
    """The times of the takes that still count, oldest first."""

    def __init__(self, policy: SlidingWindow) -> None:
        self._policy = policy
        self._taken_us: deque[int] = deque()

    def take(self, now_us: int, cost: int = 1) -> Decision:
        log, quota, window_us = self._taken_us, self._policy.quota, self._policy.window_us
        if log and log[-1] > now_us:
            # The clock was set back. By less than a window: time stands still until it is there
            # again. By more: nobody is locked out for hours over it, the log begins anew.
            if log[-1] - now_us >= window_us:
                log.clear()
            else:
                now_us = log[-1]
        while log and log[0] <= now_us - window_us:
            log.popleft()
        surplus = len(log) + cost - quota
        if surplus <= 0:
            log.extend([now_us] * cost)
        return Decision(
            allowed=surplus <= 0,
            remaining=quota - len(log),
            reset_us=log[0] + window_us - now_us if log else 0,
            retry_us=log[surplus - 1] + window_us - now_us if surplus > 0 else 0,
        )


@dataclass(frozen=True, slots=True)
class FixedWindow:
    """`quota` in each window by the clock: the control that shows what the sliding window is for.

    Whoever takes all at the end of one window and all at the beginning of the next has twice the
    quota within a moment.
    """

    name: str
    quota: int
    window_us: int

    def __post_init__(self) -> None:
        _check(self.name, self.quota, self.window_us)

    def begin(self) -> "Count":
        """Nothing taken."""
        return Count(self)


class Count:
    """How many were taken in which window."""

    def __init__(self, policy: FixedWindow) -> None:
        self._policy = policy
        self._window = -1
        self._taken = 0

    def take(self, now_us: int, cost: int = 1) -> Decision:
        quota, window_us = self._policy.quota, self._policy.window_us
        if now_us // window_us != self._window:
            self._window, self._taken = now_us // window_us, 0
        allowed = self._taken + cost <= quota
        if allowed:
            self._taken += cost
        left_us = window_us - now_us % window_us
        return Decision(
            allowed=allowed,
            remaining=quota - self._taken,
            reset_us=left_us if self._taken else 0,
            retry_us=0 if allowed else left_us,
        )


Policy = TokenBucket | SlidingWindow | FixedWindow


def check_cost(policy: Policy, cost: int) -> None:
    """`ValueError` for a cost that the policy could never allow, however long one waits."""
    if not 1 <= cost <= policy.quota:
        raise ValueError(f"{cost} can never be taken of {policy.name}: 1 to {policy.quota} can")


def _check(name: str, quota: int, span_us: int) -> None:
    """Names stand in headers and keys; spans and times must be exact in Lua's numbers, 2**53."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a policy: a-z, 0-9 and hyphens, up to 32")
    if not 1 <= quota <= MAX_QUOTA:
        raise ValueError(f"{name}: a quota of {quota} is not within 1 to {MAX_QUOTA}")
    if not 1 <= span_us <= MAX_SPAN_US:
        raise ValueError(f"{name}: {span_us} µs is not within 1 µs to 31 days")
