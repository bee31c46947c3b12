"""Print the services' logs, one or all together, each line behind its service's name."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

POLL_S = 0.2
COLOURS = (
    "cyan",
    "green",
    "yellow",
    "magenta",
    "blue",
    "bright_red",
    "bright_cyan",
    "bright_green",
)


@dataclass
class _Tail:
    """Where reading of one log stands; survives its rotation (rename, new file)."""

    path: Path
    inode: int = -1
    offset: int = 0
    partial: str = ""

    def new_lines(self) -> Iterator[str]:
        """Whole lines that came since the last call."""
        try:
            info = self.path.stat()
        except FileNotFoundError:
            return
        if info.st_ino != self.inode or info.st_size < self.offset:
            self.inode, self.offset, self.partial = info.st_ino, 0, ""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            fresh = file.read()
            self.offset = file.tell()
        *lines, self.partial = (self.partial + fresh.decode(errors="replace")).split("\n")
        yield from lines


def show(console: Console, logs: Mapping[str, Path], last: int, follow: bool) -> None:
    """Print the last lines of each log; with `follow`, go on until Ctrl-C.

    Args:
        logs: file by service name.
        last: lines of each to begin with.
        follow: keep printing what comes.
    """
    width = max(map(len, logs), default=0)
    colours = dict(zip(logs, itertools.cycle(COLOURS), strict=False))
    tails = {name: _Tail(path) for name, path in logs.items()}

    def put(name: str, line: str) -> None:
        text = Text(f"{name:<{width}} | ", style=colours[name])
        text.append(line, style="default")
        console.print(text, soft_wrap=True)

    for name, tail in tails.items():
        for line in deque(tail.new_lines(), maxlen=last):
            put(name, line)
    while follow:
        time.sleep(POLL_S)
        for name, tail in tails.items():
            for line in tail.new_lines():
                put(name, line)
