"""wrk's own output is read, and its mistakes are one line. (Real output of wrk 4.1.0.)"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import wrk
from benchmarks.tests.misbehaving import refusing_port, serving
from infra.lab.errors import LabError, MissingServerError, UsageError

CAPTURED = Path(__file__).parent / "captured"


def test_a_clean_run_is_read() -> None:
    result = wrk.parse((CAPTURED / "wrk_latency.txt").read_text())
    assert (result.threads, result.connections, result.seconds) == (1, 8, 2.0)
    assert (result.requests, result.requests_per_s) == (86506, 43233.89)
    assert result.read_bytes == pytest.approx(12.62 * 2**20)
    assert result.latency_mean_us == pytest.approx(442.20)
    assert result.latency_stdev_us == pytest.approx(960)
    assert result.latency_max_us == pytest.approx(10_520)
    assert result.percentiles_us == {"50": 102.0, "75": 160.0, "90": 1370.0, "99": 4490.0}
    assert result.clean
    assert result.to_json()["requests"] == 86506


def test_a_run_without_percentiles_is_read() -> None:
    result = wrk.parse((CAPTURED / "wrk_plain.txt").read_text())
    assert (result.threads, result.connections) == (2, 4)
    assert result.percentiles_us == {}


def test_errors_are_read_and_show_what_wrk_hides() -> None:
    """The server stalled eight connections for 2.5 s: wrk says that nothing took over 4 ms."""
    result = wrk.parse((CAPTURED / "wrk_errors.txt").read_text())
    assert (result.connect_errors, result.read_errors, result.write_errors) == (0, 38, 0)
    assert (result.timeouts, result.wrong_status) == (8, 238)
    assert result.latency_max_us == pytest.approx(3810)
    assert not result.clean


@pytest.mark.parametrize("text", ["", "unable to connect to 127.0.0.1:8 Connection refused"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not what wrk prints"):
        wrk.parse(text)


def test_a_missing_wrk_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(MissingServerError, match="apt-get install wrk") as refusal:
        wrk.run("http://127.0.0.1:1/", seconds=1, connections=1)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("wrong", [{"seconds": 0}, {"connections": 1, "threads": 2}])
def test_values_beyond_the_limits_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        wrk.run("http://127.0.0.1:1/", **({"seconds": 1, "connections": 1} | wrong))  # type: ignore[arg-type]


@pytest.fixture
def _has_wrk() -> None:
    try:
        wrk.program()
    except MissingServerError as error:
        pytest.skip(str(error))


@pytest.mark.integration
@pytest.mark.usefixtures("_has_wrk")
def test_wrk_runs_and_is_read() -> None:
    with serving() as server:
        result = wrk.run(f"http://127.0.0.1:{server.port}/status/503", seconds=1, connections=2)
    assert result.requests == result.wrong_status > 0
    assert set(result.percentiles_us) == {"50", "75", "90", "99"}


@pytest.mark.integration
@pytest.mark.usefixtures("_has_wrk")
def test_wrk_that_fails_says_why_in_one_line() -> None:
    with refusing_port() as port, pytest.raises(LabError, match="Connection refused") as failure:
        wrk.run(f"http://127.0.0.1:{port}/", seconds=1, connections=1)
    assert "\n" not in str(failure.value)
