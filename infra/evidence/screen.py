"""What a `check` shows: one line of progress while it works, a table of verdicts at its end."""

from __future__ import annotations

import io
import shutil
import statistics
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from pytest import TerminalReporter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from infra.evidence.figures import shown
from infra.evidence.results import PUBLISHED_ENGINE, ClaimResult, Evidence
from infra.evidence.verdict import Role, State

LINE_EVERY_S = 10.0
FILE_COLUMNS = 160

_COLOURS = {
    State.HELD: "green",
    State.HELD_ALONE: "green",
    State.FAILED: "red",
    State.BROKEN: "bold red",
    State.NOT_RUN: "dim",
}


Uncaptured = Callable[[], AbstractContextManager[None]]


class ProgressLine:
    """On a terminal one line, changed in place; elsewhere a line per run and every few seconds."""

    def __init__(self, reporter: TerminalReporter | None, uncaptured: Uncaptured) -> None:
        """`uncaptured` lets through what is written while pytest captures a test's output."""
        self._reporter = reporter
        self._uncaptured = uncaptured
        self._live = reporter is not None and reporter.isatty
        self._run = ""
        self._due_s = 0.0

    def __call__(self, run: str, elapsed_s: float, said: str) -> None:
        """Show which run is under way, since when, and what the claim said last."""
        text = f"{run}  {elapsed_s:.0f} s  {said}".rstrip()
        if self._live:
            self._rewrite(text[: shutil.get_terminal_size().columns - 1])
        elif self._reporter and (run != self._run or elapsed_s >= self._due_s):
            self._run, self._due_s = run, elapsed_s + LINE_EVERY_S
            with self._uncaptured():
                self._reporter.write_line(text)
                self._reporter.flush()

    def clear(self) -> None:
        """Take the line away before something else is written."""
        if self._live:
            self._rewrite("")

    def _rewrite(self, text: str) -> None:
        if self._reporter is not None:
            with self._uncaptured():
                self._reporter.rewrite(text, erase=True)
                self._reporter.rewrite(text)
                self._reporter.flush()


def figure(one: ClaimResult, role: Role, unit: bool = False) -> str:
    """The headline of each step in `role`: median, and lowest to highest over several runs."""
    steps = [(step, one.values(step)) for step in one.steps(role)]
    told = [(step, spread(values)) for step, values in steps if values]
    texts = [f"{step}: {text}" if len(told) > 1 else text for step, text in told]
    return ", ".join(texts) + (f" {one.unit}{_summary(one)}" if unit and texts else "")


def _summary(one: ClaimResult) -> str:
    """Which number stands for many samples of one run; nothing to say where there is one."""
    figures = [run.figures for run in one.runs if run.figures]
    many = any(len(found.samples.get(found.headline, ())) > 1 for found in figures)
    return f", {figures[0].summary}" if many else ""


def spread(values: Sequence[float]) -> str:
    """`2` for one value or equal ones, else `2 (1 to 5)`: median, lowest, highest."""
    middle = shown(statistics.median(values))
    low, high = shown(min(values)), shown(max(values))
    return middle if low == high else f"{middle} ({low} to {high})"


def control(one: ClaimResult) -> str:
    """What the table says of the control, also where there is none."""
    if one.state is State.HELD_ALONE:
        return "none: a target keeps its mechanism"
    return figure(one, Role.CONTROL)


def verdict_lines(evidence: Evidence, columns: int | None, colour: bool) -> list[str]:
    """The closing table, and one line for each claim that did not hold."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for heading in ("claim", "says", "figure", "control", "verdict"):
        table.add_column(heading, overflow="fold")
    table.add_column("seconds", justify="right")
    for one in evidence.claims:
        table.add_row(
            one.id,
            one.says,
            figure(one, Role.PASS, unit=True),
            control(one),
            Text(one.state, style=_COLOURS[one.state]),
            f"{one.seconds:.1f}" if one.runs else "",
        )
    text = io.StringIO()
    console = Console(
        file=text, width=columns or FILE_COLUMNS, force_terminal=colour, highlight=False
    )
    console.print(table)
    for one in evidence.claims:
        if one.reason:
            console.print(
                Text.assemble((f"{one.id} {one.state}", _COLOURS[one.state]), f": {one.reason}"),
                soft_wrap=True,
            )
    return [line.rstrip() for line in text.getvalue().splitlines()]


def closing_line(evidence: Evidence, budget_s: float | None) -> str:
    """How many held, with which seed, and how long it took."""
    held = sum(one.state in (State.HELD, State.HELD_ALONE) for one in evidence.claims)
    seeds = sorted({run.seed for one in evidence.claims for run in one.runs})
    named = f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds)) or 'none'}"
    time_ = f"{evidence.wall_s:.0f} s"
    if budget_s is not None:
        over = "over its budget of" if evidence.wall_s > budget_s else "of at most"
        time_ += f" {over} {budget_s:.0f} s"
    depth = "deep" if evidence.deep else "one seed, DEEP=1 runs all"
    if evidence.engine != PUBLISHED_ENGINE:
        depth += f", on the engine {evidence.engine}"
    return f"{held} of {len(evidence.claims)} claims held; {named} ({depth}); {time_}"
