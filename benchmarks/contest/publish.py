"""Where the bench's results go, and what keeps README, report and results together."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.contest import report, results, table
from benchmarks.contest.contest import Contest
from benchmarks.contest.results import Bench
from infra.lab.errors import LabError


def objection(bench: Bench) -> str:
    """Why a run may not be published; "" when it may. Pure."""
    if bench.quick:
        return "a quick run is too short to be published"
    if bench.environment.dirty:
        return "the run was of files that are not committed: commit, then measure again"
    return ""


def keep(contest: Contest, bench: Bench, folder: Path) -> Path:
    """Write results and report of any run into `folder`; the report's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / contest.results.name).write_text(results.to_text(bench), encoding="utf-8")
    path = folder / contest.report.name
    path.write_text(report.page(contest, bench), encoding="utf-8")
    return path


def publish(contest: Contest, bench: Bench, clone: Path) -> list[Path]:
    """Make it the published run: results, report, README. LabError when it is not fit."""
    if why := objection(bench):
        raise LabError(f"not published: {why}")
    readme = _readme(contest, clone, bench)
    keep(contest, bench, (clone / contest.results).parent)
    (clone / contest.readme).write_text(readme, encoding="utf-8")
    return [clone / contest.results, clone / contest.report, clone / contest.readme]


def render(contest: Contest, clone: Path) -> list[Path]:
    """Make report and README anew of the published results. LabError where there are none."""
    bench = published(contest, clone)
    if bench is None:
        raise LabError(f"nothing is published: {contest.results} is missing")
    readme = _readme(contest, clone, bench)
    (clone / contest.report).write_text(report.page(contest, bench), encoding="utf-8")
    (clone / contest.readme).write_text(readme, encoding="utf-8")
    return [clone / contest.report, clone / contest.readme]


def published(contest: Contest, clone: Path) -> Bench | None:
    """None where nothing is published yet. LabError for a damaged file."""
    path = clone / contest.results
    if not path.is_file():
        return None
    try:
        return results.from_text(path.read_text(encoding="utf-8"))
    except (ValueError, KeyError, TypeError) as error:
        raise LabError(f"{path} is damaged: publish a new run") from error


def held_together(contest: Contest, clone: Path) -> list[str]:
    """Where results, report and README disagree, a line each; [] when nowhere."""
    bench = published(contest, clone)
    found = []
    if (clone / contest.readme).read_text(encoding="utf-8") != _readme(contest, clone, bench):
        found.append(f"{contest.readme} shows other figures")
    if bench is None:
        return found + [f"{contest.report} is of no results"] * (clone / contest.report).exists()
    if why := objection(bench):
        found.append(f"{contest.results}: {why}")
    if not (clone / contest.report).is_file():
        found.append(f"{contest.report} is missing")
    elif (clone / contest.report).read_text(encoding="utf-8") != report.page(contest, bench):
        found.append(f"{contest.report} is not what the results make of it")
    return found


def _readme(contest: Contest, clone: Path, bench: Bench | None) -> str:
    link = os.path.relpath(clone / contest.report, (clone / contest.readme).parent)
    content = "" if bench is None else table.markdown(contest, bench, link)
    try:
        return table.with_table(
            contest, (clone / contest.readme).read_text(encoding="utf-8"), content
        )
    except ValueError as error:
        raise LabError(f"{contest.readme}: {error}") from error
