"""Points in time as clients write them (RFC 3339 section 5.6). Pure."""

import re
from datetime import UTC, datetime
from typing import Final

_FORM: Final = re.compile(
    r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:\d{2})", re.ASCII | re.IGNORECASE
)


class BadTime(ValueError):
    """Not a point in time; the message tells the user what one is."""


def parse(text: str) -> datetime:
    """The time in `text`, in UTC and to the microsecond; `BadTime`.

    Without a zone it would be a guess, so there must be one. The 61st second of a minute, which
    RFC 3339 knows, is refused: no clock here can tell it.
    """
    if not _FORM.fullmatch(text):
        raise BadTime("a time is written with its zone, such as 2030-01-31T12:00:00Z")
    seconds, dot, rest = text.upper().partition(".")
    if dot:
        digits = re.match(r"\d+", rest)
        assert digits is not None, "the form has them"
        seconds += f".{digits[0][:6]:0<6}{rest[digits.end() :]}"
    try:
        return datetime.fromisoformat(seconds).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise BadTime("there is no such time") from error
