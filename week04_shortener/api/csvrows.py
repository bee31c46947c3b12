"""CSV as it arrives, in pieces (RFC 4180). Pure: bytes in, rows out.

Python's `csv` pulls lines from a file; here bytes come when they come, a piece may end in the
middle of a character, and one bad row must not cost the others: where a cell in quotes is left
open, or is too long, `csv` gives up or reads on to the end of the file. Bytes are split first and
decoded afterwards, cell by cell, which is right for UTF-8 (no byte of another character is ever a
comma or a quote) and leaves an encoding error in its own row.
"""

import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

MAX_CELL_BYTES: Final = 16 * 1024
"""Longest cell that is kept; the longest URL has a quarter of it."""

MAX_CELLS: Final = 32
"""Cells of a row that are kept."""

_BOM: Final = b"\xef\xbb\xbf"
_OTHER_BOMS: Final = (b"\xff\xfe", b"\xfe\xff")
_STOP: Final = re.compile(rb'[",\r\n]')
_QUOTED: Final = re.compile(rb'[^"]*(?:""[^"]*)*')
_UNTIL_QUOTE_OR_BREAK: Final = re.compile(rb'[^"\r\n]+')
_BREAKS: Final = re.compile(rb"[\r\n]+")
# Runs are taken in one step: a file of nothing but quotes or commas must not cost more than others.


class NotUtf8(ValueError):
    """The file is not UTF-8 at all; the message tells the user."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row. `line` is where it begins, from 1. `fault` says why `cells` are not to be used."""

    line: int
    cells: tuple[str, ...]
    fault: str | None = None


class _At(Enum):
    CELL = auto()  # before a cell
    BARE = auto()
    QUOTED = auto()
    QUOTE = auto()  # after a quote within quotes: its twin, or the end of the cell
    AFTER = auto()  # after a cell in quotes


class Reader:
    """Rows of one file. Empty lines are no rows. Holds one row's worth of memory, bounded."""

    def __init__(self) -> None:
        self._at = _At.CELL
        self._head: bytes | None = b""  # the first bytes, until there are enough to know a BOM
        self._cell = bytearray()
        self._cells: list[bytes] = []
        self._fault: str | None = None
        self._line = 1
        self._row_line = 1
        self._after_cr = False

    def feed(self, data: bytes) -> Iterator[Row]:
        """The rows that end within `data`; `NotUtf8` when the file begins as UTF-16 does."""
        if self._head is not None:
            self._head += data
            if len(self._head) < len(_BOM):
                return
            data, self._head = self._without_bom(self._head), None
        yield from self._split(data)

    def end(self) -> Iterator[Row]:
        """The last row, when no line break ended it."""
        if self._head:
            data, self._head = self._without_bom(self._head), None
            yield from self._split(data)
        if self._at is _At.QUOTED:
            self._mark("a quote is opened here and never closed")
        if not self._is_between_rows():
            yield from self._end_row()

    def _without_bom(self, head: bytes) -> bytes:
        if head.startswith(_OTHER_BOMS):
            raise NotUtf8("the file is UTF-16; save it as UTF-8")
        return head.removeprefix(_BOM)

    def _split(self, data: bytes) -> Iterator[Row]:
        at = 0
        while at < len(data):
            if self._at is _At.QUOTED:
                at = self._read_quoted(data, at)
            elif self._is_between_rows():
                at = self._skip_breaks(data, at)
                if at < len(data):
                    at = yield from self._read_bare(data, at)
            else:
                at = yield from self._read_bare(data, at)

    def _is_between_rows(self) -> bool:
        return self._at is _At.CELL and not self._cells and self._fault is None

    def _skip_breaks(self, data: bytes, at: int) -> int:
        """Pass over empty lines, and over the second half of a CRLF; where to go on."""
        run = _BREAKS.match(data, at)
        breaks = run[0] if run is not None else b""
        self._line += breaks.count(b"\n") + breaks.count(b"\r") - breaks.count(b"\r\n")
        if self._after_cr and breaks.startswith(b"\n"):
            self._line -= 1
        if breaks:
            self._after_cr = breaks.endswith(b"\r")
        self._row_line = self._line
        return at + len(breaks)

    def _read_quoted(self, data: bytes, at: int) -> int:
        """Take the cell's bytes from `at` up to its closing quote; where to go on."""
        run = _QUOTED.match(data, at)
        assert run is not None, "it matches nothing too"
        self._line += run[0].count(b"\n")
        self._keep(run[0].replace(b'""', b'"'))
        if run.end() < len(data):
            self._at = _At.QUOTE
            return run.end() + 1
        return run.end()

    def _read_bare(self, data: bytes, at: int) -> Generator[Row, None, int]:
        """Take what is not within quotes, up to and with the next mark; where to go on."""
        self._after_cr = False
        if self._fault is not None:
            run = _UNTIL_QUOTE_OR_BREAK.match(data, at)
            if run is not None:
                self._cell.clear()
                self._at = _At.CELL if run[0].endswith(b",") else _At.BARE
                return run.end()
        stop = _STOP.search(data, at)
        until = stop.start() if stop else len(data)
        if until > at:
            self._take_bare(data[at:until])
        if stop is None:
            return until
        yield from self._at_stop(stop[0])
        return until + 1

    def _take_bare(self, piece: bytes) -> None:
        if self._at in (_At.QUOTE, _At.AFTER):
            self._at = _At.AFTER
            self._mark("there is text after a closing quote")
            return
        self._at = _At.BARE
        self._keep(piece)

    def _at_stop(self, stop: bytes) -> Iterator[Row]:
        if stop == b'"':
            self._at_quote()
        elif stop == b",":
            self._end_cell()
        else:
            yield from self._end_row()
            self._after_cr = stop == b"\r"
            self._line += 1
            self._row_line = self._line

    def _at_quote(self) -> None:
        if self._at is _At.CELL:
            self._at = _At.QUOTED
        elif self._at is _At.QUOTE:
            self._keep(b'"')
            self._at = _At.QUOTED
        else:
            self._mark("there is a quote in a cell that does not begin with one")

    def _end_cell(self) -> None:
        if len(self._cells) < MAX_CELLS:
            self._cells.append(bytes(self._cell))
        else:
            self._mark(f"the row has more than {MAX_CELLS} cells")
        self._cell.clear()
        self._at = _At.CELL

    def _end_row(self) -> Iterator[Row]:
        self._end_cell()
        yield self._row()
        self._cells.clear()
        self._fault = None

    def _row(self) -> Row:
        if self._fault is None:
            try:
                cells = tuple(cell.decode("utf-8") for cell in self._cells)
            except UnicodeDecodeError:
                self._fault = "the row is not UTF-8"
            else:
                if not any("\0" in cell for cell in cells):
                    return Row(self._row_line, cells)
                self._fault = "the row contains a NUL"
        return Row(self._row_line, (), self._fault)

    def _keep(self, piece: bytes) -> None:
        if len(self._cell) + len(piece) > MAX_CELL_BYTES:
            self._mark(f"a cell has more than {MAX_CELL_BYTES} bytes")
            self._cell.clear()
        elif self._fault is None:
            self._cell += piece

    def _mark(self, fault: str) -> None:
        self._fault = self._fault or fault
