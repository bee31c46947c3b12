"""Who follows a link, as far as it says so itself: the browser's family, a person or a bot.

A bot is whatever nobody looks through: crawlers, the link previews of messengers, command-line
tools, HTTP libraries, and browsers that fetch ahead of a click that may never come. They are
counted apart and never use up a link's visits. It is a courtesy of those who tell the truth: a
program that calls itself a browser is counted as a person.

Families and crawlers are those of uap-core (https://github.com/ua-parser/uap-core), by ua-parser's
engine in Rust. The header itself is judged and forgotten: it is never stored.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from ua_parser import Domain, load_lazy_builtins
from ua_parser.regex import Resolver

from week04_shortener.clicks.event import Agent, is_browser

MAX_USER_AGENT_BYTES: Final = 512
"""What is judged of the header; browsers send less than half of it."""

MAX_JUDGED: Final = 4096
"""Judgements that are remembered: with the header's limit, 3 MiB at most."""

_CRAWLER: Final = "Spider"
"""uap-core's device of crawlers."""

_BROWSERS_BEGIN: Final = ("Mozilla/", "Opera/")
"""So every browser's header has begun since 1994, for servers that looked for it. What begins
otherwise is a program: curl, Wget, python-requests, Go-http-client, okhttp, WhatsApp, ..."""

_CALLS_ITSELF_A_BOT: Final = re.compile(
    r"(?<!cu)bot\b|crawler|spider|preview|headless|lighthouse|facebookexternalhit", re.IGNORECASE
)
"""Beside what uap-core knows as spiders: link previews and browsers without a screen that begin
as browsers do. Cubot is a maker of telephones."""

_AHEAD_OF_A_CLICK: Final = (b"prefetch", b"prerender", b"preview")
_PURPOSE_HEADERS: Final = frozenset({b"sec-purpose", b"purpose", b"x-purpose", b"x-moz"})
"""The Fetch standard's ``Sec-Purpose``, and what browsers sent before it was agreed on."""


class Judgement(NamedTuple):
    """`browser` is a family such as Firefox or curl, None when it is not known."""

    browser: str | None
    agent: Agent


class Agents:
    """Judges requests by their headers. Making one compiles a thousand patterns, once."""

    def __init__(self) -> None:
        browsers, _, devices = load_lazy_builtins()
        # All devices, though crawlers alone are asked for: the last patterns take what none
        # before them did, a Cubot telephone for a bot. Operating systems are of no use here.
        self._resolver = Resolver((browsers, [], devices))
        self._remembered = lru_cache(MAX_JUDGED)(self._judge)

    def judge(self, headers: Mapping[bytes, bytes]) -> Judgement:
        """The judgement of a request with these `headers`, named in lower case."""
        judgement = self._remembered(headers.get(b"user-agent", b"")[:MAX_USER_AGENT_BYTES])
        if _PURPOSE_HEADERS.isdisjoint(headers) or not _is_ahead(headers):
            return judgement
        return Judgement(judgement.browser, "bot")

    def remembered(self) -> int:
        """How many judgements are remembered."""
        return self._remembered.cache_info().currsize

    def _judge(self, user_agent: bytes) -> Judgement:
        text = user_agent.decode("latin-1")
        found = self._resolver(text, Domain.USER_AGENT | Domain.DEVICE)
        family = found.user_agent.family if found.user_agent else ""
        is_bot = (
            (found.device is not None and found.device.family == _CRAWLER)
            or not text.startswith(_BROWSERS_BEGIN)
            or _CALLS_ITSELF_A_BOT.search(text) is not None
        )
        return Judgement(family if is_browser(family) else None, "bot" if is_bot else "person")


def _is_ahead(headers: Mapping[bytes, bytes]) -> bool:
    purposes = b" ".join(headers[name] for name in _PURPOSE_HEADERS if name in headers).lower()
    return any(word in purposes for word in _AHEAD_OF_A_CLICK)
