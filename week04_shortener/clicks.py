"""The click event: one redirect that was given, as it travels from the log to the table."""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from week04_shortener.links import is_code_or_alias
from week04_shortener.urls import MAX_HOST_CHARS

VERSION = 1
"""Grows when the meaning of a field changes; readers refuse versions they do not know."""

_EVENT_ID = re.compile(r"[0-9a-f]{32}")
_REPLICA = re.compile(r"[A-Za-z0-9._-]{1,63}")


class BadClick(ValueError):
    """A message that is no click event; the message tells why."""


@dataclass(frozen=True)
class Click:
    """`event_id` is the request's id, 32 hex digits; `at` is UTC.

    The id is made in front of the replicas: a proxy that asks a second replica after the first
    died sends the same id, and both clicks count as the one they are.
    """

    event_id: str
    code: str
    at: datetime
    replica: str
    referrer_host: str | None = None


def encode(click: Click) -> bytes:
    """`click` as compact JSON in ASCII, without a line break."""
    fields = {
        "v": VERSION,
        "event_id": click.event_id,
        "code": click.code,
        "at": click.at.astimezone(UTC).isoformat(timespec="microseconds"),
        "replica": click.replica,
        "referrer_host": click.referrer_host,
    }
    return json.dumps(fields, separators=(",", ":")).encode("ascii")


def decode(data: bytes) -> Click:
    """The click in a message; `BadClick` for anything `encode` would not have made.

    Unknown fields are ignored, so that a newer writer may add some.
    """
    try:
        fields = json.loads(data)
    except ValueError as error:
        raise BadClick("not JSON") from error
    except RecursionError as error:
        raise BadClick("JSON nested too deeply") from error
    if not isinstance(fields, dict):
        raise BadClick("not a JSON object")
    if fields.get("v") != VERSION:
        raise BadClick("not a version this reader knows")
    return Click(
        event_id=_text(fields, "event_id", _EVENT_ID),
        code=_code(fields.get("code")),
        at=_time(fields.get("at")),
        replica=_text(fields, "replica", _REPLICA),
        referrer_host=_host(fields.get("referrer_host")),
    )


def referrer_host(referer: str | None) -> str | None:
    """The host of a Referer header (RFC 9110 section 10.1.3), or None.

    Only the host is kept: the rest of the address may hold what its visitor would not share.
    """
    try:
        host = urlsplit(referer or "").hostname
    except ValueError:
        return None
    return host if host and _is_host(host) else None


def _text(fields: dict[str, Any], name: str, form: re.Pattern[str]) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not form.fullmatch(value):
        raise BadClick(f"{name} is malformed")
    return value


def _code(value: object) -> str:
    if not isinstance(value, str) or not is_code_or_alias(value):
        raise BadClick("code is malformed")
    return value


def _time(value: object) -> datetime:
    try:
        at = datetime.fromisoformat(value if isinstance(value, str) else "")
    except ValueError as error:
        raise BadClick("at is malformed") from error
    if at.tzinfo is None:
        raise BadClick("at has no time zone")
    try:
        return at.astimezone(UTC)
    except OverflowError as error:
        raise BadClick("at lies outside the calendar") from error


def _host(value: object) -> str | None:
    if value is None or (isinstance(value, str) and _is_host(value)):
        return value
    raise BadClick("referrer_host is malformed")


def _is_host(text: str) -> bool:
    # PostgreSQL's text takes neither NUL nor, through UTF-8, a lone surrogate: ASCII has none.
    return 0 < len(text) <= MAX_HOST_CHARS and text.isascii() and text.isprintable()
