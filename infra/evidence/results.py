"""Results on disk: one JSON file per `check`, with everything needed to judge it again."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from infra.evidence.figures import Figures
from infra.evidence.verdict import Judgement, Outcome, Role, Run, State
from infra.lab.errors import LabError
from infra.lab.site import make_dir

FORMAT = 1
PUBLISHED_ENGINE = "local"
"""Whose figures are published: those of containers are of another setting, and kept apart."""

KEPT_FILES = 50
"""Of deep runs, of runs of a target and of others each: the oldest go first."""


@dataclass(frozen=True, kw_only=True)
class ClaimResult:
    """One claim and all its runs."""

    id: str
    says: str
    rows: tuple[int, ...]
    mechanism: str
    unit: str
    state: State
    reason: str
    seconds: float
    runs: tuple[Run, ...]

    def steps(self, role: Role) -> list[str]:
        """The steps that ran in `role`, in order."""
        return list(dict.fromkeys(run.step for run in self.runs if run.role is role))

    def values(self, step: str) -> list[float]:
        """The headline of each run at `step` that has figures."""
        figures = [run.figures for run in self.runs if run.step == step]
        return [one.value for one in figures if one and one.samples.get(one.headline)]

    def samples(self, step: str, name: str) -> list[float]:
        """The raw samples of one series over all runs at `step`."""
        figures = [run.figures for run in self.runs if run.step == step]
        return [sample for one in figures if one for sample in one.samples.get(name, ())]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One `check` of a week.

    Attributes:
        commit: that was checked; `dirty` when the files were not all those of that commit.
        deep: all seeds and repetitions of each claim.
        complete: all claims of the week ran to their end.
        seed: that somebody asked for; None when the claims' own were used.
        target: address of somebody's own service; None for ours.
        wall_s: from the start of the first server to the last verdict.
        servers: version by service.
        engine: on which the week ran; results say so where it is not the one that is published.
    """

    week: str
    commit: str
    dirty: bool
    deep: bool
    complete: bool
    seed: int | None
    target: str | None
    started_at: str
    wall_s: float
    host: Mapping[str, Any]
    servers: Mapping[str, str]
    claims: tuple[ClaimResult, ...]
    engine: str = PUBLISHED_ENGINE

    @property
    def green(self) -> bool:
        """Whether there are claims and each of them held beside its control."""
        return bool(self.claims) and all(one.state is State.HELD for one in self.claims)


def now() -> str:
    """This moment as results write it: UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def save(evidence: Evidence, folder: Path) -> Path:
    """Write one run's file, whole or not at all; old ones beyond the limit are removed."""
    make_dir(folder)
    kind = "target" if evidence.target else "deep" if evidence.deep else "check"
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    if evidence.engine != PUBLISHED_ENGINE:
        kind = f"{kind}-{evidence.engine}"  # so that `last_deep` does not find it
    path = folder / f"{moment}-{kind}.json"
    write(path, to_json(evidence))
    for old in sorted(folder.glob(f"*-{kind}.json"))[:-KEPT_FILES]:
        old.unlink(missing_ok=True)
    return path


def write(path: Path, content: Mapping[str, Any]) -> None:
    """JSON of finite numbers; the old file stays until the new one is complete."""
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)


def load(path: Path) -> Evidence:
    """Raises LabError for a file that is no such result."""
    try:
        return from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LabError(f"{path} is no result of a check, or damaged: remove it") from error


def last_deep(folder: Path) -> Evidence | None:
    """The newest deep run, whatever came of it: a red one is not passed over for an older."""
    files = sorted(folder.glob("*-deep.json"))
    return load(files[-1]) if files else None


def to_json(evidence: Evidence) -> dict[str, Any]:
    usual = evidence.engine == PUBLISHED_ENGINE
    left_out = {"claims", "engine"} if usual else {"claims"}
    return {
        "format": FORMAT,
        **{name: value for name, value in vars(evidence).items() if name not in left_out},
        "claims": [claim_to_json(one) for one in evidence.claims],
    }


def claim_to_json(one: ClaimResult) -> dict[str, Any]:
    return {**vars(one), "rows": list(one.rows), "runs": [_run_to_json(run) for run in one.runs]}


def _run_to_json(run: Run) -> dict[str, Any]:
    fit = run.figures is not None and not any(
        "finite" in flaw for flaw in run.figures.flaws(run.figures.unit, run.figures.seed)
    )
    return {
        **vars(run),
        # What JSON cannot hold is broken already, and its verdict says so.
        "figures": run.figures.to_json() if run.figures and fit else None,
        "judgement": vars(run.judgement) if run.judgement else None,
    }


def from_json(content: Mapping[str, Any]) -> Evidence:
    """Raises ValueError, KeyError or TypeError for what is no result."""
    fields = dict(content)
    if fields.pop("format") != FORMAT:
        raise ValueError("another format")
    claims = tuple(claim_from_json(one) for one in fields.pop("claims"))
    return Evidence(**fields, claims=claims)


def claim_from_json(content: Mapping[str, Any]) -> ClaimResult:
    """Raises ValueError, KeyError or TypeError for what is no claim's result."""
    runs = tuple(_run_from_json(run) for run in content["runs"])
    shaped = {"rows": tuple(content["rows"]), "state": State(content["state"]), "runs": runs}
    return ClaimResult(**{**content, **shaped})


def _run_from_json(content: Mapping[str, Any]) -> Run:
    run = Run(**{**content, "role": Role(content["role"]), "figures": None, "judgement": None})
    if content["figures"] is not None:
        run = replace(run, figures=Figures(**content["figures"]))
    if content["judgement"] is not None:
        judged = {**content["judgement"], "outcome": Outcome(content["judgement"]["outcome"])}
        run = replace(run, judgement=Judgement(**judged))
    return run
