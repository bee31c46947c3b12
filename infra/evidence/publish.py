"""Makes the last deep run the published one: `python -m infra.evidence.publish [week04 ...]`.

With --render it only makes reports and tables anew from what is published already.

The files under benchmarks/results/weekNN are written here and nowhere else, and so are the tables
between the marks in READMEs: whoever wants another number measures again.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infra.bootstrap import clone_root, lab_home
from infra.evidence import host, report, results, tables
from infra.evidence.results import Evidence
from infra.evidence.run import week_of
from infra.lab.errors import LabError, UsageError
from infra.lab.weeks import packages

PUBLISHED = Path("benchmarks/results")
RUN = "run.json"
REPORT = "report.html"
CLAIMS = "w[0-9][0-9].*.json"


class RefusedError(LabError):
    """The last run is not fit to be published; the line says why, and what to do."""


def objection(evidence: Evidence | None, commit: str) -> str:
    """Why a run may not be published at `commit`; "" when it may. Pure."""
    if evidence is None:
        return "there is no deep run"
    if evidence.engine != results.PUBLISHED_ENGINE:
        return f"the last deep run was on the engine {evidence.engine}"
    if evidence.target is not None or evidence.seed is not None:
        return "the last deep run was of a target, or of one seed that somebody chose"
    if not evidence.complete:
        return "the last deep run was cut short, or not of all claims"
    if not evidence.green:
        bad = [one.id for one in evidence.claims if one.state != "held"]
        return f"in the last deep run not all held: {', '.join(bad) or 'there were no claims'}"
    if evidence.dirty:
        return "the last deep run was of files that are not committed"
    if evidence.commit != commit:
        return f"the last deep run was of commit {evidence.commit[:12]}, HEAD is {commit[:12]}"
    return ""


def publish(package: str, clone: Path, folder: Path) -> list[Path]:
    """Promote the last deep run of `week04_shortener` in `folder`; the files that changed.

    Raises RefusedError when that run is not fit, and LabError for a README with damaged marks;
    nothing is written then.
    """
    week = week_of(package)
    evidence = results.last_deep(folder)
    if why := objection(evidence, host.source(clone).commit):
        raise RefusedError(f"{week}: {why}: commit everything, then make {week} check DEEP=1")
    assert evidence is not None  # an objection otherwise
    changed = {path: _with_table(path, clone, week, evidence) for path in _shown(clone, package)}
    target = clone / PUBLISHED / week
    _replace(target, _contents(evidence))
    for path, text in changed.items():
        path.write_text(text, encoding="utf-8")
    return [*sorted(target.iterdir()), *changed]


def published(clone: Path, week: str) -> Evidence | None:
    """What is published of a week; None for nothing. Raises LabError for damaged files."""
    folder = clone / PUBLISHED / week
    if not (folder / RUN).is_file():
        return None
    try:
        content = json.loads((folder / RUN).read_text(encoding="utf-8"))
        claims = [_claim(folder / f"{name}.json", content["run"]) for name in content["claims"]]
        return results.from_json({**content["run"], "claims": claims})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LabError(f"{folder} is damaged: make publish writes it anew") from error


def held_together(clone: Path) -> list[str]:
    """Where published results, reports and READMEs disagree, a line each; [] when nowhere.

    What was edited by hand, also a single sample, is found: report and tables are made again
    from the results, and each claim's file names the run it is of.
    """
    found: list[str] = []
    for week, package in packages(clone).items():
        try:
            evidence = published(clone, week)
        except LabError as error:
            found.append(str(error))
            continue
        found += _unlike(clone, week, evidence)
        for path in _shown(clone, package):
            try:
                if path.read_text(encoding="utf-8") != _with_table(path, clone, week, evidence):
                    found.append(f"{path.relative_to(clone)} shows other figures of {week}")
            except LabError as error:
                found.append(str(error))
    return found


def render(package: str, clone: Path) -> list[Path]:
    """Make report and tables anew from what is published, after a change of how they look.

    Returns the files written. Raises LabError for damaged results or marks.
    """
    week = week_of(package)
    evidence = published(clone, week)
    changed = {path: _with_table(path, clone, week, evidence) for path in _shown(clone, package)}
    if evidence is not None:
        changed[clone / PUBLISHED / week / REPORT] = report.page(evidence)
    for path, text in changed.items():
        path.write_text(text, encoding="utf-8")
    return list(changed)


def _unlike(clone: Path, week: str, evidence: Evidence | None) -> Iterator[str]:
    """Files of the published folder that are not what the results make of them."""
    folder = clone / PUBLISHED / week
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    wanted = _contents(evidence) if evidence is not None else {}
    for name in sorted(there.symmetric_difference(wanted)):
        yield f"{PUBLISHED / week / name} is not of the published run"
    for name in sorted(there.intersection(wanted)):
        if (folder / name).read_text(encoding="utf-8") != wanted[name]:
            yield f"{PUBLISHED / week / name} is not what the results make of it"
    if evidence is not None and (why := objection(evidence, evidence.commit)):
        yield f"{PUBLISHED / week} should not have been published: {why}"


def _contents(evidence: Evidence) -> dict[str, str]:
    """Every file of a published folder by its name."""
    whole = results.to_json(evidence)
    run = {name: value for name, value in whole.items() if name != "claims"}
    files: dict[str, Any] = {RUN: {"run": run, "claims": [one.id for one in evidence.claims]}}
    for one in whole["claims"]:
        files[f"{one['id']}.json"] = {"run": _name(run), "claim": one}
    texts = {name: json.dumps(content, indent=1) + "\n" for name, content in files.items()}
    return {**texts, REPORT: report.page(evidence)}


def _name(run: dict[str, Any]) -> dict[str, Any]:
    return {"commit": run["commit"], "started_at": run["started_at"]}


def _claim(path: Path, run: dict[str, Any]) -> Any:
    content = json.loads(path.read_text(encoding="utf-8"))
    if content["run"] != _name(run):
        raise ValueError(f"{path.name} is of another run")
    return content["claim"]


def _replace(target: Path, contents: dict[str, str]) -> None:
    """The folder with these files and no other, put in place in one step."""
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        fresh.chmod(0o755)
        for name, text in contents.items():
            (fresh / name).write_text(text, encoding="utf-8")
        if target.exists():
            target.rename(fresh / ".before")
        fresh.rename(target)
        shutil.rmtree(target / ".before", ignore_errors=True)
    except BaseException:
        with contextlib.suppress(OSError):
            (fresh / ".before").rename(target)
        shutil.rmtree(fresh, ignore_errors=True)
        raise


def _shown(clone: Path, package: str) -> list[Path]:
    """READMEs that have a mark of the week."""
    week = week_of(package)
    paths = tables.readmes(clone, package)
    return [path for path in paths if tables.shows(path.read_text(encoding="utf-8"), week)]


def _with_table(path: Path, clone: Path, week: str, evidence: Evidence | None) -> str:
    link = os.path.relpath(clone / PUBLISHED / week / REPORT, path.parent)
    content = tables.table(evidence, link)
    try:
        return tables.with_table(path.read_text(encoding="utf-8"), week, content)
    except ValueError as error:
        raise LabError(f"{path.relative_to(clone)}: {error}") from error


def main(words: list[str]) -> int:
    """Publish the weeks named, else every week that has been checked deeply."""
    clone, home = clone_root(), lab_home()
    known = packages(clone)
    again = words[:1] == ["--render"]
    named = words[1:] if again else words
    try:
        if unknown := [week for week in named if week not in known]:
            raise UsageError(f"there is no {unknown[0]}: weeks that run are {', '.join(known)}")
        folders = {week: home / week / "evidence" for week in named or known}
        if not words:
            folders = {week: one for week, one in folders.items() if any(one.glob("*-deep.json"))}
        if not folders:
            raise RefusedError("no week has a deep run: make weekNN check DEEP=1")
        for week, folder in folders.items():
            package = known[week]
            for path in render(package, clone) if again else publish(package, clone, folder):
                print(path.relative_to(clone))
    except LabError as error:
        print(f"publish: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
