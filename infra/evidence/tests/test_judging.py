"""How a judge is watched: which asserts count, and whose error it was."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from infra.evidence.figures import Figures
from infra.evidence.judging import let_judge
from infra.evidence.verdict import Outcome

FIGURES = Figures(unit="ms", headline="p", samples={"p": [1, 2, 3]}, attempts=3, seed=1)


class _Claim:
    async def measure(self, lab: Any, mechanism: Any) -> Figures:
        return FIGURES


class Several(_Claim):
    def judge(self, figures: Figures) -> None:
        assert figures.value
        assert (
            figures.value
            < 100
        ), "too\nslow"  # fmt: skip
        if figures.value > 50:
            assert figures.value < 60


class Nested(_Claim):
    def judge(self, figures: Figures) -> None:
        def small(sample: float) -> bool:
            assert sample < 3, "inner"
            return True

        all(small(sample) for sample in figures["p"])


class Inherits(Several):
    def judge(self, figures: Figures) -> None:
        super().judge(figures)


class Unreached(_Claim):
    def judge(self, figures: Figures) -> None:
        for sample in figures["p"][:0]:
            assert sample


class ByHand(_Claim):
    def judge(self, figures: Figures) -> None:
        if figures.value > 1:
            raise AssertionError("by hand")


class Elsewhere(_Claim):
    def judge(self, figures: Figures) -> None:
        assert figures.value
        _helper(figures.value)


def _helper(value: float) -> None:
    assert value == 0, "of a library"


class Leaves(_Claim):
    def judge(self, figures: Figures) -> None:
        assert figures.value
        sys.exit("gone")


def _judged(cls: type[Any]) -> tuple[Outcome, int, str]:
    judged = let_judge(cls(), FIGURES)
    return judged.outcome, judged.asserts, judged.text


def test_only_asserts_that_are_reached_are_counted() -> None:
    assert _judged(Several) == (Outcome.PASSED, 2, "")
    assert _judged(Unreached) == (Outcome.PASSED, 0, "")


def test_a_function_inside_of_the_judge_is_the_judge() -> None:
    outcome, asserts, text = _judged(Nested)
    assert (outcome, asserts, text[:5]) == (Outcome.REFUTED, 1, "inner")


def test_the_judge_of_the_class_above_is_the_judge() -> None:
    assert _judged(Inherits) == (Outcome.PASSED, 2, "")


def test_an_assertion_error_raised_by_hand_is_its_own() -> None:
    assert _judged(ByHand) == (Outcome.REFUTED, 0, "by hand")


def test_an_assert_elsewhere_is_a_crash() -> None:
    outcome, _, text = _judged(Elsewhere)
    assert outcome is Outcome.CRASHED
    assert text.startswith("AssertionError: of a library")


def test_leaving_python_is_a_crash() -> None:
    assert _judged(Leaves) == (Outcome.CRASHED, 1, "SystemExit: gone")


def test_a_message_of_several_lines_becomes_one() -> None:
    slow = Figures(unit="ms", headline="p", samples={"p": [500]}, attempts=1, seed=1)
    # pytest, which has rewritten the asserts of this very file, adds what it found.
    assert let_judge(Several(), slow).text.startswith("too slow assert 500 < 100 ")


@pytest.mark.parametrize("cls", [Several, ByHand, Leaves])
def test_whoever_traced_before_traces_again(cls: type[Any]) -> None:
    before = sys.gettrace()

    def trace(*_: Any) -> None:
        return None

    sys.settrace(trace)
    try:
        let_judge(cls(), FIGURES)
        assert sys.gettrace() is trace
    finally:
        sys.settrace(before)
