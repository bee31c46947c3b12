"""What people see: live progress while a verb works, tables, one-line errors."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from infra.lab.engines.base import Event, ServiceStatus, State

MIB = 2**20
LINE_EVERY_S = 2.0
FILE_COLUMNS = 200

_COLOURS = {
    State.RUNNING: "green",
    State.DONE: "green",
    State.STARTING: "green",
    State.RESTARTING: "yellow",
    State.PAUSED: "magenta",
    State.STOPPED: "dim",
    State.FAILED: "red",
}


def stdout() -> Console:
    return _console(stderr=False)


def stderr() -> Console:
    return _console(stderr=True)


def _console(stderr: bool) -> Console:
    """Wide enough for every table where no terminal sets a width (a file, a pipe)."""
    console = Console(stderr=stderr, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = FILE_COLUMNS
    return console


class Progress:
    """A line per service: changed in place on a terminal; elsewhere printed when the service is
    done, and every few seconds while it is not."""

    def __init__(self, console: Console, names: Sequence[str]) -> None:
        self._console = console
        self._texts: dict[str, Event] = {}
        self._width = max(map(len, names), default=0)
        self._began = time.monotonic()
        self._printed: dict[str, float] = {}
        self._live = Live(
            console=console, get_renderable=self._render, refresh_per_second=8, transient=False
        )

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def __call__(self, event: Event) -> None:
        """Take one step of progress; may be called from a worker thread."""
        self._texts[event.name] = event
        if self._console.is_terminal:
            return
        now = time.monotonic()
        long_ago = now - self._printed.setdefault(event.name, now) >= LINE_EVERY_S
        if event.done or event.name == "" or long_ago:
            self._printed[event.name] = now
            self._console.print(self._line(event))

    def _line(self, event: Event) -> str:
        return f"  {event.name:<{self._width}}  {event.text}" if event.name else f"  {event.text}"

    def _render(self) -> RenderableType:
        lines: list[RenderableType] = []
        for event in list(self._texts.values()):
            if event.done:
                lines.append(Text(f"✓ {self._line(event)[2:]}", style="green"))
            else:
                lines.append(Spinner("dots", text=self._line(event)[2:]))
        elapsed_s = time.monotonic() - self._began
        return Group(*lines, Text(f"  {elapsed_s:.0f} s", style="dim"))


def status_table(rows: Sequence[ServiceStatus]) -> Table:
    """The services of a week, with the sum of their memory."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("service")
    table.add_column("state")
    table.add_column("server")
    table.add_column("address")
    for heading in ("pid", "memory", "uptime", "restarts"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            row.name,
            Text(row.state, style=_COLOURS[row.state]),
            f"{row.kind} {row.version}".strip(),
            row.address,
            str(row.pid or ""),
            _mebibytes(row.memory_bytes),
            _duration(row.uptime_s),
            str(row.restarts) if row.pid else "",
        )
    known = [row.memory_bytes for row in rows if row.memory_bytes is not None]
    if known:
        table.add_row("", "", "", "", "", _mebibytes(sum(known)), "", "", style="bold")
    return table


def facts_table(facts: Sequence[tuple[str, str]]) -> Table:
    """Label and value, aligned."""
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    for label, value in facts:
        table.add_row(Text(label, style="dim"), value)
    return table


def _mebibytes(count: int | None) -> str:
    return "" if count is None else f"{count / MIB:.0f} MiB"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    whole = int(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"
