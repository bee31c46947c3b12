"""Counts what happens in a run. Pure: the shell tells it times, it reads no clock."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from benchmarks.client.histogram import Histogram
from benchmarks.client.outages import OutageTracker
from benchmarks.client.outcomes import FAULTS, Outcome
from benchmarks.client.results import Result, Second


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands.

    Attributes:
        elapsed_s: since second 0.
        due, ok, faults, unsent: requests so far.
        in_flight: begun and not ended.
    """

    elapsed_s: float
    due: int
    ok: int
    faults: int
    unsent: int
    in_flight: int


class _Second:
    __slots__ = ("answered", "due", "ends", "latency")

    def __init__(self) -> None:
        self.due = self.answered = 0
        self.ends: Counter[str] = Counter()
        self.latency = Histogram()


class Recorder:
    """All times are seconds since the start of the run."""

    def __init__(self) -> None:
        self._outcomes: Counter[Outcome] = Counter()
        self._failed_attempts: Counter[Outcome] = Counter()
        self._seconds: dict[int, _Second] = {}
        self._outages = OutageTracker()
        self._latency, self._service_time = Histogram(), Histogram()
        self._lateness, self._failure_time = Histogram(), Histogram()
        self._attempts = self._retries = self._recovered = self._body_bytes = 0
        self._last_begun_s = self._last_ended_s = 0.0
        self.due = 0
        self.unsent_definite = self.resets_on_reused = self.stray = self.connections_opened = 0

    def begun(self, due_s: float, now_s: float) -> None:
        """A request was begun for the first time."""
        self.due += 1
        self._last_begun_s = now_s
        self._lateness.record_s(now_s - due_s)
        self._second(due_s).due += 1

    def unsent(self, number: int, due_s: float, now_s: float) -> None:
        """An arrival was given up before it was sent."""
        self.due += 1
        self._last_begun_s = self._last_ended_s = now_s
        self._outcomes[Outcome.UNSENT] += 1
        second = self._second(due_s)
        second.due += 1
        second.ends[Outcome.UNSENT] += 1
        self._outages.ended(number, due_s, now_s, None)

    def attempt(self, outcome: Outcome, *, again: bool, body_bytes: int) -> None:
        """An attempt ended; `again` says that it was a retry."""
        self._attempts += 1
        self._body_bytes += body_bytes
        if again:
            self._retries += 1
        if outcome is not Outcome.OK:
            self._failed_attempts[outcome] += 1

    def ended(
        self,
        number: int,
        outcome: Outcome,
        *,
        due_s: float,
        sent_s: float,
        now_s: float,
        attempts: int,
    ) -> None:
        """A request ended for good; `sent_s` is when its last attempt was handed over."""
        self._outcomes[outcome] += 1
        self._last_ended_s = now_s
        second = self._second(due_s)
        second.ends[outcome] += 1
        if outcome is Outcome.OK:
            self._latency.record_s(now_s - due_s)
            self._service_time.record_s(now_s - sent_s)
            second.latency.record_s(now_s - due_s)
            self._second(now_s).answered += 1
            if attempts > 1:
                self._recovered += 1
            self._outages.ended(number, due_s, now_s, True)
        else:
            self._failure_time.record_s(now_s - due_s)
            self._outages.ended(number, due_s, now_s, False if outcome in FAULTS else None)

    def progress(self, now_s: float) -> Progress:
        """Where the run stands."""
        faults = sum(many for outcome, many in self._outcomes.items() if outcome in FAULTS)
        return Progress(
            elapsed_s=now_s,
            due=self.due,
            ok=self._outcomes[Outcome.OK],
            faults=faults,
            unsent=self._outcomes[Outcome.UNSENT],
            in_flight=self.due - sum(self._outcomes.values()),
        )

    def result(
        self,
        *,
        target: str,
        plan: dict[str, Any],
        loop: str,
        started_at: str,
        started_monotonic_s: float,
        cpu_s: float,
        ended_by: str,
    ) -> Result:
        """Everything, once all requests have ended. Call it once."""
        outages = self._outages.finish(self._last_ended_s)
        rate = plan["rate_per_s"]
        # The last arrival stands for a whole interval: ten at 10/s are one second of sending.
        sending_s = max(self._last_begun_s, self.due / rate if rate else 0.0)
        return Result(
            target=target,
            plan=plan,
            loop=loop,
            started_at=started_at,
            started_monotonic_s=started_monotonic_s,
            sending_s=sending_s,
            elapsed_s=self._last_ended_s,
            due=self.due,
            outcomes={str(name): many for name, many in sorted(self._outcomes.items())},
            attempts=self._attempts,
            retries=self._retries,
            failed_attempts={str(n): many for n, many in sorted(self._failed_attempts.items())},
            recovered=self._recovered,
            unsent_definite=self.unsent_definite,
            resets_on_reused=self.resets_on_reused,
            stray=self.stray,
            connections_opened=self.connections_opened,
            body_bytes=self._body_bytes,
            latency=self._latency.done(),
            service_time=self._service_time.done(),
            lateness=self._lateness.done(),
            failure_time=self._failure_time.done(),
            outages=outages,
            outage_count=self._outages.count,
            outage_total_s=self._outages.total_s,
            timeline=self._timeline(),
            cpu_s=cpu_s,
            ended_by=ended_by,
        )

    def _second(self, at_s: float) -> _Second:
        number = int(at_s)
        found = self._seconds.get(number)
        if found is None:
            found = self._seconds[number] = _Second()
        return found

    def _timeline(self) -> tuple[Second, ...]:
        rows = []
        for number in range(max(self._seconds, default=-1) + 1):
            one = self._seconds.get(number) or _Second()
            ends = {str(name): many for name, many in sorted(one.ends.items())}
            latency = one.latency.done().summary_us()
            rows.append(Second(number, one.due, ends, one.answered, latency))
        return tuple(rows)
