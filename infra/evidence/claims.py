"""How a claim is declared: its id, the rows it shows, its mechanism, and its runs."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, TypeVar

from infra.evidence.figures import Figures
from infra.evidence.labs import Lab

NEEDS = ("url", "dsn", "engine")
RUN_LIMIT_S = 60.0
RUNS_MAX = 500

_DECLARED = "__evidence__"


class Mechanism(StrEnum):
    """Whether what a claim is about works. Off is another part joined at wiring."""

    ON = "on"
    OFF = "off"


class Claim(Protocol):
    """What a class under `@claim` has. One object is made for each run."""

    async def measure(self, lab: Lab, mechanism: Any) -> Figures:
        """Do the work on real servers; `mechanism` is the step to wire."""
        ...

    def judge(self, figures: Figures) -> None:
        """Assert. The same for every step; its asserts stand in it itself."""
        ...


C = TypeVar("C", bound=type[Claim])


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """What `@claim` was told, and what is wrong with it.

    Attributes:
        says: the claim in words, the first line of the class's docstring.
        problems: why this is no claim, one line each; empty when it is one.
    """

    id: str
    says: str
    rows: tuple[int, ...]
    mechanism: str
    unit: str
    needs: frozenset[str]
    seeds: tuple[int, ...]
    repetitions: int
    limit_s: float
    passes: tuple[StrEnum, ...]
    controls: tuple[StrEnum, ...]
    problems: tuple[str, ...] = ()


def claim(
    id: str,
    *,
    rows: Iterable[int] = (),
    mechanism: str,
    unit: str,
    needs: Iterable[str] = ("engine",),
    seeds: Iterable[int] = (1,),
    repetitions: int = 1,
    limit_s: float = RUN_LIMIT_S,
    passes: Iterable[StrEnum] = (Mechanism.ON,),
    controls: Iterable[StrEnum] = (Mechanism.OFF,),
) -> Callable[[C], C]:
    """Declare the class below as a claim. What is wrong is told when it is run, not here.

    Args:
        id: `w04.herd`; unique in the project.
        rows: of the roadmap's inventory that it shows.
        mechanism: what makes the claim true, in words.
        unit: of the figure, in words.
        needs: what it uses of the lab: "url", "dsn" or "engine" (which has all).
        seeds: the first is used by default, all of them in a deep run.
        repetitions: runs of each seed in a deep run.
        limit_s: of one `measure`, in seconds.
        passes: steps at which `judge` must pass; the first is the mechanism as it is meant.
        controls: steps at which it must fail. A ladder is a StrEnum of the claim's own, each
            member of which is a pass or a control.
    """

    def declare(cls: C) -> C:
        says = (cls.__doc__ or "").strip().splitlines()
        declared = Declaration(
            id=id,
            says=says[0].rstrip(".") if says else mechanism,
            rows=tuple(rows),
            mechanism=mechanism,
            unit=unit,
            needs=frozenset(needs),
            seeds=tuple(seeds),
            repetitions=repetitions,
            limit_s=limit_s,
            passes=tuple(passes),
            controls=tuple(controls),
        )
        found = (*_problems(declared), *_missing(cls), *_hidden_by(cls))
        setattr(cls, _DECLARED, Declaration(**{**vars(declared), "problems": found}))
        return cls

    return declare


def declaration(cls: type) -> Declaration | None:
    """What `@claim` was told of this very class (not of one it inherits from)."""
    found = vars(cls).get(_DECLARED)
    return found if isinstance(found, Declaration) else None


def _problems(declared: Declaration) -> Iterable[str]:
    if not re.fullmatch(r"w\d\d(\.[a-z0-9-]+)+", declared.id):
        yield f"{declared.id!r} is no id: write w04.herd"
    if not declared.rows:
        yield "it names no rows of the inventory"
    if not all(isinstance(row, int) and row > 0 for row in declared.rows):
        yield f"its rows are no numbers from 1: {declared.rows}"
    if not declared.unit.strip() or not declared.mechanism.strip():
        yield "it names no unit or no mechanism"
    if unknown := declared.needs.difference(NEEDS):
        yield f"it needs {', '.join(sorted(unknown))}: a lab has {', '.join(NEEDS)}"
    if not declared.needs:
        yield f"it needs nothing of a lab: name some of {', '.join(NEEDS)}"
    yield from _problems_of_runs(declared)


def _problems_of_runs(declared: Declaration) -> Iterable[str]:
    steps = (*declared.passes, *declared.controls)
    kinds = {type(step) for step in steps}
    if not declared.seeds or declared.repetitions < 1 or declared.limit_s <= 0:
        yield "it needs one seed, one repetition and some time at least"
    if len(set(declared.seeds)) != len(declared.seeds):
        yield "it names a seed twice"
    runs = len(declared.seeds) * declared.repetitions * len(steps)
    if runs > RUNS_MAX:
        yield f"its deep run has {runs} runs: {RUNS_MAX} are the most"
    if not declared.passes or not declared.controls:
        yield "it needs a step that passes and a control"
    elif len(kinds) != 1 or not all(issubclass(kind, StrEnum) for kind in kinds):
        yield "its steps are not of one StrEnum"
    elif len(set(steps)) != len(steps):
        yield "a step is named twice, or is both pass and control"
    elif left := set(kinds.pop()).difference(steps):
        yield f"{', '.join(sorted(left))}: declare it as pass or as control"


def _missing(cls: type) -> Iterable[str]:
    if not inspect.iscoroutinefunction(getattr(cls, "measure", None)):
        yield "it has no `async def measure(self, lab, mechanism)`"
    judge = getattr(cls, "judge", None)
    if not inspect.isfunction(judge) or inspect.iscoroutinefunction(judge):
        yield "it has no `def judge(self, figures)`"


def _hidden_by(cls: type) -> Iterable[str]:
    """A claim above of the same name is still its module's now, and lost once this one is bound."""
    above = vars(sys.modules[cls.__module__]).get(cls.__name__)
    if inspect.isclass(above) and declaration(above) is not None:
        yield f"it hides the claim above it, which is named {cls.__name__} too"
