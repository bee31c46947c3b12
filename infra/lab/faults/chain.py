"""The toxics of one direction of one connection, in a row: pure, with the time given from outside.

A chain loses, doubles and reorders nothing by itself, also while toxics come and go: what a
removed toxic held goes on to the next one, in order.
"""

from __future__ import annotations

from collections import deque

from infra.lab.faults.toxics import Item, Stage


class Chain:
    """Items go in by `feed`, come out by `take` when all stages have let them pass."""

    def __init__(self) -> None:
        self._stages: dict[str, Stage] = {}
        self._out: deque[Item] = deque()

    @property
    def is_clear(self) -> bool:
        """Nothing is held and nothing would be: data may pass beside the chain."""
        return not self._stages and not self._out

    @property
    def has_room(self) -> bool:
        """Whether the sender may go on. Items are taken in any case."""
        first = next(iter(self._stages.values()), None)
        return not self._out if first is None else first.has_room

    def feed(self, item: Item, now: float) -> None:
        """Take what arrived at `now`."""
        self._enter(list(self._stages.values()), 0, item, now)

    def take(self, now: float) -> Item | None:
        """The next item that may leave at `now`; call it until it says None."""
        stages = list(self._stages.values())
        while not self._out:
            moved = False
            for index in range(len(stages) - 1, -1, -1):
                if self._is_open(stages, index) and (item := stages[index].pop(now)) is not None:
                    self._enter(stages, index + 1, item, now)
                    moved = True
            if not moved:
                return None
        return self._out.popleft()

    def due(self) -> float | None:
        """When `take` is worth a call; None if only new input or a changed toxic can help."""
        stages = list(self._stages.values())
        times = [
            due
            for index, stage in enumerate(stages)
            if self._is_open(stages, index) and (due := stage.due()) is not None
        ]
        return min(times, default=None)

    def add(self, name: str, stage: Stage) -> None:
        """At the end of the row."""
        self._stages[name] = stage

    def replace(self, name: str, stage: Stage, now: float) -> None:
        """New settings of a toxic; what it held goes on at once."""
        before = self._stages[name]
        stage.carry(before)
        self._stages[name] = stage
        self._pass_on(name, before, now)

    def remove(self, name: str, now: float) -> None:
        """What it held goes on at once."""
        self._pass_on(name, self._stages[name], now)
        del self._stages[name]

    def _pass_on(self, name: str, stage: Stage, now: float) -> None:
        after = list(self._stages).index(name) + 1
        for item in stage.flush():
            self._enter(list(self._stages.values()), after, item, now)

    def _enter(self, stages: list[Stage], index: int, item: Item, now: float) -> None:
        if index < len(stages):
            stages[index].push(item, now)
        else:
            self._out.append(item)

    @staticmethod
    def _is_open(stages: list[Stage], index: int) -> bool:
        return index + 1 >= len(stages) or stages[index + 1].has_room
