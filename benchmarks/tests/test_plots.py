"""The plots show the figures they are made of, and say them to those who do not see."""

from __future__ import annotations

import dataclasses
from xml.etree import ElementTree

import pytest

from benchmarks import plots, svg
from benchmarks.client import Distribution, Histogram, Outcome, Plan, Result
from benchmarks.client.recorder import Recorder

SVG = "{http://www.w3.org/2000/svg}"


def result(ends: list[tuple[float, Outcome]], takes_s: float = 0.01) -> Result:
    recorder = Recorder()
    for number, (due_s, outcome) in enumerate(ends):
        if outcome is Outcome.UNSENT:
            recorder.unsent(number, due_s, due_s + 1)
            continue
        recorder.begun(due_s, due_s)
        recorder.attempt(outcome, again=False, body_bytes=0)
        end_s = due_s + takes_s
        recorder.ended(number, outcome, due_s=due_s, sent_s=due_s, now_s=end_s, attempts=1)
    return recorder.result(
        target="http://127.0.0.1:1",
        plan=dataclasses.asdict(Plan(rate_per_s=10.0)),
        loop="asyncio",
        started_at="2026-01-01T00:00:00+00:00",
        started_monotonic_s=0.0,
        cpu_s=0.0,
        ended_by="time",
    )


def of(*values_us: int) -> Distribution:
    histogram = Histogram()
    for value in values_us:
        histogram.record_s((value + 0.5) / 1e6)
    return histogram.done()


def parsed(text: str) -> ElementTree.Element:
    root = ElementTree.fromstring(text)
    assert root.tag == f"{SVG}svg"
    assert "prefers-color-scheme:dark" in text
    return root


def heights(root: ElementTree.Element, kind: str) -> list[float]:
    """Of the bars of that kind; the key's square is none of them."""
    bars = [one for one in root.iter(f"{SVG}rect") if one.get("class") == kind]
    return [float(one.get("height", 0)) for one in bars if one.get("width") != "10.00"]


def texts(root: ElementTree.Element) -> list[str]:
    return [one.text or "" for one in root.iter(f"{SVG}text")]


RUN = result(
    [(n / 10, Outcome.OK) for n in range(10)]
    + [(1 + n / 10, Outcome.REFUSED if n < 4 else Outcome.OK) for n in range(10)]
    + [(2 + n / 10, Outcome.UNSENT) for n in range(10)]
    + [(3 + n / 10, Outcome.OK) for n in range(10)]
)


def test_the_timeline_stacks_each_second_by_what_became_of_it() -> None:
    root = parsed(plots.timeline(RUN, "a run"))
    right, failed, unsent = (heights(root, kind) for kind in ("ok", "bad", "unsent"))
    assert len(right) == 3, "of four seconds one has no right answer"
    assert right[1] == pytest.approx(0.6 * right[0], abs=0.05)
    assert failed[0] == pytest.approx(0.4 * right[0], abs=0.05)
    assert unsent[0] == pytest.approx(right[0], abs=0.05)
    assert len(failed) == 2, "in the panel of all and in that of failures"
    assert "refused" in texts(root)


def test_a_second_without_a_right_answer_is_a_gap_in_p99() -> None:
    root = parsed(plots.timeline(RUN, "a run"))
    lines = list(root.iter(f"{SVG}polyline"))
    dots = list(root.iter(f"{SVG}circle"))
    assert len(lines) == 1, "the first two seconds"
    assert len(dots) == 1, "the last one, alone"


def test_one_failure_among_many_is_visible() -> None:
    ends = [(n / 10_000, Outcome.OK) for n in range(9_999)] + [(0.9999, Outcome.RESET)]
    root = parsed(plots.timeline(result(ends), "a run"))
    assert min(heights(root, "bad")) >= 2


def test_marks_stand_at_their_time_and_their_words_are_escaped() -> None:
    text = plots.timeline(RUN, "a <run> & more", [plots.Mark(2.0, "kill <api1>")])
    root = parsed(text)
    assert "kill <api1>, 2.0 s" in texts(root)
    marks = [one for one in root.iter(f"{SVG}line") if one.get("class") == "mark"]
    middle = svg.LEFT + (svg.WIDTH - svg.LEFT - svg.RIGHT) / 2
    assert float(marks[0].get("x1", 0)) == pytest.approx(middle)
    assert root.findtext(f"{SVG}title") == "a <run> & more"
    assert "40 requests" in (root.findtext(f"{SVG}desc") or "")


def test_what_cannot_be_shown_is_refused() -> None:
    with pytest.raises(ValueError, match="no requests"):
        plots.timeline(result([]), "nothing")
    with pytest.raises(ValueError, match="marks"):
        plots.timeline(RUN, "a run", [plots.Mark(1.0, "x")] * 9)
    with pytest.raises(ValueError, match="no values"):
        plots.percentiles({"none": of()}, "nothing")
    with pytest.raises(ValueError, match="no values"):
        plots.histogram(of(), "nothing")
    with pytest.raises(ValueError, match="told apart"):
        plots.percentiles({str(n): of(1) for n in range(6)}, "too many")


def test_percentile_curves_end_where_their_values_do() -> None:
    """The p99.9 of a hundred values would be their maximum in disguise."""
    text = plots.percentiles({"few": of(*range(1, 101)), "many": of(*range(1, 10_001))}, "both")
    lines = [one.get("points", "").split() for one in parsed(text).iter(f"{SVG}polyline")]
    curves = [line for line in lines if len(line) > 2]
    assert [len(curve) for curve in curves] == [5, 9]


def test_a_histogram_shows_every_value_once() -> None:
    root = parsed(plots.histogram(of(100, 100, 100, 1000), "four"))
    bars = heights(root, "ok")
    assert len(bars) == 2
    assert max(bars) == pytest.approx(3 * min(bars), rel=0.01)
    assert any(words.startswith("p99 1 ms") for words in texts(root))


@pytest.mark.parametrize(
    ("most", "expected"),
    [(0, [0, 1]), (10, [0, 5, 10]), (7, [0, 5, 10]), (300, [0, 100, 200, 300])],
)
def test_ticks_are_round_and_reach_the_most(most: float, expected: list[float]) -> None:
    assert svg.ticks(most, 3) == expected


def test_a_course_draws_each_series_and_says_its_highest_rate() -> None:
    root = parsed(plots.course({"requests": [(0, 5), (1, 20)], "failures": [(0, 0)]}, "course"))
    [line] = [one for one in root.iter(f"{SVG}polyline") if "54.0," in (one.get("points") or "")]
    ys = [float(point.split(",")[1]) for point in (line.get("points") or "").split()]
    assert ys[0] > ys[1], "a higher rate stands higher"
    assert len(list(root.iter(f"{SVG}circle"))) == 1, "one point is a dot"
    [told] = root.iter(f"{SVG}desc")
    assert told.text == "requests: at most 20 a second; failures: at most 0 a second"
    with pytest.raises(ValueError):
        plots.course({}, "course")
    with pytest.raises(ValueError):
        plots.course({"requests": []}, "course")
