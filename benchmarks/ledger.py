"""What was promised, held against what is there. Pure.

The client remembers every operation: acknowledged (the service said it is done), refused (it is
certainly not done) or indeterminate (nobody knows: a time limit, a connection that broke). After a
fault the store is asked how often each is in it. From that follows what was lost or done twice,
and how long the service was away.

Words: RTO, recovery time objective, and RPO, recovery point objective (ISO 22301; NIST SP 800-34,
section 3.2) name goals; what is computed here is the time and the loss that were measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

ENTRIES_MAX: Final = 2_000_000
SUSTAIN_S: Final = 1.0
SUSTAIN_OPERATIONS: Final = 10


class State(StrEnum):
    """What the client knows of an operation."""

    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    INDETERMINATE = "indeterminate"


@dataclass(frozen=True, slots=True)
class Entry:
    """One operation; times by any one clock, in seconds.

    Attributes:
        key: the caller's name for it, unique.
        started_s: when it was begun.
        ended_s: when its state was known; None while it is under way.
    """

    key: str
    state: State
    started_s: float
    ended_s: float | None


@dataclass(frozen=True, slots=True)
class Recovery:
    """How long the service was away after a fault.

    Attributes:
        fault_s: when the fault was injected.
        disrupted: whether any operation that ended after the fault was not acknowledged. Without
            that the fault hurt nobody, and both times are 0.
        first_s: from the fault to the first acknowledgement of an operation begun after the
            disruption; None if there was none.
        sustained_s: the same for the first operation from which on all are acknowledged for a
            while; None if the record does not show that.
        failed: operations ended after the fault and not acknowledged.
    """

    fault_s: float
    disrupted: bool
    first_s: float | None
    sustained_s: float | None
    failed: int


@dataclass(frozen=True)
class Verdict:
    """The store's content held against the record. The names are keys of operations.

    Attributes:
        acknowledged, refused, indeterminate: how many operations were in which state.
        lost: acknowledged, and not there.
        duplicated: there more than once, in whatever state.
        present: indeterminate, and there.
        absent: indeterminate, and not there.
        present_refused: refused, and yet there: "certainly not done" was not true.
        unknown: there, and never asked for.
    """

    acknowledged: int
    refused: int
    indeterminate: int
    lost: tuple[str, ...]
    duplicated: tuple[str, ...]
    present: tuple[str, ...]
    absent: tuple[str, ...]
    present_refused: tuple[str, ...]
    unknown: tuple[str, ...]

    @property
    def kept(self) -> bool:
        """Nothing acknowledged is lost, nothing is there twice, and nothing is there that the
        service denied or nobody asked for. Indeterminate operations may be there or not."""
        return not (self.lost or self.duplicated or self.present_refused or self.unknown)

    def to_json(self) -> dict[str, Any]:
        """Everything, for `json.dumps`."""
        return asdict(self) | {"kept": self.kept}


class Ledger:
    """The record of one run. An operation that never ends stays indeterminate."""

    def __init__(self, entries_max: int = ENTRIES_MAX) -> None:
        self._entries: dict[str, Entry] = {}
        self._entries_max = entries_max

    def begin(self, key: str, at_s: float) -> None:
        """Operation `key` is about to be sent: from now on it may have happened.

        ValueError for a key used before; OverflowError beyond the limit of entries.
        """
        if key in self._entries:
            raise ValueError(f"operation {key!r} was begun before")
        if len(self._entries) >= self._entries_max:
            raise OverflowError(f"the ledger holds {self._entries_max} operations and no more")
        self._entries[key] = Entry(key, State.INDETERMINATE, at_s, None)

    def end(self, key: str, state: State, at_s: float) -> None:
        """What became of operation `key`. KeyError for one never begun; ValueError for one that
        has ended, or that would end before it began."""
        entry = self._entries[key]
        if entry.ended_s is not None:
            raise ValueError(f"operation {key!r} has ended before, as {entry.state}")
        if at_s < entry.started_s:
            raise ValueError(f"operation {key!r} would end before it began")
        self._entries[key] = Entry(key, state, entry.started_s, at_s)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All operations, in the order they were begun."""
        return tuple(self._entries.values())

    def compare(self, found: Mapping[str, int]) -> Verdict:
        """Hold what the store has (key to number of copies) against the record.

        ValueError for a number of copies below 0.
        """
        if any(copies < 0 for copies in found.values()):
            raise ValueError("nothing can be there less than 0 times")
        there = {key for key, copies in found.items() if copies}
        by_state: dict[State, list[str]] = {state: [] for state in State}
        for entry in self._entries.values():
            by_state[entry.state].append(entry.key)
        acknowledged = by_state[State.ACKNOWLEDGED]
        refused = by_state[State.REFUSED]
        unsure = by_state[State.INDETERMINATE]
        return Verdict(
            acknowledged=len(acknowledged),
            refused=len(refused),
            indeterminate=len(unsure),
            lost=tuple(key for key in acknowledged if key not in there),
            duplicated=tuple(key for key in self._entries if found.get(key, 0) > 1),
            present=tuple(key for key in unsure if key in there),
            absent=tuple(key for key in unsure if key not in there),
            present_refused=tuple(key for key in refused if key in there),
            unknown=tuple(sorted(there - self._entries.keys())),
        )

    def recovery(
        self,
        fault_s: float,
        sustain_s: float = SUSTAIN_S,
        sustain_operations: int = SUSTAIN_OPERATIONS,
    ) -> Recovery:
        """How long the service was away after a fault at `fault_s`; see `Recovery`.

        The record begins at the disruption, not at the fault: a fault takes a moment to land, and
        an operation acknowledged in that moment is no recovery.

        Args:
            sustain_s: success is sustained when all operations begun in this time after an
                acknowledged one are acknowledged too, and the record reaches that far
            sustain_operations: and these are at least so many, that one included.
        """
        after = [
            entry
            for entry in sorted(self._entries.values(), key=lambda one: one.started_s)
            if entry.ended_s is None or entry.ended_s >= fault_s
        ]
        failed = [entry for entry in after if entry.state is not State.ACKNOWLEDGED]
        if not failed:
            return Recovery(fault_s, False, 0.0, 0.0, 0)
        begin_s = max(fault_s, failed[0].started_s)
        since = [entry for entry in after if entry.started_s >= begin_s]
        first = _first_acknowledgement(since)
        sustained = _sustained(since, sustain_s, sustain_operations)
        return Recovery(
            fault_s,
            True,
            None if first is None else first - fault_s,
            None if sustained is None else sustained - fault_s,
            len(failed),
        )

    def rpo_s(self, verdict: Verdict, fault_s: float) -> float:
        """How far back the loss reaches: from the oldest lost acknowledgement to the fault.

        0 when nothing is lost, or only what was acknowledged after the fault.
        """
        acknowledged = (self._entries[key].ended_s for key in verdict.lost)
        oldest_s = min((at_s for at_s in acknowledged if at_s is not None), default=fault_s)
        return max(0.0, fault_s - oldest_s)


def _first_acknowledgement(entries: Iterable[Entry]) -> float | None:
    return min(
        (
            entry.ended_s
            for entry in entries
            if entry.state is State.ACKNOWLEDGED and entry.ended_s is not None
        ),
        default=None,
    )


def _sustained(entries: list[Entry], sustain_s: float, operations: int) -> float | None:
    """When the first acknowledgement came after which success lasted; `entries` by start.

    A run of acknowledged operations that is long enough from its first on is long enough for the
    answer; one that is too short is so from each of its members on. So each run is looked at once.
    """
    run: list[Entry] = []
    for entry in entries:
        if entry.state is not State.ACKNOWLEDGED:
            run = []
            continue
        run.append(entry)
        lasts = entry.started_s >= run[0].started_s + sustain_s
        if lasts and len(run) >= operations:
            return _first_acknowledgement(run)
    return None
