"""One round against one contestant, and what every process of it used."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio
import psutil

from benchmarks.client import Request
from benchmarks.contest.loads import Load, closed, open_loop
from benchmarks.contest.results import Cell, Round
from benchmarks.contest.rounds import Depth, Say, interleaved
from infra.lab.engines.base import Engine
from infra.lab.errors import LabError
from week04_shortener.bench.stands import Contestant
from week04_shortener.checks.inside import drained
from week04_shortener.checks.stands import WEEK

CONNECTIONS = 100


@dataclass(frozen=True)
class Case:
    """One question to all contestants; without `rate_per_s` it is wrk's closed loop."""

    name: str
    says: str
    contestants: tuple[Contestant, ...]
    rate_per_s: int | None = None


@dataclass(frozen=True)
class Bench:
    """What a round needs: the running services, the requests, and the same for wrk."""

    engine: Engine
    requests: Sequence[Request]
    script: Path

    def measure(self, case: Case, depth: Depth, say: Say) -> list[Cell]:
        """All rounds of a case. Raises LabError where an answer was wrong."""
        rounds, seconds = depth.of(is_open=case.rate_per_s is not None)
        contestants = {
            one.name: functools.partial(self._round, case, one) for one in case.contestants
        }
        return interleaved(case.name, contestants, rounds, seconds, say)

    def _round(self, case: Case, contestant: Contestant, seconds: int) -> Round:
        services = {**contestant.serving, **contestant.behind}
        before = cpu_s(self.engine, services)
        load = self._load(case, contestant, seconds)
        answered = cpu_s(self.engine, services)
        if contestant.logs_clicks:
            anyio.run(drained, self.engine.site, WEEK)
        counted = cpu_s(self.engine, services)
        spent_s = {
            part: (answered if part in contestant.serving else counted)[part] - before[part]
            for part in services
        }
        parts_us = {part: spent * 1e6 / load.requests for part, spent in spent_s.items()}
        cpu_us = sum(parts_us[part] for part in contestant.serving)
        return Round(load.requests, load.per_s, cpu_us, load.client_busy, load.latency_us, parts_us)

    def _load(self, case: Case, contestant: Contestant, seconds: int) -> Load:
        url = self.engine.site.url(contestant.door)
        if case.rate_per_s is None:
            return closed(url, seconds=seconds, connections=CONNECTIONS, script=self.script)
        return open_loop(
            url,
            self.requests if contestant.behind else [Request(status=frozenset({302}))],
            rate_per_s=case.rate_per_s,
            seconds=seconds,
            connections=CONNECTIONS,
        )


def cpu_s(engine: Engine, parts: Mapping[str, tuple[str, ...]]) -> dict[str, float]:
    """Processor time so far of each part, with all processes of its services.

    LabError where one does not run.
    """
    pids = {row.name: row.pid for row in engine.status()}
    return {part: sum(_tree_s(name, pids[name]) for name in names) for part, names in parts.items()}


def _tree_s(name: str, pid: int | None) -> float:
    if pid is None:  # psutil would take that for this process
        raise LabError(f"{name} does not run any more: its log says why")
    process = psutil.Process(pid)
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    # A child that has ended is in its parent's time for children, PostgreSQL's backends are such.
    ended = times[0].children_user + times[0].children_system
    return sum(one.user + one.system for one in times) + ended
