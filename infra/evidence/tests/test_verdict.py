"""The pure core: from what happened to a verdict."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from infra.evidence.figures import Figures, quantile, shown, summarise
from infra.evidence.verdict import Judgement, Outcome, Role, Run, State, Verdict, decide

FIGURES = Figures(unit="ms", headline="p", samples={"p": [1]}, attempts=1, seed=1)
PASSED, REFUTED = Judgement(Outcome.PASSED, 1), Judgement(Outcome.REFUTED, 1, "too slow")
CRASHED = Judgement(Outcome.CRASHED, 0, "KeyError: x")
ON = Run(
    step="on", role=Role.PASS, seed=1, repetition=1, seconds=1, figures=FIGURES, judgement=PASSED
)
OFF = replace(ON, step="off", role=Role.CONTROL, judgement=REFUTED)
BOTH = {"on": Role.PASS, "off": Role.CONTROL}


def test_it_holds_when_the_same_judge_passes_with_and_fails_without() -> None:
    assert decide("ms", [ON, OFF], BOTH) == Verdict(State.HELD)


def test_without_a_control_it_holds_alone() -> None:
    assert decide("ms", [ON], {"on": Role.PASS}) == Verdict(State.HELD_ALONE)


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"judgement": REFUTED}, State.FAILED),
        ({"judgement": CRASHED}, State.BROKEN),
        ({"judgement": None}, State.BROKEN),
        ({"judgement": Judgement(Outcome.PASSED, 0)}, State.BROKEN),
        ({"trouble": "OSError"}, State.BROKEN),
        ({"figures": None}, State.BROKEN),
        ({"figures": replace(FIGURES, attempts=0)}, State.BROKEN),
        ({"figures": replace(FIGURES, seed=2)}, State.BROKEN),
    ],
)
def test_what_the_run_with_the_mechanism_decides(changes: dict[str, Any], state: State) -> None:
    assert decide("ms", [replace(ON, **changes), OFF], BOTH).state is state


@pytest.mark.parametrize(
    "changes",
    [{"judgement": PASSED}, {"judgement": CRASHED}, {"judgement": None}, {"trouble": "x"}],
)
def test_a_control_that_is_not_refuted_is_a_broken_check(changes: dict[str, Any]) -> None:
    assert decide("ms", [ON, replace(OFF, **changes)], BOTH).state is State.BROKEN


@pytest.mark.parametrize("runs", [[], [ON], [OFF]])
def test_a_step_that_never_ran_is_a_broken_check(runs: list[Run]) -> None:
    assert decide("ms", runs, BOTH).state is State.BROKEN


def test_nothing_expected_is_nothing_shown() -> None:
    assert decide("ms", [], {}).state is State.BROKEN
    assert decide("ms", [OFF], {"off": Role.CONTROL}).state is State.BROKEN


def test_a_bad_declaration_comes_first() -> None:
    assert decide("ms", [ON, OFF], BOTH, ["no rows"]) == Verdict(State.BROKEN, "no rows")


def test_another_unit_is_a_broken_check() -> None:
    assert "'ms', the claim in 's'" in decide("s", [ON, OFF], BOTH).reason


# ---- Figures


def test_one_number_for_many_samples() -> None:
    samples = [float(number) for number in range(1, 201)]
    names = ("median", "lowest", "highest", "total", "p99")
    assert [summarise(samples, name) for name in names] == [100.5, 1, 200, 20100, 198]
    for bad in ([], [1.0]):
        with pytest.raises(ValueError, match=r"no samples|no such summary"):
            summarise(bad, "mean")


def test_a_quantile_is_a_sample() -> None:
    assert [quantile([3, 1, 2], share) for share in (0, 0.34, 0.5, 0.67, 1)] == [1, 2, 2, 3, 3]


def test_figures_keep_no_hold_of_the_lists_they_were_given() -> None:
    samples = [1.0]
    figures = replace(FIGURES, samples={"p": samples})
    samples.append(9)
    assert figures["p"] == (1.0,)
    with pytest.raises(KeyError):
        figures["q"]


def test_numbers_for_people() -> None:
    numbers = (0, 1, 2.5, 0.12345, 99.96, 1234.5, 1234567, float("nan"))
    told = ["0", "1", "2.5", "0.123", "100", "1,234", "1,234,567", "nan"]
    assert [shown(number) for number in numbers] == told
