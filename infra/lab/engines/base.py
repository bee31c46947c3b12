"""The small interface behind which every engine stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from infra.lab.site import Site


class State(StrEnum):
    """What a service is doing, in words that mean the same on every engine."""

    RUNNING = "running"
    STARTING = "starting"
    RESTARTING = "restarting"
    PAUSED = "paused"
    STOPPED = "stopped"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True)
class ServiceStatus:
    """One line of `status`.

    Attributes:
        memory_bytes: proportional set size of the process and its children; None where the
            system does not tell.
        uptime_s: since the last start.
        restarts: automatic ones since `up`.
    """

    name: str
    kind: str
    state: State
    version: str = ""
    address: str = ""
    pid: int | None = None
    memory_bytes: int | None = None
    uptime_s: float | None = None
    restarts: int = 0


@dataclass(frozen=True)
class Event:
    """Progress of one service (or of the whole week, name "") while a verb works."""

    name: str
    text: str
    done: bool = False


Report = Callable[[Event], None]


def silent(event: Event) -> None:
    """A report that nobody reads."""


class Log(Protocol):
    """What one service has written and writes."""

    def exists(self) -> bool:
        """Whether there is anything to read, or was."""
        ...

    def skip(self) -> None:
        """Pass over what is there now: `new_lines` gives what comes after it."""
        ...

    def new_lines(self) -> Iterator[str]:
        """Whole lines that came since the last call, without their ends."""
        ...

    def rest(self) -> Iterator[str]:
        """The unfinished line at the end, if there is one."""
        ...

    def close(self) -> None: ...


class Engine(Protocol):
    """Verbs on one week. All raise LabError with one line for the user."""

    @property
    def name(self) -> str:
        """As `ENGINE=` names it."""
        ...

    @property
    def site(self) -> Site: ...

    def log(self, name: str) -> Log:
        """A reader of the service's log, at its beginning."""
        ...

    def is_up(self) -> bool: ...

    async def up(self, report: Report = silent) -> None: ...

    async def down(self, report: Report = silent) -> None: ...

    def status(self) -> list[ServiceStatus]: ...

    def overhead(self) -> list[ServiceStatus]:
        """What the engine itself runs beside the services."""
        ...

    def clean(self) -> None: ...

    async def start(self, names: Sequence[str], report: Report = silent) -> None: ...

    async def stop(self, names: Sequence[str], report: Report = silent) -> None: ...

    async def kill(self, name: str) -> None: ...

    async def crash(self, name: str) -> None: ...

    async def pause(self, name: str) -> None: ...

    async def resume(self, name: str) -> None: ...
