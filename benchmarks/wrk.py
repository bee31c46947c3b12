"""Runs wrk and reads what it prints. For speed only: wrk is a closed loop and hides outages.

A request that wrk gives up as timed out is missing from its latencies, and while the server stalls
wrk asks nothing; `benchmarks.client` counts both. See github.com/wg/wrk, README and src/wrk.c.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from infra.lab.errors import LabError, MissingServerError, UsageError

SECONDS_MAX: Final = 600
THREADS_MAX: Final = 64
CONNECTIONS_MAX: Final = 10_000
_GRACE_S: Final = 15
_ERRORS: Final = r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)"

_TIME_US: Final = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 60e6, "h": 3600e6}
_BYTES: Final = {"B": 1.0, "KB": 2.0**10, "MB": 2.0**20, "GB": 2.0**30}


@dataclass(frozen=True)
class WrkResult:
    """One run of wrk, in its own words and rounded by it (three to four digits).

    Attributes:
        percentiles_us: from `--latency`; keys "50", "75", "90", "99".
        connect_errors, read_errors, write_errors: of sockets.
        timeouts: requests without an answer in wrk's time limit; in no latency.
        wrong_status: answers other than 2xx and 3xx; in the latencies and the rate.
    """

    seconds: float
    threads: int
    connections: int
    requests: int
    requests_per_s: float
    read_bytes: float
    latency_mean_us: float
    latency_stdev_us: float
    latency_max_us: float
    percentiles_us: dict[str, float]
    connect_errors: int = 0
    read_errors: int = 0
    write_errors: int = 0
    timeouts: int = 0
    wrong_status: int = 0

    @property
    def clean(self) -> bool:
        """wrk saw nothing go wrong."""
        errors = self.connect_errors + self.read_errors + self.write_errors
        return not (errors or self.timeouts or self.wrong_status)

    def to_json(self) -> dict[str, Any]:
        """Everything, for `json.dumps`; `from_json` takes it back."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> WrkResult:
        """What `to_json` gave. TypeError for anything else."""
        return cls(**data)


def parse(text: str) -> WrkResult:
    """What wrk printed at its end. ValueError for anything else."""
    shape = _find(r"(\d+) threads and (\d+) connections", text)
    mean, stdev, most = _find(r"Latency\s+(\S+)\s+(\S+)\s+(\S+)\s+\S+%", text)
    requests, time, read = _find(r"(\d+) requests in ([\d.]+\w+), ([\d.]+\w+) read", text)
    percentiles = re.findall(r"^\s+(\d+)%\s+(\S+)$", text, re.MULTILINE)
    errors = re.search(
        r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text
    )
    wrong = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    connect, reads, writes, timeouts = map(int, errors.groups()) if errors else (0, 0, 0, 0)
    return WrkResult(
        seconds=_scaled(time, _TIME_US) / 1e6,
        threads=int(shape[0]),
        connections=int(shape[1]),
        requests=int(requests),
        requests_per_s=float(_find(r"Requests/sec:\s+([\d.]+)", text)[0]),
        read_bytes=_scaled(read, _BYTES),
        latency_mean_us=_scaled(mean, _TIME_US),
        latency_stdev_us=_scaled(stdev, _TIME_US),
        latency_max_us=_scaled(most, _TIME_US),
        percentiles_us={percent: _scaled(value, _TIME_US) for percent, value in percentiles},
        connect_errors=connect,
        read_errors=reads,
        write_errors=writes,
        timeouts=timeouts,
        wrong_status=int(wrong[1]) if wrong else 0,
    )


def run(
    url: str,
    *,
    seconds: int,
    connections: int,
    threads: int = 1,
    timeout_s: int = 2,
    script: Path | None = None,
) -> WrkResult:
    """Run wrk against `url` and wait for its end.

    Raises:
        UsageError: a value outside of its limits.
        MissingServerError: wrk is not on this machine.
        LabError: it ran and failed; says why in its words.
    """
    _within("seconds", seconds, 1, SECONDS_MAX)
    _within("threads", threads, 1, THREADS_MAX)
    _within("connections", connections, threads, CONNECTIONS_MAX)
    command = [str(program()), "--latency", f"-d{seconds}s", f"-t{threads}", f"-c{connections}"]
    command.append(f"--timeout={timeout_s}s")
    if script is not None:
        command += ["-s", str(script)]
    try:
        done = subprocess.run(
            [*command, url],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds + timeout_s + _GRACE_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise LabError(f"wrk did not end {_GRACE_S} s after its time was over") from error
    try:
        return parse(done.stdout)
    except ValueError as error:
        said = (done.stderr + done.stdout).strip().splitlines()
        reason = said[0] if said else f"exit status {done.returncode}"
        raise LabError(f"wrk {url}: {reason}") from error


def program() -> Path:
    """Where wrk is. Raises MissingServerError, in one line that says what to install."""
    found = shutil.which("wrk")
    if found is None:
        raise MissingServerError(
            "wrk is not on this machine: install it with `sudo apt-get install wrk` "
            "(macOS: `brew install wrk`)"
        )
    return Path(found)


def _find(pattern: str, text: str) -> tuple[str, ...]:
    found = re.search(pattern, text)
    if found is None:
        raise ValueError(f"this is not what wrk prints: nothing like {pattern!r}")
    return found.groups()


def _scaled(text: str, units: dict[str, float]) -> float:
    number, unit = _find(r"^(-?[\d.]+|-?nan)(\w*)$", text)
    if unit not in units:
        raise ValueError(f"{text!r} has no known unit")
    return float(number) * units[unit]


def _within(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise UsageError(f"wrk: {name} is {value}, but it must be from {low} to {high}")
