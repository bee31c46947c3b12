"""What a service said last, in one line for a person. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

LAST_LINE_MAX_CHARS = 300


def last_said(lines: Iterable[str]) -> str:
    """The last line that says something; "" of none.

    Of a Python traceback that is the exception itself, and so it is of one in a JSON log line.
    """
    said = [line for line in map(_printable, lines) if line]
    return _plain(said[-1])[:LAST_LINE_MAX_CHARS] if said else ""


def _printable(line: str) -> str:
    """Without colours and whatever else would move a terminal's cursor (ECMA-48, section 5.4)."""
    return re.sub(r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x1f\x7f-\x9f]", "", line).strip()


def _plain(line: str) -> str:
    """A JSON log line as words: its event, and the last line of its exception."""
    try:
        entry = json.loads(line)
        event, exception = entry["event"], str(entry.get("exception", "")).strip()
    except (ValueError, KeyError, TypeError, AttributeError):
        return line
    return f"{event}: {exception.splitlines()[-1]}" if exception else str(event)
