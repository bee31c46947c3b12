"""The load report: every run, its machine and its topology on one page that needs nothing else."""

from __future__ import annotations

import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from benchmarks import locust, measurement, report, wrk
from benchmarks.client import Outcome
from benchmarks.measurement import Environment, Measurement, Run, Service
from benchmarks.plots import Mark
from benchmarks.summaries import median_and_range, series, summary
from benchmarks.tests.test_plots import result
from infra.lab.errors import UsageError
from infra.lab.pytest_plugin import isolated
from infra.lab.tests.sample import light_week

CAPTURED = Path(__file__).with_name("captured")
ENVIRONMENT = Environment(
    "2026-11-21T10:00:00+00:00", "0123456789abcdef", True, {"processor": "a model", "processors": 2}
)
HALF = [(0.1 * n, Outcome.OK if n % 2 else Outcome.REFUSED) for n in range(20)]


def _wrk() -> wrk.WrkResult:
    return wrk.parse((CAPTURED / "wrk_latency.txt").read_text())


def _locust() -> locust.LocustResult:
    return locust.LocustResult(
        locust.parse_totals((CAPTURED / "locust_totals.json").read_text()),
        locust.parse_history((CAPTURED / "locust_history.csv").read_text()),
        locust.parse_failures((CAPTURED / "locust_failures.csv").read_text()),
    )


def measured() -> Measurement:
    return Measurement(
        title="Workers <compared>",
        says="Three rounds & more.",
        environment=ENVIRONMENT,
        services=(Service("api1", "Python 3.11.2", "http://127.0.0.1:1", ("postgres",)),),
        runs=(
            Run(label="one worker", result=result(HALF), marks=(Mark(0.5, "kill"),)),
            Run(label="one worker", result=result(HALF), figures={"server CPU (µs)": 7.25}),
            Run(label="fast <one>", result=_wrk(), figures={"server CPU (µs)": 5.5}),
            Run(label="journeys", result=_locust()),
        ),
    )


class _Balanced(HTMLParser):
    """Raises AssertionError where an element is not closed in its order."""

    VOID = frozenset({"meta", "br", "rect", "line", "circle", "polyline"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_page_loads_nothing_runs_nothing_and_is_well_formed() -> None:
    page = report.page([measured()])
    assert not re.search(r"<(script|link|img|iframe|object)\b|\b(src|href)=|url\(|@import", page)
    assert 'name="viewport"' in page and "prefers-color-scheme: dark" in page
    words = "".join(_Balanced(page).words)
    assert (
        "Workers <compared>" in words and "fast <one>" in words and "Three rounds & more" in words
    )


def test_it_tells_the_machine_the_commit_and_the_topology() -> None:
    page = report.page([measured()])
    for told in ("0123456789abcdef and changes on top of it", "a model", "Python 3.11.2"):
        assert told in page
    assert '<td data-label="uses"><span>postgres</span></td>' in page


def test_what_nobody_wrote_down_is_said() -> None:
    page = report.page([dataclasses.replace(measured(), environment=None, services=())])
    assert "Nobody wrote down the machine" in page and "the lab did not start" in page


def test_runs_of_one_label_are_one_row_with_median_and_range() -> None:
    page = report.page([measured()])
    assert page.count('data-label="measured"><span>one worker') == 1
    assert '<td data-label="failed"><span>20 of 40</span></td>' in page
    assert page.count("<summary>repetition 2</summary>") == 1
    assert "kill, 0.5 s" in page
    assert "server CPU" in page


def test_every_tool_tells_what_it_can() -> None:
    page = report.page([measured()])
    assert page.count("The course of the run</text>") == 3, "two of the client, one of locust"
    assert "latency by wrk, ms" in page and "times by locust, ms" in page
    assert "closed loop" in summary(_wrk()).load and "users" in summary(_locust()).load
    of_client = summary(result(HALF))
    assert (of_client.requests, of_client.failed) == (20, 10)
    assert of_client.p50_ms == pytest.approx(10, rel=0.01)
    nothing = summary(result([(0.0, Outcome.REFUSED)]))
    assert (nothing.p50_ms, nothing.p99_ms) == (None, None)
    assert "p50 (ms)" not in series([Run(label="dead", result=result([(0.0, Outcome.REFUSED)]))])


def test_a_range_is_shown_only_where_there_is_one() -> None:
    assert median_and_range([3.0, 1.0, 2.0]) == "2 (1 to 3)"
    assert median_and_range([2.5]) == "2.5"
    assert median_and_range([]) == "\N{EN DASH}"


def test_more_series_than_one_plot_can_tell_apart_become_several_plots() -> None:
    runs = tuple(Run(label=f"n{n}", result=result(HALF)) for n in range(7))
    page = report.page([Measurement(title="many", runs=runs)])
    assert page.count("Latency of right answers</text>") == 2 + 7


def test_a_measurement_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    file = tmp_path / "measured.json"
    measurement.save(measured(), file)
    assert measurement.load(file) == measured()
    assert [path.name for path in tmp_path.iterdir()] == ["measured.json"]


def test_a_file_of_the_client_is_a_measurement_of_one_run(tmp_path: Path) -> None:
    file = tmp_path / "slow.json"
    file.write_text(json.dumps(measurement.of_client(result(HALF), ENVIRONMENT)))
    loaded = measurement.load(file)
    assert (loaded.title, loaded.environment, len(loaded.runs)) == ("slow", ENVIRONMENT, 1)
    file.write_text(json.dumps(result(HALF).to_json()))
    assert measurement.load(file).environment is None


def test_the_command_writes_one_page_of_all_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    for file in files:
        measurement.save(dataclasses.replace(measured(), title=file.stem), file)
    out = tmp_path / "report.html"
    assert report.main([*map(str, files), "-o", str(out)]) == 0
    assert "<h2>a</h2>" in out.read_text() and "<h2>b</h2>" in out.read_text()
    assert capsys.readouterr().out == f"{out}\n"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "is no measurement"),
        ("[]", "is no measurement"),
        ('{"runs": [{"tool": "ab"}], "title": ""}', "is no measurement"),
        (None, "No such file"),
        ("empty", "nothing was measured"),
    ],
)
def test_what_is_no_measurement_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, complaint: str
) -> None:
    file = tmp_path / "x.json"
    if content == "empty":
        measurement.save(Measurement(title="x", runs=()), file)
    elif content is not None:
        file.write_text(content)
    assert report.main([str(file), "-o", str(tmp_path / "out.html")]) == UsageError.exit_code
    error = capsys.readouterr().err
    assert complaint in error and error.count("\n") == 1
    assert not (tmp_path / "out.html").exists()


def test_the_clone_and_the_machine_are_asked() -> None:
    told = measurement.here()
    assert re.fullmatch(r"[0-9a-f]{40}|unknown", told.commit)
    assert told.host["processors"]


def test_the_topology_is_told_by_the_engine_that_runs_it(tmp_path: Path) -> None:
    declared = light_week()
    told = measurement.services(declared, isolated(declared, tmp_path))
    assert [one.name for one in told] == ["first", "second"]
    assert told[1].needs == ("first",)
    assert told[0].address.startswith("http://127.0.0.1:") and "Python" in told[0].server
