"""Runs a claim: which runs there are, each within its time, each judged."""

from __future__ import annotations

import asyncio
import contextlib
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial

import anyio

from infra.evidence import labs
from infra.evidence.claims import Claim, Declaration
from infra.evidence.figures import Figures
from infra.evidence.judging import let_judge, named
from infra.evidence.labs import Lab
from infra.evidence.verdict import Role, Run, broken_by

TICK_S = 1.0
REPAIR_LIMIT_S = 120.0

Tick = Callable[[str, float, str], None]
"""Told every moment: which run, the seconds it has taken, what the claim said last."""


@dataclass(frozen=True)
class Scope:
    """How much of each claim is run.

    Attributes:
        deep: all repetitions of all seeds, else the first seed once.
        seed: in place of the claim's own.
        controlled: false against a target, whose mechanism nobody here can take away.
    """

    deep: bool = False
    seed: int | None = None
    controlled: bool = True


@dataclass(frozen=True)
class Planned:
    """One run to come."""

    step: StrEnum
    role: Role
    seed: int
    repetition: int


def plan(declared: Declaration, scope: Scope) -> list[Planned]:
    """The runs in order. Passes and controls alternate, so that both see the same machine."""
    passes = declared.passes if scope.controlled else declared.passes[:1]
    steps = [(step, Role.PASS) for step in passes]
    if scope.controlled:
        steps += [(step, Role.CONTROL) for step in declared.controls]
    seeds = (scope.seed,) if scope.seed is not None else declared.seeds
    return [
        Planned(step, role, seed, repetition)
        for seed in (seeds if scope.deep else seeds[:1])
        for repetition in range(1, (declared.repetitions if scope.deep else 1) + 1)
        for step, role in steps
    ]


def run_all(
    cls: type[Claim], declared: Declaration, lab: Lab, planned: list[Planned], tick: Tick
) -> Iterator[Run]:
    """Each run as it ends. A broken one is the last: what follows could prove nothing."""
    for number, one in enumerate(planned, 1):
        name = f"{one.step} ({number} of {len(planned)}, seed {one.seed})"
        told = partial(tick, name)
        run = _run(cls, declared, replace(lab, seed=one.seed), one, told)
        yield run
        if broken_by(run, declared.unit):
            return


def _run(
    cls: type[Claim],
    declared: Declaration,
    lab: Lab,
    one: Planned,
    tick: Callable[[float, str], None],
) -> Run:
    began = time.monotonic()
    figures: Figures | None = None
    trouble = trace = ""
    try:
        figures = anyio.run(_measure, cls(), declared.limit_s, lab, one.step, tick)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # also pytest's own outcomes, which are no Exception
        trouble = named(error)
        trace = traceback.format_exc()
    fit = figures is not None and not figures.flaws(declared.unit, one.seed)
    return Run(
        step=str(one.step),
        role=one.role,
        seed=one.seed,
        repetition=one.repetition,
        seconds=time.monotonic() - began,
        figures=figures,
        trouble=trouble,
        traceback=trace,
        judgement=let_judge(cls(), figures) if figures is not None and fit else None,
    )


async def _measure(
    claim: Claim, limit_s: float, lab: Lab, step: StrEnum, tick: Callable[[float, str], None]
) -> Figures:
    """One `measure` on a lab that is whole. Raises whatever it raises, and TimeoutError."""
    told = [""]

    def hear(text: str) -> None:
        told[0] = text

    async with _ticking(tick, told):
        with anyio.fail_after(REPAIR_LIMIT_S):
            if again := await labs.make_whole(lab):
                hear(f"started again what was left dead: {', '.join(again)}")
        with anyio.move_on_after(limit_s):
            figures = await claim.measure(replace(lab, say=hear), step)
            if not isinstance(figures, Figures):
                raise TypeError(f"measure returned {type(figures).__name__}, not Figures")
            return figures
        raise TimeoutError(f"it took more than its {limit_s:g} s")


@contextlib.asynccontextmanager
async def _ticking(tick: Callable[[float, str], None], told: list[str]) -> AsyncIterator[None]:
    """Tells every moment how long this run has taken, and what the claim said last."""
    began = time.monotonic()

    async def go_on() -> None:
        while True:
            await asyncio.sleep(TICK_S)
            tick(time.monotonic() - began, told[0])

    tick(0, told[0])  # at once: a short run would be over before its first tick
    ticker = asyncio.create_task(go_on())
    try:
        yield
    finally:
        ticker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await ticker
