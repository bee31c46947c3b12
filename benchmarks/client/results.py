"""What a run gave. Frozen, and to JSON and back. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.client.histogram import Distribution
from benchmarks.client.outages import Outage
from benchmarks.client.outcomes import FAULTS, Outcome


@dataclass(frozen=True, slots=True)
class Second:
    """The requests that were due in one second (sent in it, for the closed loop), and their ends.

    Attributes:
        second: counted from the start of the run.
        due: how many; all ends of theirs add up to it.
        ends: how many of them ended how; ok among them.
        answered: how many right answers came in this second, whenever they were due.
        latency_us: p50, p90, p99, p99.9 and max of the right answers to those due here.
    """

    second: int
    due: int
    ends: dict[str, int]
    answered: int
    latency_us: dict[str, int]

    @property
    def ok(self) -> int:
        return self.ends.get(Outcome.OK, 0)


@dataclass(frozen=True)
class Result:
    """One run of the client.

    Attributes:
        target: URL without a path.
        plan: the settings of the run.
        loop: event loop that carried it.
        started_at: wall clock, ISO 8601, UTC.
        started_monotonic_s: `time.monotonic()` at second 0, to place other events on the timeline.
        sending_s: from second 0 until the last request was begun or given up.
        elapsed_s: from second 0 until the last one ended.
        due: requests that were due; the values of `outcomes` add up to it.
        outcomes: how many requests ended how, each by its last attempt.
        attempts: requests on the wire or on their way to it, retries included.
        retries: attempts after the first.
        failed_attempts: attempts that failed, by outcome, also where a retry succeeded.
        recovered: requests that a retry turned into a right answer.
        unsent_definite: failed requests of which no byte was sent: certainly not carried out.
        resets_on_reused: resets on a connection that had served before. A server that closes idle
            connections causes some in any client (RFC 9112, section 9.3.1).
        stray: connections dropped because bytes came that nobody had asked for.
        connections_opened: connections that were made.
        body_bytes: of all complete answers.
        latency: right answers, from the time they were due (open) or sent (closed).
        service_time: right answers, from the moment the last attempt was handed to a connection.
        lateness: from the time a request was due until its first attempt began: what the client
            itself, or the lack of a free connection, added.
        failure_time: requests that failed, from the time they were due.
        outages: the longest of them, by start; how many there were and their sum count all.
        cpu_s: processor time of this whole process during the run.
        ended_by: why no more requests were begun: `time` was over, the limit of `requests` was
            reached, the `source` had no more, or a `stop` was asked for.
    """

    target: str
    plan: dict[str, Any]
    loop: str
    started_at: str
    started_monotonic_s: float
    sending_s: float
    elapsed_s: float
    due: int
    outcomes: dict[str, int]
    attempts: int
    retries: int
    failed_attempts: dict[str, int]
    recovered: int
    unsent_definite: int
    resets_on_reused: int
    stray: int
    connections_opened: int
    body_bytes: int
    latency: Distribution
    service_time: Distribution
    lateness: Distribution
    failure_time: Distribution
    outages: tuple[Outage, ...]
    outage_count: int
    outage_total_s: float
    timeline: tuple[Second, ...]
    cpu_s: float
    ended_by: str

    def count(self, outcome: Outcome) -> int:
        """How many requests ended so."""
        return self.outcomes.get(outcome, 0)

    @property
    def ok(self) -> int:
        """Right answers."""
        return self.count(Outcome.OK)

    @property
    def faults(self) -> int:
        """Requests that the server, or the way to it, failed."""
        return sum(many for name, many in self.outcomes.items() if Outcome(name) in FAULTS)

    @property
    def intended_per_s(self) -> float | None:
        """The arrival rate that was asked for; None in a closed loop."""
        rate: float | None = self.plan["rate_per_s"]
        return rate

    @property
    def sent_per_s(self) -> float:
        """Requests that were sent, per second of sending."""
        return _rate(self.due - self.count(Outcome.UNSENT), self.sending_s)

    @property
    def ok_per_s(self) -> float:
        """Right answers per second of the whole run."""
        return _rate(self.ok, self.elapsed_s)

    @property
    def cpu_us_per_attempt(self) -> float:
        """Processor time of this process for each attempt."""
        return _rate(self.cpu_s * 1e6, self.attempts)

    def to_json(self) -> dict[str, Any]:
        """Everything, for `json.dumps`; `from_json` takes it back."""
        histograms = ("latency", "service_time", "lateness", "failure_time")
        rates = {
            "intended_per_s": self.intended_per_s,
            "sent_per_s": self.sent_per_s,
            "ok_per_s": self.ok_per_s,
        }
        return asdict(self) | {name: getattr(self, name).to_json() for name in histograms} | rates

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Result:
        """What `to_json` gave. KeyError or TypeError for anything else."""
        fields = {name: data[name] for name in cls.__dataclass_fields__}
        for name in ("latency", "service_time", "lateness", "failure_time"):
            fields[name] = Distribution.from_json(data[name])
        fields["outages"] = tuple(Outage(**one) for one in data["outages"])
        fields["timeline"] = tuple(Second(**one) for one in data["timeline"])
        return cls(**fields)


def _rate(amount: float, per: float) -> float:
    return amount / per if per > 0 else 0.0
