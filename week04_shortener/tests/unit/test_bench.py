"""What the bench asks for, and what it says of what it measured."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.contest import publish
from benchmarks.contest.results import Bench, Cell, Round
from benchmarks.measurement import Environment
from infra.bootstrap import clone_root
from week04_shortener.bench.about import BASELINE, CONTEST, FLOOR, OURS, side_by_side
from week04_shortener.bench.stands import DIRECT, PROXIED, Contestant, with_others
from week04_shortener.bench.traffic import DIFFERENT, script, visits
from week04_shortener.checks.traffic import Link

LINKS = [Link(f"code{number:03d}", f"https://example.org/{number}") for number in range(100)]


def _cell(name: str, per_s: float, cpu_us: float) -> Cell:
    return Cell("warm", name, (Round(1000, per_s, cpu_us, 0.5, {"p50": 1.0, "p99": 2.0}),))


BENCH = Bench(
    environment=Environment("2026-01-02T03:04:05+00:00", "a" * 40, False, {}),
    quick=False,
    seconds=1.0,
    parameters={},
    servers={FLOOR: "", OURS: "", BASELINE: ""},
    versions={},
    cases={"warm": ""},
    open_loop=(),
    cells=(_cell(FLOOR, 50_000, 8), _cell(OURS, 24_000, 20), _cell(BASELINE, 3_000, 180)),
)


def test_popular_links_are_asked_for_as_often_as_zipf_says() -> None:
    asked = Counter(request.path for request in visits(LINKS, seed=1))
    assert asked.total() == DIFFERENT
    first, tenth = asked["/code000"], asked["/code009"]
    assert first == pytest.approx(DIFFERENT / sum(1 / n for n in range(1, 101)), rel=0.15)
    assert first / tenth == pytest.approx(10, rel=0.4)


def test_the_same_seed_asks_the_same() -> None:
    paths = [[one.path for one in visits(LINKS, seed)] for seed in (1, 1, 2)]
    assert paths[0] == paths[1] != paths[2]


def test_wrk_is_given_each_request_with_its_headers(tmp_path: Path) -> None:
    requests = visits(LINKS, seed=1)[:3]
    text = script(requests, tmp_path / "some.lua").read_text()
    assert text.count("wrk.format(") == 3
    for request in requests:
        assert f"'GET', \"{request.path}\"" in text
        assert all(f'["{name}"] = "{value}"' in text for name, value in request.headers)


def test_the_plain_endpoint_is_set_beside_ours() -> None:
    said = side_by_side(BENCH, "warm")
    assert said == (
        "To answer, the plain endpoint takes 9.0 times the processor time of ours, "
        "and ours gives 8.0 times as many redirects."
    )
    assert side_by_side(replace(BENCH, open_loop=("warm",)), "warm").endswith("time of ours.")
    assert side_by_side(replace(BENCH, cells=BENCH.cells[:2]), "warm") == ""


@pytest.mark.parametrize("contestants", [DIRECT, PROXIED])
def test_everybody_who_takes_part_is_a_service(contestants: tuple[Contestant, ...]) -> None:
    for one in contestants:
        named = {one.door, *sum((*one.serving.values(), *one.behind.values()), ())}
        assert named <= set(with_others.names)


def test_results_report_and_readme_are_of_one_run() -> None:
    assert publish.held_together(CONTEST, clone_root()) == []
