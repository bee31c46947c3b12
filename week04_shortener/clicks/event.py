"""The click event: one redirect that was given, as it travels from the log to the table."""

import re
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

import orjson

from week04_shortener.links import is_code_or_alias
from week04_shortener.targets.urls import MAX_HOST_CHARS

Agent = Literal["person", "bot"]
"""Who followed a link, as far as it says so itself: see `agents`."""

VERSION = 2
"""Grows when the meaning of a field changes; readers refuse versions they do not know.

1: without browser, agent and visitor. Whoever it was counts as a person.
"""

MAX_BROWSER_CHARS = 64
MAX_ENCODED_BYTES = 1024
"""More than any click has whose fields are within their limits; a line of the log holds it."""

_VERSIONS = (1, 2)
_EVENT_ID = re.compile(r"[0-9a-f]{32}")
_REPLICA = re.compile(r"[A-Za-z0-9._-]{1,63}")
_VISITOR = re.compile(r"[0-9a-f]{16}")


class BadClick(ValueError):
    """A message that is no click event; the message tells why."""


class Click(NamedTuple):
    """`event_id` is the request's id, 32 hex digits; `at` is UTC.

    The id is made in front of the replicas: a proxy that asks a second replica after the first
    died sends the same id, and both clicks count as the one they are. `browser` is a family such
    as Firefox; `visitor` is the hash that `visitors` makes, 16 hex digits, and None where the
    visitor had no address.
    """

    event_id: str
    code: str
    at: datetime
    replica: str
    referrer_host: str | None = None
    browser: str | None = None
    agent: Agent = "person"
    visitor: str | None = None


def encode(click: Click) -> bytes:
    """`click` as compact JSON without a line break; ASCII, as its fields are."""
    return orjson.dumps(
        {
            "v": VERSION,
            "event_id": click.event_id,
            "code": click.code,
            "at": click.at,
            "replica": click.replica,
            "referrer_host": click.referrer_host,
            "browser": click.browser,
            "agent": click.agent,
            "visitor": click.visitor,
        }
    )


def decode(data: bytes) -> Click:
    """The click in a message; `BadClick` for anything `encode` would not have made.

    Older versions are read too, and unknown fields are ignored, so that writers and readers may
    be renewed one after the other.
    """
    try:
        fields = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise BadClick("not JSON") from error
    if not isinstance(fields, dict):
        raise BadClick("not a JSON object")
    version = fields.get("v")
    if type(version) is not int or version not in _VERSIONS:
        raise BadClick("not a version this reader knows")
    click = Click(
        event_id=_text(fields, "event_id", _EVENT_ID),
        code=_code(fields.get("code")),
        at=_time(fields.get("at")),
        replica=_text(fields, "replica", _REPLICA),
        referrer_host=_host(fields.get("referrer_host")),
    )
    if version == 1:
        return click
    return click._replace(
        browser=_browser(fields.get("browser")),
        agent=_agent(fields.get("agent")),
        visitor=_text(fields, "visitor", _VISITOR) if fields.get("visitor") is not None else None,
    )


def is_browser(text: str) -> bool:
    """Whether `text` may be a browser's name: printable ASCII, of bounded length."""
    return 0 < len(text) <= MAX_BROWSER_CHARS and text.isascii() and text.isprintable()


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


def _browser(value: object) -> str | None:
    if value is None or (isinstance(value, str) and is_browser(value)):
        return value
    raise BadClick("browser is malformed")


def _agent(value: object) -> Agent:
    if value not in ("person", "bot"):
        raise BadClick("agent is malformed")
    return value


def _is_host(text: str) -> bool:
    # PostgreSQL's text takes neither NUL nor, through UTF-8, a lone surrogate: ASCII has none.
    return 0 < len(text) <= MAX_HOST_CHARS and text.isascii() and text.isprintable()
