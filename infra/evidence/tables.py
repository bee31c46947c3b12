"""The published tables in READMEs: between marks, from results alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from infra.evidence import between
from infra.evidence.results import ClaimResult, Evidence
from infra.evidence.screen import figure
from infra.evidence.verdict import Role

README = "README.md"


def marks(week: str) -> tuple[str, str]:
    """What the table of `week04` stands between."""
    short = f"w{week[-2:]}"
    return f"<!-- evidence: {short} begin -->", f"<!-- evidence: {short} end -->"


def readmes(clone: Path, package: str) -> list[Path]:
    """Those that may show tables of a week: the project's and the week's."""
    return [path for path in (clone / README, clone / package / README) if path.is_file()]


def table(evidence: Evidence | None, report: str) -> str:
    """The Markdown between the marks; "" where nothing is published.

    Args:
        report: link to the report, as seen from the README.
    """
    if evidence is None:
        return ""
    lines = ["| claim | says | measured | without it | runs |", "|---|---|---|---|---|"]
    lines += [_row(one) for one in evidence.claims]
    return "\n".join([*lines, "", f"{provenance(evidence)} [Samples and plots]({report})."])


def _row(one: ClaimResult) -> str:
    cells = (
        f"`{one.id}`",
        one.says,
        figure(one, Role.PASS, unit=True),
        figure(one, Role.CONTROL, unit=True),
        str(len(one.runs)),
    )
    return f"| {' | '.join(map(_escaped, cells))} |"


def _escaped(cell: str) -> str:
    """Words as they are: neither a column of their own nor HTML."""
    return cell.replace("|", "\\|").replace("&", "&amp;").replace("<", "&lt;")


def provenance(evidence: Evidence) -> str:
    """Where and of what it was measured, in one sentence."""
    host = evidence.host
    return (
        f"Median (lowest to highest) of all runs at commit {evidence.commit[:12]}, "
        f"{evidence.started_at[:10]}, on {host['processors']} x {host['processor']}, "
        f"{host['memory_gib']} GiB, {host['system']}."
    )


def with_table(readme: str, week: str, content: str) -> str:
    """The README's text with its table made anew. Raises ValueError where a mark is missing."""
    return between.replaced(readme, marks(week), content)


def shows(readme: str, week: str) -> bool:
    """Whether a README has any mark of the week."""
    return any(mark in readme for mark in marks(week))


def weeks_marked(readme: str) -> Iterator[str]:
    """Every week that a README has a mark of."""
    found = re.findall(r"<!-- evidence: w(\d\d) (?:begin|end) -->", readme)
    yield from (f"week{number}" for number in sorted(set(found)))
