"""Runs locust without its web page and reads what it writes. For user journeys, closed loop.

The totals are read from its JSON. Its CSV files are written once a second and not once more at the
end: of a run of five seconds, the last of 197 requests that they know is the 175th. They serve for
the course of a run, and for what failed. See docs.locust.io, "Retrieve test statistics in CSV
format" and "Command line options".

locust is in the development environment alone (it brings gevent, Flask and 19 others): a missing
one is one line that says how to get it.
"""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from infra.lab.errors import LabError, MissingServerError, UsageError

USERS_MAX: Final = 1_000
SECONDS_MAX: Final = 600
AGGREGATED: Final = "Aggregated"
_PERCENTILES: Final = ("50", "90", "99", "99.9")
_STOP_S: Final = 5
_GRACE_S: Final = 30


@dataclass(frozen=True)
class Row:
    """One kind of request in one run; failures are among the requests and in the times.

    Attributes:
        percentiles_ms: of locust's own rounding: to 1 ms below 100, 10 ms below 1000, else 100 ms.
    """

    method: str
    name: str
    requests: int
    failures: int
    mean_ms: float
    min_ms: float
    max_ms: float
    percentiles_ms: dict[str, float]


@dataclass(frozen=True)
class Moment:
    """All requests at one moment, by locust's sliding averages of ten seconds."""

    at_unix_s: int
    users: int
    requests_per_s: float
    failures_per_s: float
    requests: int
    failures: int


@dataclass(frozen=True)
class Failure:
    """What failed, and how often until the CSV was written last."""

    method: str
    name: str
    error: str
    occurrences: int


@dataclass(frozen=True)
class LocustResult:
    """One run."""

    rows: tuple[Row, ...]
    course: tuple[Moment, ...]
    failures: tuple[Failure, ...]

    @property
    def requests(self) -> int:
        return sum(row.requests for row in self.rows)

    @property
    def failed(self) -> int:
        return sum(row.failures for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        """Everything, for `json.dumps`; `from_json` takes it back."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> LocustResult:
        """What `to_json` gave. KeyError or TypeError for anything else."""
        return cls(
            tuple(Row(**row) for row in data["rows"]),
            tuple(Moment(**moment) for moment in data["course"]),
            tuple(Failure(**failure) for failure in data["failures"]),
        )


def parse_totals(text: str) -> tuple[Row, ...]:
    """The rows of `--json-file`, by name. ValueError for anything else."""
    try:
        return tuple(
            sorted(
                (_total(one) for one in json.loads(text)), key=lambda row: (row.name, row.method)
            )
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"this is not locust's JSON: {error!r}") from error


def parse_stats(text: str) -> tuple[Row, ...]:
    """The rows of `PREFIX_stats.csv`, the aggregated one included. ValueError for anything else."""
    rows = []
    for line in _lines(text, "Request Count"):
        percentiles = {p: float(line[f"{p}%"]) for p in _PERCENTILES if line[f"{p}%"] != "N/A"}
        rows.append(
            Row(
                line["Type"],
                line["Name"],
                int(line["Request Count"]),
                int(line["Failure Count"]),
                float(line["Average Response Time"]),
                float(line["Min Response Time"]),
                float(line["Max Response Time"]),
                percentiles,
            )
        )
    return tuple(rows)


def parse_history(text: str) -> tuple[Moment, ...]:
    """The aggregated rows of `PREFIX_stats_history.csv`. ValueError for anything else."""
    return tuple(
        Moment(
            int(line["Timestamp"]),
            int(line["User Count"]),
            float(line["Requests/s"]),
            float(line["Failures/s"]),
            int(line["Total Request Count"]),
            int(line["Total Failure Count"]),
        )
        for line in _lines(text, "Total Request Count")
        if line["Name"] == AGGREGATED
    )


def parse_failures(text: str) -> tuple[Failure, ...]:
    """The rows of `PREFIX_failures.csv`. ValueError for anything else."""
    return tuple(
        Failure(line["Method"], line["Name"], line["Error"], int(line["Occurrences"]))
        for line in _lines(text, "Occurrences")
    )


def run(locustfile: Path, host: str, *, users: int, seconds: int) -> LocustResult:
    """Run `locustfile` against `host`, all users from the start, and wait for its end.

    Raises:
        UsageError: a value outside of its limits, or no such file.
        MissingServerError: locust is not on this machine.
        LabError: it ran and failed; says why in its words. Requests that fail are a result.
    """
    if not 1 <= users <= USERS_MAX or not 1 <= seconds <= SECONDS_MAX:
        raise UsageError(f"locust: 1 to {USERS_MAX} users, for 1 to {SECONDS_MAX} seconds, please")
    if not locustfile.is_file():
        raise UsageError(f"locust: there is no file {locustfile}")
    with tempfile.TemporaryDirectory(prefix="locust-") as folder:
        prefix = Path(folder) / "run"
        command = [str(program()), "-f", str(locustfile), "--headless", "--host", host]
        command += ["-u", str(users), "-r", str(users), "-t", f"{seconds}s"]
        command += ["--stop-timeout", str(_STOP_S), "--only-summary"]
        command += ["--csv", str(prefix), "--json-file", str(prefix)]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=seconds + _STOP_S + _GRACE_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise LabError(f"locust did not end {_GRACE_S} s after its time was over") from error
        # Its status is 1 also when all went well and a request failed: the files decide.
        totals = prefix.with_suffix(".json")
        if not totals.is_file():
            said = (done.stderr + done.stdout).strip().splitlines()
            reason = said[-1] if said else f"exit status {done.returncode}"
            raise LabError(f"locust {locustfile}: {reason}")
        return LocustResult(
            parse_totals(totals.read_text()),
            parse_history(Path(f"{prefix}_stats_history.csv").read_text()),
            parse_failures(Path(f"{prefix}_failures.csv").read_text()),
        )


def program() -> Path:
    """Where locust is. Raises MissingServerError, in one line that says how to get it."""
    beside = Path(sys.executable).parent / "locust"
    found = str(beside) if beside.is_file() else shutil.which("locust")
    if found is None:
        raise MissingServerError(
            "locust is not in this environment: `./lab --dev` before the command builds one with it"
        )
    return Path(found)


def _total(data: dict[str, Any]) -> Row:
    times = sorted((float(ms), int(many)) for ms, many in data["response_times"].items())
    requests = int(data["num_requests"])
    timed = sum(many for _, many in times)
    return Row(
        data["method"],
        data["name"],
        requests,
        int(data["num_failures"]),
        data["total_response_time"] / requests if requests else 0.0,
        float(data["min_response_time"] or 0),
        float(data["max_response_time"]),
        {percent: _rank(times, timed, percent) for percent in _PERCENTILES if timed},
    )


def _rank(times: list[tuple[float, int]], count: int, percent: str) -> float:
    """Nearest rank, with whole numbers: floating point would be off by one where it is exact."""
    wanted, seen = math.ceil(Fraction(percent) * count / 100), 0
    for ms, many in times:
        seen += many
        if seen >= wanted:
            return ms
    raise AssertionError("the times hold fewer requests than were counted")


def _lines(text: str, column: str) -> list[dict[str, str]]:
    reader = csv.DictReader(io.StringIO(text))
    if column not in (reader.fieldnames or ()):
        raise ValueError(f"this is not locust's CSV: no column {column!r}")
    return list(reader)
