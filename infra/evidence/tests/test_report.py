"""The report: one page that needs nothing else, with control beside claim."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from infra.evidence import curves, plots, report, tables
from infra.evidence.figures import Figures
from infra.evidence.results import ClaimResult, Evidence
from infra.evidence.verdict import Judgement, Outcome, Role, Run, State


def _run(step: str, role: Role, samples: list[float], seed: int = 1) -> Run:
    figures = Figures(
        unit="queries",
        headline="queries",
        samples={"queries": samples, "latency_ms": [1.5, 2.5]},
        attempts=100,
        seed=seed,
        notes=["one <note>"],
    )
    outcome = Outcome.PASSED if role is Role.PASS else Outcome.REFUTED
    judged = Judgement(outcome, 1, "" if role is Role.PASS else "too many & more")
    return Run(
        step=step, role=role, seed=seed, repetition=1, seconds=1, figures=figures, judgement=judged
    )


def _claim(control: list[float], passed: list[float] | None = None) -> ClaimResult:
    return ClaimResult(
        id="w04.herd",
        says="A <b>hundred</b> misses | ask once",
        rows=(30, 33),
        mechanism="single flight",
        unit="queries",
        state=State.HELD,
        reason="",
        seconds=2.0,
        runs=(_run("on", Role.PASS, passed or [1]), _run("off", Role.CONTROL, control)),
    )


def _evidence(*claims: ClaimResult) -> Evidence:
    host = {"processor": "a model", "processors": 2, "memory_gib": 24, "system": "Debian"}
    return Evidence(
        week="week04",
        commit="0123456789abcdef",
        dirty=False,
        deep=True,
        complete=True,
        seed=None,
        target=None,
        started_at="2026-11-21T10:00:00+00:00",
        wall_s=9.0,
        host=host,
        servers={"postgres": "PostgreSQL 18.6"},
        claims=claims,
    )


def test_the_page_loads_nothing_and_runs_nothing() -> None:
    page = report.page(_evidence(_claim([100])))
    assert not re.search(r"<(script|link|img|iframe|object)\b|\bsrc=|url\(|@import|https?:", page)
    targets = re.findall(r'href="([^"]*)"', page)
    assert sorted(set(targets)) == ["#w04.herd", "w04.herd.json"]
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page


def test_words_of_a_claim_are_never_markup() -> None:
    page = report.page(_evidence(_claim([100])))
    assert "<b>" not in page and "A &lt;b&gt;hundred" in page
    assert "one &lt;note&gt;" in page and "too many &amp; more" in page
    table = tables.table(_evidence(_claim([100])), "r.html")
    row = (
        "| `w04.herd` | A &lt;b>hundred&lt;/b> misses \\| ask once | 1 queries | 100 queries | 2 |"
    )
    assert row in table.splitlines()


def test_figure_and_control_host_versions_and_commit_are_on_it() -> None:
    page = report.page(_evidence(_claim([80, 100, 120])))
    for text in ("1 queries, median", "100 queries, median", "0123456789abcdef", "a model"):
        assert text in page
    assert "PostgreSQL 18.6" in page and "latency_ms" in page


def _marks(one: ClaimResult) -> dict[str, list[float]]:
    """Place of each dot by role."""
    root = ElementTree.fromstring(plots.plot(one, "queries"))
    return {
        group.attrib["class"]: [float(dot.attrib["cx"]) for dot in group.iter("circle")]
        for group in root.iter("g")
    }


def test_claim_and_control_share_one_axis() -> None:
    marks = _marks(_claim([6, 8, 10], [2, 4]))
    [two, four], [six, eight, ten] = marks["claim"], marks["control"]
    steps = [four - two, six - four, eight - six, ten - eight]
    assert steps == pytest.approx([steps[0]] * 4, abs=0.2)
    assert two < ten < plots.WIDTH


def test_samples_far_apart_get_a_logarithmic_axis() -> None:
    svg = plots.plot(_claim([1000], [1]), "queries")
    assert "queries, logarithmic" in svg
    marks = _marks(_claim([10, 100, 1000], [1]))["control"]
    assert marks[1] - marks[0] == pytest.approx(marks[2] - marks[1], abs=0.2)
    assert "logarithmic" not in plots.plot(_claim([1000], [0]), "queries")


def test_many_samples_become_a_box() -> None:
    root = ElementTree.fromstring(plots.plot(_claim(list(range(1, 101)), [50]), "queries"))
    assert len(list(root.iter("circle"))) == 1
    assert len(list(root.iter("rect"))) == 1


@pytest.mark.parametrize(
    "samples", [[0], [5], [-3], [0.001, 0.002], [1e9, 1e-3], [7, 7, 7], [-5, 5], [98, 99, 101]]
)
def test_whatever_was_measured_lies_inside_of_the_picture(samples: list[float]) -> None:
    marks = _marks(_claim(samples, samples))
    assert len(marks["control"]) == len(samples)
    assert all(plots.MARGIN <= place <= plots.WIDTH - plots.MARGIN for place in marks["control"])


def _stepped(step: str, role: Role, rows: Sequence[float]) -> Run:
    figures = Figures(
        unit="rows",
        headline="rows",
        samples={"rows": list(rows), "offered_per_s": [2, 30, 120], "failed": [0]},
        attempts=3,
        seed=1,
    )
    return Run(step=step, role=role, seed=1, repetition=1, seconds=1, figures=figures)


def test_what_was_measured_at_several_loads_becomes_a_curve_over_them() -> None:
    passed = [_stepped("on", Role.PASS, rows) for rows in ([4, 10, 10], [4, 12, 10], [4, 8, 10])]
    control = _stepped("off", Role.CONTROL, [4, 60, 240])
    one = replace(_claim([9]), runs=(*passed, control))
    assert curves.points(one, "on", "rows") == [(2, 4), (30, 10), (120, 10)]
    drawn = curves.curves(one)
    picture = ElementTree.fromstring(drawn)
    assert len(picture.findall(".//polyline")) == 2, "the claim and its control, of one series"
    assert "240 at 120" in picture.attrib["aria-label"]
    assert drawn in report.page(_evidence(one))


def test_a_claim_without_loads_has_no_curve() -> None:
    assert curves.curves(_claim([9])) == ""
