"""Print the services' logs, one or all together, each line behind its service's name."""

from __future__ import annotations

import itertools
import os
import time
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from rich.console import Console
from rich.text import Text

from infra.lab.engines.base import Log

POLL_S = 0.2
PARTIAL_MAX_BYTES = 64 * 1024
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


class Tail:
    """Reads one log as it grows; survives its rotation (rename, new file) and its truncation."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._partial = b""

    def exists(self) -> bool:
        """Whether there is such a file."""
        return self._path.exists()

    def skip(self) -> None:
        """Pass over the whole lines that are there now."""
        for _ in self.new_lines():
            pass

    def new_lines(self) -> Iterator[str]:
        """Whole lines that came since the last call, without their ends."""
        if self._file is not None:
            yield from self._read(self._file)
            if not self._is_replaced(self._file):
                return
            # The old file was read to its end above: what is left is a line cut by the rotation.
            yield from self.rest()
            self._file.close()
            self._file = None
        try:
            self._file = self._path.open("rb")
        except FileNotFoundError:
            return
        yield from self._read(self._file)

    def rest(self) -> Iterator[str]:
        """The unfinished line at the end, if there is one."""
        if self._partial:
            yield self._partial.decode(errors="replace")
            self._partial = b""

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _read(self, file: BinaryIO) -> Iterator[str]:
        if os.fstat(file.fileno()).st_size < file.tell():
            file.seek(0)  # emptied in place
            self._partial = b""
        for piece in file:
            self._partial += piece
            if piece.endswith(b"\n") or len(self._partial) > PARTIAL_MAX_BYTES:
                # Decoded as a whole line: a read may end in the middle of a character.
                yield self._partial.removesuffix(b"\n").decode(errors="replace")
                self._partial = b""

    def _is_replaced(self, file: BinaryIO) -> bool:
        try:
            return not os.path.samestat(self._path.stat(), os.fstat(file.fileno()))
        except FileNotFoundError:
            return False  # between the two steps of a rotation


def show(console: Console, logs: Mapping[str, Log], last: int, follow: bool) -> None:
    """Print the last lines of each log; with `follow`, go on until Ctrl-C.

    Args:
        logs: reader by service name; closed at the end.
        last: lines of each to begin with.
        follow: keep printing what comes.
    """
    width = max(map(len, logs), default=0)
    colours = dict(zip(logs, itertools.cycle(COLOURS), strict=False))

    def put(name: str, line: str) -> None:
        text = Text(f"{name:<{width}} | ", style=colours[name])
        text.append(line, style="default")
        console.print(text, soft_wrap=True)

    try:
        for name, log in logs.items():
            lines = itertools.chain(log.new_lines(), () if follow else log.rest())
            for line in deque(lines, maxlen=last):
                put(name, line)
        while follow:
            time.sleep(POLL_S)
            for name, log in logs.items():
                for line in log.new_lines():
                    put(name, line)
    finally:
        for log in logs.values():
            log.close()
