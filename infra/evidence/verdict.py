"""The verdict on a claim, from what happened in its runs. Pure: no lab, no clock, no pytest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from infra.evidence.figures import Figures, shown


class Role(StrEnum):
    """What a run's judgement has to be."""

    PASS = "claim"
    CONTROL = "control"


class Outcome(StrEnum):
    """What a judge did."""

    PASSED = "passed"
    REFUTED = "refuted"
    """Raised an AssertionError of its own."""
    CRASHED = "crashed"
    """Raised anything else, or an AssertionError that came from elsewhere."""


class State(StrEnum):
    """The end of a claim's check."""

    HELD = "held"
    HELD_ALONE = "held, no control"
    FAILED = "FAILED"
    BROKEN = "BROKEN CHECK"
    NOT_RUN = "not run"


@dataclass(frozen=True)
class Judgement:
    """What a judge did with one run's figures.

    Attributes:
        asserts: how many of its assert statements were reached.
        text: in one line, what it found or how it crashed.
    """

    outcome: Outcome
    asserts: int
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One `measure` and the judgement on it.

    Attributes:
        step: of the mechanism, `on`, `off` or one of a ladder.
        repetition: from 1.
        trouble: how measuring failed, in one line; "" when it did not.
        traceback: of the trouble, for the results on disk.
        figures: None after trouble.
        judgement: None when there was nothing to judge.
    """

    step: str
    role: Role
    seed: int
    repetition: int
    seconds: float
    figures: Figures | None = None
    trouble: str = ""
    traceback: str = ""
    judgement: Judgement | None = None


@dataclass(frozen=True)
class Verdict:
    """What became of a claim, and why in one line where it did not hold."""

    state: State
    reason: str = ""


def decide(
    unit: str,
    runs: Sequence[Run],
    expected: Mapping[str, Role],
    problems: Iterable[str] = (),
) -> Verdict:
    """The verdict. A broken check outweighs a failed claim: it proves nothing either way.

    Args:
        unit: that the claim declares.
        expected: every step that had to run; without a control among them (a target) a claim
            can hold, but only alone.
        problems: of the declaration.
    """
    for problem in problems:
        return Verdict(State.BROKEN, problem)
    for run in runs:
        if fault := broken_by(run, unit):
            return Verdict(State.BROKEN, fault)
    seen = {(run.step, run.role) for run in runs}
    for step, role in expected.items():
        if (step, role) not in seen:
            return Verdict(State.BROKEN, f"{role} ({step}) was never run")
    if not expected or Role.PASS not in expected.values():
        return Verdict(State.BROKEN, "nothing was run")
    for run in runs:
        if run.role is Role.PASS and run.judgement and run.judgement.outcome is Outcome.REFUTED:
            return Verdict(State.FAILED, f"{_where(run)}: {run.judgement.text}{_measured(run)}")
    alone = Role.CONTROL not in expected.values()
    return Verdict(State.HELD_ALONE if alone else State.HELD)


def broken_by(run: Run, unit: str) -> str:
    """Why this run makes its check a broken one, in one line; "" when it does not."""
    if run.trouble:
        return f"{_where(run)}: measure failed: {run.trouble}"
    if run.figures is None:
        return f"{_where(run)}: measure returned no Figures"
    if flaws := run.figures.flaws(unit, run.seed):
        return f"{_where(run)}: {'; '.join(flaws)}"
    judgement = run.judgement
    if judgement is None:
        return f"{_where(run)}: nobody judged it"
    if judgement.outcome is Outcome.CRASHED:
        return f"{_where(run)}: judge failed by something else than its assert: {judgement.text}"
    if judgement.outcome is Outcome.PASSED and judgement.asserts == 0:
        return f"{_where(run)}: judge reached none of its own asserts"
    if run.role is Role.CONTROL and judgement.outcome is Outcome.PASSED:
        return f"{_where(run)}: the control is green, judge passes without it{_measured(run)}"
    return ""


def _where(run: Run) -> str:
    return f"{run.step} (seed {run.seed}, repetition {run.repetition})"


def _measured(run: Run) -> str:
    return f" ({shown(run.figures.value)} {run.figures.unit})" if run.figures else ""
