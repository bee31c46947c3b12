"""What a toxic does to one direction of one connection: pure, with the time given from outside.

Kinds, attributes and meaning are Toxiproxy 2.12's (its README, "Toxics"). A stage takes items in,
says when its first one may leave, and lets it go then; `chain.py` joins stages, `relay.py` does
the I/O. Times are seconds of a monotonic clock.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

KB = 1000
"""Toxiproxy's kilobyte: its rate is bytes per millisecond."""
PIECE_MS = 100
"""A slow link passes data on in pieces of this duration."""

CAPACITY_BYTES = 64 * 1024
"""Held by a stage before its sender is stopped: a slow link must be felt by who writes to it."""
DELAY_CAPACITY_BYTES = 8 * 1024 * 1024
"""The same for a delay, which must not become a limit of the rate (40 MB/s at 200 ms)."""


class End(Enum):
    """How one direction of a connection ends."""

    FIN = "fin"
    """The sender has said all; the other direction goes on."""
    CLOSE = "close"
    """A toxic closes the connection, both directions."""
    RESET = "reset"
    """Both ends see RST."""


Item = bytes | End


class Stage:
    """Passes everything on at once; the base of the other kinds.

    Attributes:
        capacity_bytes: from here on `has_room` says no; what still comes is taken all the same.
    """

    capacity_bytes = CAPACITY_BYTES

    def __init__(self) -> None:
        self._waiting: deque[tuple[Item, float]] = deque()
        self._held_bytes = 0
        self._ended = False

    @property
    def has_room(self) -> bool:
        return self._held_bytes < self.capacity_bytes

    def push(self, item: Item, now: float) -> None:
        """Take `item`, which arrived at `now`; what comes after an End is nothing any more."""
        if self._ended:
            return
        if isinstance(item, End):
            self._end(item, now)
        else:
            self._data(item, now)

    def pop(self, now: float) -> Item | None:
        """The next item, if it is time for it."""
        if not self._waiting or self._waiting[0][1] > now:
            return None
        item, _ = self._waiting.popleft()
        if isinstance(item, bytes):
            self._held_bytes -= len(item)
        return item

    def due(self) -> float | None:
        """When `pop` will have something; None if nothing but new input can change that."""
        if not self._waiting or math.isinf(self._waiting[0][1]):
            return None
        return self._waiting[0][1]

    def flush(self) -> list[Item]:
        """The toxic is removed: everything held, in order, at once."""
        items = [item for item, _ in self._waiting]
        self._waiting.clear()
        self._held_bytes = 0
        return items

    def carry(self, before: Stage) -> None:
        """Take over what the stage before this one, of the same toxic, must not forget."""

    def _data(self, data: bytes, now: float) -> None:
        self._hold(data, now)

    def _end(self, end: End, now: float) -> None:
        self._hold(end, now)

    def _hold(self, item: Item, due: float) -> None:
        if isinstance(item, End):
            self._ended = True
        else:
            self._held_bytes += len(item)
        last = self._waiting[-1][1] if self._waiting else due
        self._waiting.append((item, max(due, last)))  # nothing overtakes


class Latency(Stage):
    """`latency` +/- `jitter` ms for each chunk; order is kept."""

    capacity_bytes = DELAY_CAPACITY_BYTES

    def __init__(self, latency_ms: int, jitter_ms: int, rng: random.Random) -> None:
        super().__init__()
        self._latency_ms = latency_ms
        self._jitter_ms = jitter_ms
        self._rng = rng

    def _data(self, data: bytes, now: float) -> None:
        jitter_ms = self._rng.uniform(-self._jitter_ms, self._jitter_ms) if self._jitter_ms else 0.0
        self._hold(data, now + max(0.0, self._latency_ms + jitter_ms) / 1000)


class Bandwidth(Stage):
    """At most `rate` KB/s; nothing at all at 0."""

    def __init__(self, rate_kb_s: int) -> None:
        super().__init__()
        self._rate_bytes_s = rate_kb_s * KB
        self._free_at = -math.inf

    def _data(self, data: bytes, now: float) -> None:
        if not self._rate_bytes_s:
            self._hold(data, math.inf)
            return
        size = self._rate_bytes_s * PIECE_MS // 1000
        for start in range(0, len(data), size):
            piece = data[start : start + size]
            self._free_at = max(self._free_at, now) + len(piece) / self._rate_bytes_s
            self._hold(piece, self._free_at)


class SlowClose(Stage):
    """The end waits `delay` ms."""

    def __init__(self, delay_ms: int) -> None:
        super().__init__()
        self._delay_s = delay_ms / 1000

    def _end(self, end: End, now: float) -> None:
        self._hold(end, now + self._delay_s)


class Timeout(Stage):
    """Data is dropped; `timeout` ms after the last of it the connection is closed, at 0 never.

    What was dropped cannot come back, so removing the toxic closes the connection too.
    """

    def __init__(self, timeout_ms: int, now: float) -> None:
        super().__init__()
        self._timeout_s = timeout_ms / 1000 if timeout_ms else math.inf
        self._close_at = now + self._timeout_s

    def _data(self, data: bytes, now: float) -> None:
        self._close_at = now + self._timeout_s

    def pop(self, now: float) -> Item | None:
        if not self._ended and now >= self._close_at:
            self._hold(End.CLOSE, now)
        return super().pop(now)

    def due(self) -> float | None:
        if self._ended or math.isinf(self._close_at):
            return super().due()
        return self._close_at

    def flush(self) -> list[Item]:
        return super().flush() or [End.CLOSE]


class ResetPeer(Stage):
    """The first thing said, be it an end, resets the connection `timeout` ms later."""

    def __init__(self, timeout_ms: int) -> None:
        super().__init__()
        self._timeout_s = timeout_ms / 1000

    def _data(self, data: bytes, now: float) -> None:
        self._hold(End.RESET, now + self._timeout_s)

    def _end(self, end: End, now: float) -> None:
        self._hold(End.RESET, now + self._timeout_s)


class Slicer(Stage):
    """Pieces of `average_size` +/- `size_variation` bytes, `delay` microseconds between them."""

    def __init__(self, average: int, variation: int, delay_us: int, rng: random.Random) -> None:
        super().__init__()
        self._average = average
        self._variation = variation
        self._delay_s = delay_us / 1_000_000
        self._rng = rng
        self._free_at = -math.inf

    def _data(self, data: bytes, now: float) -> None:
        start = 0
        while start < len(data):
            size = self._average + self._rng.randint(-self._variation, self._variation)
            self._free_at = max(self._free_at, now)
            self._hold(data[start : start + size], self._free_at)
            self._free_at += self._delay_s
            start += size


class LimitData(Stage):
    """`bytes` bytes pass, then the connection is closed."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__()
        self._limit_bytes = limit_bytes
        self._passed_bytes = 0

    def carry(self, before: Stage) -> None:
        if isinstance(before, LimitData):
            self._passed_bytes = before._passed_bytes

    def _data(self, data: bytes, now: float) -> None:
        passed = data[: max(0, self._limit_bytes - self._passed_bytes)]
        self._passed_bytes += len(passed)
        if passed:
            self._hold(passed, now)
        if self._passed_bytes >= self._limit_bytes:
            self._hold(End.CLOSE, now)


@dataclass(frozen=True)
class Kind:
    """One type of toxic: its attributes with defaults, and how its stage is made.

    `make` takes the attributes, the time and the source of chance.
    """

    defaults: Mapping[str, int]
    make: Callable[[Mapping[str, int], float, random.Random], Stage]


KINDS: Mapping[str, Kind] = {
    "noop": Kind({}, lambda a, now, rng: Stage()),
    "latency": Kind(
        {"latency": 0, "jitter": 0}, lambda a, now, rng: Latency(a["latency"], a["jitter"], rng)
    ),
    "bandwidth": Kind({"rate": 0}, lambda a, now, rng: Bandwidth(a["rate"])),
    "slow_close": Kind({"delay": 0}, lambda a, now, rng: SlowClose(a["delay"])),
    "timeout": Kind({"timeout": 0}, lambda a, now, rng: Timeout(a["timeout"], now)),
    "reset_peer": Kind({"timeout": 0}, lambda a, now, rng: ResetPeer(a["timeout"])),
    "slicer": Kind(
        {"average_size": 0, "size_variation": 0, "delay": 0},
        lambda a, now, rng: Slicer(a["average_size"], a["size_variation"], a["delay"], rng),
    ),
    "limit_data": Kind({"bytes": 0}, lambda a, now, rng: LimitData(a["bytes"])),
}


def check(kind: str, attributes: Mapping[str, int]) -> None:
    """Raises ValueError for numbers that mean nothing (Toxiproxy takes them and misbehaves)."""
    for name, value in attributes.items():
        if value < 0:
            raise ValueError(f"{name} must not be negative")
    if kind == "slicer":
        if attributes["average_size"] < 1:
            raise ValueError("average_size must be at least 1")
        if attributes["size_variation"] >= attributes["average_size"]:
            raise ValueError("size_variation must be less than average_size")
