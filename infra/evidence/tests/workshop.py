"""Writes folders of checks for pytester, and reads back what the plugin made of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

CONFTEST = """
import pytest
from infra.evidence import Lab

@pytest.fixture
def lab():
    return Lab(url="http://127.0.0.1:9")
"""

HEAD = """
from enum import StrEnum
from infra.evidence import Figures, Lab, Mechanism, claim

def figures(lab, queries, **changes):
    return Figures(**{
        "unit": "queries", "headline": "queries", "samples": {"queries": queries},
        "attempts": 100, "seed": lab.seed, **changes,
    })

"""

MEASURE = "return figures(lab, [1] if mechanism is Mechanism.ON else [100])"
JUDGE = "assert figures.value == 1"


class Workshop:
    """A folder week04_x/checks in a temporary place, and pytest in the same process on it."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        self.checks = pytester.path / "week04_x" / "checks"
        self.checks.mkdir(parents=True)
        self.results = pytester.path / "results"
        (self.checks / "conftest.py").write_text(CONFTEST)

    def claim(
        self,
        measure: str = MEASURE,
        judge: str = JUDGE,
        declared: str = "rows=[30]",
        id: str = "w04.herd",
        file: str = "herd.py",
        before: str = "",
        name: str = "",
    ) -> None:
        """Add a claim whose two methods have these bodies, one line or more each."""
        path = self.checks / file
        text = path.read_text() if path.exists() else HEAD
        body = "\n".join(f"        {line}" for line in measure.splitlines())
        verdict = "\n".join(f"        {line}" for line in judge.splitlines())
        text += f"""{before}
@claim({id!r}, mechanism="single flight", unit="queries", {declared})
class {name or id.partition(".")[2].title().replace(".", "")}:
    '''A hundred misses ask once.'''
    async def measure(self, lab, mechanism):
{body}
    def judge(self, figures):
{verdict}
"""
        path.write_text(text)

    def check(self, *words: str) -> pytest.RunResult:
        """Run the claims."""
        return self.pytester.runpytest_inprocess(
            *("-p", "infra.evidence.plugin", "-p", "no:cacheprovider"),
            *("--results", str(self.results), "week04_x/checks", *words),
        )

    def result(self, kind: str = "*") -> dict[str, Any]:
        """The newest result on disk."""
        content: dict[str, Any] = json.loads(self.files(kind)[-1].read_text())
        return content

    def files(self, kind: str = "*") -> list[Path]:
        return sorted(self.results.glob(f"*-{kind}.json"))

    def outcome(self) -> tuple[str, str]:
        """State and reason of the only claim."""
        [one] = self.result()["claims"]
        return one["state"], one["reason"]
