"""Links as rows of a CSV file, both ways. Pure.

A spreadsheet takes a cell that begins with ``=``, ``+``, ``-``, ``@``, a tab or a carriage return
for a formula and computes it, so a file of other people's texts can run something on its reader's
machine. Such cells leave with an apostrophe in front, which makes them text (OWASP, "CSV
Injection"), and lose it again when they come back.
"""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from week04_shortener.codes import is_code
from week04_shortener.links import Link

MEDIA_TYPE: Final = "text/csv"

READ: Final = ("url", "alias", "expires_at", "max_visits")
"""Columns that make a link."""

TOLD: Final = ("code", "created_at", "visits", "has_password")
"""Columns of an export that an import passes over: they are the service's to say."""

COLUMNS: Final = READ + TOLD

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_GUARDED: Final = re.compile(r"'+[=+\-@\t\r]", re.ASCII)
_DIGITS: Final = re.compile(r"\d{1,18}", re.ASCII)


class BadHeader(ValueError):
    """A first row that is no header; the message tells the user what one is."""


def guard(cell: str) -> str:
    """`cell` as text for a spreadsheet. A cell that looks guarded is guarded once more, so that
    `unguard` gives back each cell as it was."""
    return f"'{cell}" if cell.startswith(_FORMULA) or _GUARDED.match(cell) else cell


def unguard(cell: str) -> str:
    """The cell that `guard` was given."""
    return cell[1:] if _GUARDED.match(cell) else cell


def line(cells: Sequence[str]) -> str:
    """One guarded row, with its line break (RFC 4180: CRLF)."""
    buffer = io.StringIO()
    csv.writer(buffer).writerow([guard(cell) for cell in cells])
    return buffer.getvalue()


def cells_of(link: Link) -> list[str]:
    """`link` in the order of `COLUMNS`. A generated code is no alias: an import makes another."""
    return [
        link.url,
        "" if is_code(link.code) else link.code,
        _time(link.expires_at),
        "" if link.max_visits is None else str(link.max_visits),
        link.code,
        _time(link.created_at),
        str(link.visits),
        "true" if link.password_hash is not None else "false",
    ]


def header(cells: Sequence[str]) -> tuple[str, ...]:
    """The columns that a file's first row names, in its order; `BadHeader`."""
    names = tuple(cell.strip().lower() for cell in cells)
    if "url" not in names:
        raise BadHeader("the first row must name the columns: url[,alias,expires_at,max_visits]")
    unknown = [name for name in names if name not in COLUMNS]
    if unknown:
        raise BadHeader(f"column {names.index(unknown[0]) + 1} is none of {', '.join(READ)}")
    if len(set(names)) != len(names):
        raise BadHeader("a column is named twice")
    return names


def fields(names: Sequence[str], cells: Sequence[str]) -> Mapping[str, object] | None:
    """What a row says of its link; None when it has more cells than columns.

    Missing and empty cells are left out. A number that is none stays text, for the model to
    refuse.
    """
    if len(cells) > len(names):
        return None
    found: dict[str, object] = {}
    for name, cell in zip(names, cells, strict=False):
        value = unguard(cell).strip(" ")
        if name not in READ or not value:
            continue
        whole = name == "max_visits" and _DIGITS.fullmatch(value)
        found[name] = int(value) if whole else value
    return found


def _time(at: datetime | None) -> str:
    return "" if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")
