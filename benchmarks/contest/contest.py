"""What stands fixed about a week's bench, before anything is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contest.results import Bench


def _nothing(_bench: Bench, _case: str) -> str:
    return ""


@dataclass(frozen=True)
class Contest:
    """One week's bench.

    Attributes:
        week: as in `week04`.
        package: the week's folder, where its README lies.
        title: of the report.
        opening: its first paragraph, plain text: how it was measured.
        base: the contestant all others are compared with.
        ours: what the names of ours begin with; the report shows them in another colour.
        asked: what one request is called: `request`, `redirect`.
        remark: a sentence below a case's table, "" for none.
    """

    week: str
    package: str
    title: str
    opening: str
    base: str
    ours: str = "ours"
    asked: str = "request"
    remark: Callable[[Bench, str], str] = _nothing

    @property
    def results(self) -> Path:
        """Where the published results lie in a clone.

        Not in the folder of the week's claims, which is replaced whole with each run of theirs.
        """
        return Path(f"benchmarks/results/bench/{self.week}.json")

    @property
    def report(self) -> Path:
        return self.results.with_suffix(".html")

    @property
    def readme(self) -> Path:
        return Path(self.package) / "README.md"

    @property
    def marks(self) -> tuple[str, str]:
        """Between which lines of the README the tables stand."""
        name = f"w{self.week.removeprefix('week')}"
        return f"<!-- bench: {name} begin -->", f"<!-- bench: {name} end -->"
