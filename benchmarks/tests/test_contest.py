"""What becomes of measured rounds: figures, tables, report, and what keeps them together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.contest import publish, report, results, table
from benchmarks.contest.contest import Contest
from benchmarks.contest.results import Bench, Cell, Idle, Round
from benchmarks.measurement import Environment
from infra.evidence import host
from infra.lab.errors import LabError

CONTEST = Contest(
    week="week09",
    package="week09_sample",
    title="Week 9: beside nginx",
    opening="How <it> was measured.",
    base="nginx",
    remark=lambda bench, case: "Said of hello." if case == "hello" else "",
)


def rounds(*rates: float) -> tuple[Round, ...]:
    return tuple(Round(1000, one, 1e6 / one, 0.5, {"p50": 100.0, "p99": 900.0}) for one in rates)


BENCH = Bench(
    environment=Environment("2026-01-02T03:04:05+00:00", "a" * 40, False, host.facts()),
    quick=False,
    seconds=360.0,
    parameters={"connections": "100"},
    servers={"nginx": "the peer", "ours, ASGI": "this <server>", "granian": "another"},
    versions={"nginx": "1.2.3", "wrk": "4.1.0"},
    cases={"hello": "a few bytes", "open": "at a rate of ours"},
    open_loop=("open",),
    cells=(
        Cell("hello", "nginx", rounds(100_000, 50_000, 80_000)),
        Cell("hello", "ours, ASGI", rounds(90_000, 50_000, 60_000)),
        Cell("hello", "granian", rounds(45_000, 20_000, 40_000)),
        Cell("open", "nginx", rounds(4000)),
    ),
    idle=(Idle("nginx", 1000, 10 * 2**20, 11 * 2**20),),
)


def test_a_file_gives_back_what_was_measured() -> None:
    assert results.from_text(results.to_text(BENCH)) == BENCH


def test_a_ratio_is_of_the_rounds_beside_each_other() -> None:
    ours = BENCH.cell("hello", "ours, ASGI")
    assert ours is not None
    assert BENCH.ratios(ours, "per_s", "nginx") == [0.9, 1.0, 0.75]
    assert BENCH.ratios(ours, "per_s", "granian") == [2.0, 2.5, 1.5]
    assert BENCH.ratios(ours, "per_s", "nobody") == []


def test_no_ratio_is_made_of_a_round_too_short_to_tell() -> None:
    idle = tuple(replace(one, cpu_us=0.0) for one in BENCH.cells[0].rounds)
    bench = replace(BENCH, cells=(replace(BENCH.cells[0], rounds=idle), *BENCH.cells[1:]))
    assert "| ours, ASGI | 60,000 (50,000-90,000) | 0.90 | 16.7 (11.1-20.0) |  |" in table.markdown(
        CONTEST, bench, ""
    )


def test_memory_for_each_connection_is_what_came_on_top() -> None:
    assert BENCH.idle[0].each_bytes == pytest.approx(2**20 / 1000)


def test_the_table_shows_medians_spread_and_ratios() -> None:
    text = table.markdown(CONTEST, BENCH, "report.html")
    assert "| nginx | 80,000 (50,000-100,000) | 1.00 | 12.5 (10.0-20.0) | 1.00 |" in text
    assert "| ours, ASGI | 60,000 (50,000-90,000) | 0.90 | 16.7 (11.1-20.0) | 1.11 |" in text
    assert text.count("Said of hello.") == 1
    assert "| nginx | 0.10 (0.10-0.10) | 0.90 (0.90-0.90) | 250.0 (250.0-250.0) | 1.00 |" in text
    assert "| nginx | 1.0 | 11 |" in text
    assert "commit aaaaaaaaaaaa, 2026-01-02" in text and "(report.html)" in text


def test_a_rate_that_the_client_has_set_is_marked() -> None:
    busy = tuple(replace(one, client_busy=0.98) for one in BENCH.cells[0].rounds)
    limited = replace(BENCH, cells=(replace(BENCH.cells[0], rounds=busy), *BENCH.cells[1:]))
    assert "| nginx | 80,000 (50,000-100,000) † | 1.00" in table.markdown(CONTEST, limited, "")
    assert table.markdown(CONTEST, limited, "").count("† the client had no processor left") == 1
    assert "†" not in table.markdown(CONTEST, BENCH, "") and "†" not in report.page(CONTEST, BENCH)
    assert "†" in report.page(CONTEST, limited)


def test_the_page_has_every_case_and_escapes_words() -> None:
    page = report.page(CONTEST, BENCH)
    assert all(f"<h2>{case}</h2>" in page for case in BENCH.cases)
    assert "this &lt;server&gt;" in page and "<server>" not in page
    assert page.count("<svg") == 4
    assert "quick run" not in page and "quick run" in report.page(
        CONTEST, replace(BENCH, quick=True)
    )


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    (tmp_path / CONTEST.readme).parent.mkdir()
    (tmp_path / CONTEST.readme).write_text("# w\n" + "\n".join(CONTEST.marks) + "\nend\n")
    return tmp_path


def test_a_published_run_stands_in_results_report_and_readme(clone: Path) -> None:
    assert publish.held_together(CONTEST, clone) == []
    publish.publish(CONTEST, BENCH, clone)
    assert publish.published(CONTEST, clone) == BENCH
    assert publish.held_together(CONTEST, clone) == []
    assert "80,000 (50,000-100,000)" in (clone / CONTEST.readme).read_text()


@pytest.mark.parametrize("name", [CONTEST.results, CONTEST.report, CONTEST.readme])
def test_what_is_edited_by_hand_is_found(clone: Path, name: Path) -> None:
    publish.publish(CONTEST, BENCH, clone)
    text = (clone / name).read_text()
    for old, new in (("80,000", "90,000"), ("80000", "90000")):
        text = text.replace(old, new)
    (clone / name).write_text(text)
    assert publish.held_together(CONTEST, clone)


@pytest.mark.parametrize(
    "unfit",
    [
        replace(BENCH, quick=True),
        replace(BENCH, environment=replace(BENCH.environment, dirty=True)),
    ],
)
def test_what_is_not_fit_is_not_published(clone: Path, unfit: Bench) -> None:
    with pytest.raises(LabError, match="not published"):
        publish.publish(CONTEST, unfit, clone)
    assert publish.published(CONTEST, clone) is None and publish.held_together(CONTEST, clone) == []


def test_processor_time_of_each_process_is_told_apart() -> None:
    apart = (Round(10, 1.0, 3.0, 0.5, {"p50": 1.0, "p99": 2.0}, {"front": 1.0, "back": 2.0}),)
    bench = replace(BENCH, cells=(Cell("hello", "nginx", apart),))
    text = table.markdown(CONTEST, bench, "")
    assert "| nginx | front | 1.0 (1.0-1.0) |" in text and "| nginx | back | 2.0" in text
    assert results.from_text(results.to_text(bench)) == bench
    assert "where the processor time went" in report.page(CONTEST, bench)
    assert "process | µs" not in table.markdown(CONTEST, BENCH, "")


def test_report_and_readme_are_made_anew_of_what_is_published(clone: Path) -> None:
    with pytest.raises(LabError, match="nothing is published"):
        publish.render(CONTEST, clone)
    publish.publish(CONTEST, BENCH, clone)
    (clone / CONTEST.report).write_text("another style")
    publish.render(CONTEST, clone)
    assert publish.held_together(CONTEST, clone) == []
