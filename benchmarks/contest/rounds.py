"""The rounds: everybody once in each of them, so that a busy moment of the machine hits all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.contest.results import Cell, Round


@dataclass(frozen=True)
class Depth:
    """How long and how often.

    Attributes:
        seconds, rounds: of a closed loop.
        open_seconds, open_rounds: of an open one, whose fewer requests need longer rounds: the
            kernel tells processor time in steps of 10 ms.
    """

    seconds: int
    rounds: int
    open_seconds: int
    open_rounds: int

    def of(self, *, is_open: bool) -> tuple[int, int]:
        """Rounds, and the seconds of each."""
        return (self.open_rounds, self.open_seconds) if is_open else (self.rounds, self.seconds)


Say = Callable[[str], None]
OneRound = Callable[[int], Round]
"""Runs one round of so many seconds."""


def turns(names: Sequence[str], rounds: int) -> Iterator[tuple[int, str]]:
    """Round and name, everybody once a round: turned, so that nobody always runs after the same
    neighbour."""
    for number in range(rounds):
        turn = number % len(names)
        for name in [*names[turn:], *names[:turn]]:
            yield number, name


def interleaved(
    case: str, contestants: Mapping[str, OneRound], rounds: int, seconds: int, say: Say
) -> list[Cell]:
    """All rounds of a case; before more than one, one that warms up and is not kept."""
    found: dict[str, list[Round]] = {name: [] for name in contestants}
    names = list(contestants)
    for name in names if rounds > 1 else ():
        contestants[name](1)
    for number, name in turns(names, rounds):
        one = contestants[name](seconds)
        found[name].append(one)
        say(f"{name:<14} {one.per_s:>8.0f}/s {one.cpu_us:>7.1f} us  ({number + 1} of {rounds})")
    return [Cell(case, name, tuple(rounds_)) for name, rounds_ in found.items()]
