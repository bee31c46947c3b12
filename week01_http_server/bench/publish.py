"""Where the bench's results go, and what keeps README, report and results together."""

from __future__ import annotations

import os
from pathlib import Path

from infra.lab.errors import LabError
from week01_http_server.bench import report, results, table
from week01_http_server.bench.results import Bench

# Not in results/week01: that folder is the claims', and is replaced whole with each run of theirs.
RESULTS = Path("benchmarks/results/bench/week01.json")
REPORT = RESULTS.with_suffix(".html")
README = Path("week01_http_server/README.md")


def objection(bench: Bench) -> str:
    """Why a run may not be published; "" when it may. Pure."""
    if bench.quick:
        return "a quick run is too short to be published"
    if bench.environment.dirty:
        return "the run was of files that are not committed: commit, then measure again"
    return ""


def keep(bench: Bench, folder: Path) -> Path:
    """Write results and report of any run into `folder`; the report's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RESULTS.name).write_text(results.to_text(bench), encoding="utf-8")
    path = folder / REPORT.name
    path.write_text(report.page(bench), encoding="utf-8")
    return path


def publish(bench: Bench, clone: Path) -> list[Path]:
    """Make it the published run: results, report, README. LabError when it is not fit."""
    if why := objection(bench):
        raise LabError(f"not published: {why}")
    readme = _readme(clone, bench)
    keep(bench, (clone / RESULTS).parent)
    (clone / README).write_text(readme, encoding="utf-8")
    return [clone / RESULTS, clone / REPORT, clone / README]


def published(clone: Path) -> Bench | None:
    """None where nothing is published yet. LabError for a damaged file."""
    path = clone / RESULTS
    if not path.is_file():
        return None
    try:
        return results.from_text(path.read_text(encoding="utf-8"))
    except (ValueError, KeyError, TypeError) as error:
        raise LabError(f"{path} is damaged: publish a new run") from error


def held_together(clone: Path) -> list[str]:
    """Where results, report and README disagree, a line each; [] when nowhere."""
    bench = published(clone)
    found = []
    if (clone / README).read_text(encoding="utf-8") != _readme(clone, bench):
        found.append(f"{README} shows other figures")
    if bench is None:
        return found + [f"{REPORT} is of no results"] * (clone / REPORT).exists()
    if why := objection(bench):
        found.append(f"{RESULTS}: {why}")
    if not (clone / REPORT).is_file():
        found.append(f"{REPORT} is missing")
    elif (clone / REPORT).read_text(encoding="utf-8") != report.page(bench):
        found.append(f"{REPORT} is not what the results make of it")
    return found


def _readme(clone: Path, bench: Bench | None) -> str:
    link = os.path.relpath(clone / REPORT, (clone / README).parent)
    content = "" if bench is None else table.markdown(bench, link)
    try:
        return table.with_table((clone / README).read_text(encoding="utf-8"), content)
    except ValueError as error:
        raise LabError(f"{README}: {error}") from error
