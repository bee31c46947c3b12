"""locust's own files are read, and its mistakes are one line. (Real files of locust 2.47.0.)"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks import locust
from benchmarks.tests.misbehaving import serving
from infra.lab.errors import LabError, MissingServerError, UsageError

CAPTURED = Path(__file__).parent / "captured"

JOURNEY = """\
from locust import HttpUser, constant_pacing, task


class Visitor(HttpUser):
    wait_time = constant_pacing(0.05)

    @task
    def right(self):
        self.client.get("/ok", name="right")

    @task
    def wrong(self):
        self.client.get("/status/503", name="wrong")
"""


def read(name: str) -> str:
    return (CAPTURED / name).read_text()


def test_totals_are_read() -> None:
    hello, odd = locust.parse_totals(read("locust_totals.json"))
    assert (hello.method, hello.name, hello.requests, hello.failures) == (
        "GET",
        "GET hello",
        139,
        50,
    )
    assert hello.mean_ms == pytest.approx(5477.188 / 139, rel=1e-4)
    assert hello.max_ms == pytest.approx(2507.0, abs=0.1)
    assert hello.percentiles_ms["50"] == 2.0
    assert hello.percentiles_ms["99.9"] == 2500.0
    assert (odd.name, odd.requests, odd.failures) == ('odd, "name"', 58, 23)
    # Of the 58, 52 took 6 ms or less and 57 took 53 ms or less: p90 is the 53rd, p99 the 58th.
    assert odd.percentiles_ms == {"50": 2.0, "90": 7.0, "99": 64.0, "99.9": 64.0}


def test_statistics_course_and_failures_are_read_from_csv() -> None:
    hello, odd, together = locust.parse_stats(read("locust_stats.csv"))
    assert (hello.requests, odd.requests, together.requests) == (123, 52, 175)
    assert (odd.name, together.name) == ('odd, "name"', locust.AGGREGATED)
    assert together.percentiles_ms == {"50": 2.0, "90": 6.0, "99": 2500.0, "99.9": 2500.0}
    course = locust.parse_history(read("locust_history.csv"))
    assert [moment.users for moment in course] == [0, 4, 4, 4, 4]
    assert (course[-1].requests, course[-1].failures) == (175, 65)
    assert course[-1].requests_per_s == 40.5
    failures = locust.parse_failures(read("locust_failures.csv"))
    assert sum(failure.occurrences for failure in failures) == 65
    assert failures[0].error == "HTTPError('503 Server Error: no for url: odd, \"name\"')"


def test_the_csv_lacks_the_end_of_the_run_that_the_json_has() -> None:
    """Why `run` takes the totals from the JSON: both are of one run."""
    totals = locust.parse_totals(read("locust_totals.json"))
    assert sum(row.requests for row in totals) == 197
    assert locust.parse_stats(read("locust_stats.csv"))[-1].requests == 175


def test_other_text_is_refused() -> None:
    for parse in (locust.parse_stats, locust.parse_history, locust.parse_failures):
        with pytest.raises(ValueError, match="not locust's CSV"):
            parse("a,b\n1,2\n")
    for text in ('{"a": 1}', "[1]", '[{"name": "x"}]', "no json"):
        with pytest.raises(ValueError):
            locust.parse_totals(text)


def test_a_missing_locust_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "locustfile.py").write_text(JOURNEY)
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(MissingServerError, match="lab --dev") as refusal:
        locust.run(tmp_path / "locustfile.py", "http://127.0.0.1:1", users=1, seconds=1)
    assert "\n" not in str(refusal.value)


def test_values_beyond_the_limits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="1 to 1000 users"):
        locust.run(tmp_path / "x.py", "http://127.0.0.1:1", users=0, seconds=1)
    with pytest.raises(UsageError, match="no file"):
        locust.run(tmp_path / "x.py", "http://127.0.0.1:1", users=1, seconds=1)


@pytest.mark.integration
def test_locust_runs_and_counts_what_the_server_saw(tmp_path: Path) -> None:
    file = tmp_path / "locustfile.py"
    file.write_text(JOURNEY)
    with serving() as server:
        result = locust.run(file, f"http://127.0.0.1:{server.port}", users=2, seconds=3)
        assert result.requests == sum(server.requests.values()) > 20
    assert result.failed == next(row for row in result.rows if row.name == "wrong").requests


@pytest.mark.integration
def test_locust_that_fails_says_why_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "locustfile.py"
    file.write_text("this is no python\n")
    with pytest.raises(LabError, match=r"locustfile\.py") as failure:
        locust.run(file, "http://127.0.0.1:1", users=1, seconds=1)
    assert "\n" not in str(failure.value)
