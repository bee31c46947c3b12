"""What the bench measured: raw rounds, to JSON and back, and the figures made of them. Pure."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.measurement import Environment


@dataclass(frozen=True)
class Round:
    """One run of a client against one server.

    Attributes:
        requests: right answers; a round with a wrong one is none.
        cpu_us: the server's processor time for each request, all its processes.
        client_busy: of one processor, how much the client used; near 1 it sets the rate.
        latency_us: percentiles by name; in a closed loop since sent, in an open one since due.
        parts_us: `cpu_us` by process, where there is more than one.
    """

    requests: int
    per_s: float
    cpu_us: float
    client_busy: float
    latency_us: dict[str, float]
    parts_us: dict[str, float] = field(default_factory=dict)

    @property
    def p50_ms(self) -> float:
        return self.latency_us["p50"] / 1000

    @property
    def p99_ms(self) -> float:
        return self.latency_us["p99"] / 1000


@dataclass(frozen=True)
class Cell:
    """One contestant in one case, all rounds."""

    case: str
    server: str
    rounds: tuple[Round, ...]

    def part(self, name: str) -> list[float]:
        """Processor time of one of its processes for each request, of all rounds."""
        return [one.parts_us[name] for one in self.rounds]

    @property
    def parts(self) -> tuple[str, ...]:
        """Its processes that were counted apart."""
        return tuple(self.rounds[0].parts_us) if self.rounds else ()

    def series(self, name: str) -> list[float]:
        """A field of all rounds, in their order."""
        return [float(getattr(one, name)) for one in self.rounds]


@dataclass(frozen=True)
class Idle:
    """What open connections cost a server's memory.

    Attributes:
        connections: that stood open after one request each.
        before_bytes, after_bytes: proportional set size of all its processes.
    """

    server: str
    connections: int
    before_bytes: int
    after_bytes: int

    @property
    def each_bytes(self) -> float:
        return (self.after_bytes - self.before_bytes) / self.connections


@dataclass(frozen=True)
class Bench:
    """A whole run.

    Attributes:
        quick: too short to be published.
        seconds: it took.
        parameters: what was set, in words.
        servers: name to what it is; in the order of all tables.
        versions: of servers and clients.
        cases: name to what is asked, in the order in which it was.
        open_loop: those of them in which the client sets the rate, so that latency is what counts.
    """

    environment: Environment
    quick: bool
    seconds: float
    parameters: dict[str, str]
    servers: dict[str, str]
    versions: dict[str, str]
    cases: dict[str, str]
    open_loop: tuple[str, ...]
    cells: tuple[Cell, ...]
    idle: tuple[Idle, ...] = ()

    def cell(self, case: str, server: str) -> Cell | None:
        """None where that server was not measured in that case."""
        found = [one for one in self.cells if (one.case, one.server) == (case, server)]
        return found[0] if found else None

    def of_case(self, case: str) -> list[Cell]:
        """In the order of the servers."""
        return [cell for name in self.servers if (cell := self.cell(case, name)) is not None]

    def ratios(self, cell: Cell, field: str, base: str) -> list[float]:
        """Of each round to another server's beside it: what both had to bear cancels out.

        [] where that server was not measured in this case, or used less processor time in a round
        than the kernel can tell.
        """
        other = self.cell(cell.case, base)
        if other is None:
            return []
        below = other.series(field)
        if not all(below):
            return []
        return [one / two for one, two in zip(cell.series(field), below, strict=True)]


def median(samples: Sequence[float]) -> float:
    return statistics.median(samples)


def to_text(bench: Bench) -> str:
    """The file that `from_text` takes back."""
    return json.dumps(asdict(bench), indent=1) + "\n"


def from_text(text: str) -> Bench:
    """Raises ValueError, KeyError or TypeError for anything but what `to_text` wrote."""
    data: dict[str, Any] = json.loads(text)
    cells = tuple(
        Cell(one["case"], one["server"], tuple(Round(**round_) for round_ in one["rounds"]))
        for one in data["cells"]
    )
    idle = tuple(Idle(**one) for one in data["idle"])
    environment = Environment(**data["environment"])
    made = {"environment": environment, "cells": cells, "idle": idle}
    return Bench(**{**data, **made, "open_loop": tuple(data["open_loop"])})
