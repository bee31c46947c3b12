"""The redirects that are asked for: links as popular as Zipf says, by browsers of several kinds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random

from benchmarks.client import Request
from week04_shortener.checks.traffic import Link, follow

LINKS = 1000
EXPONENT = 1.0
"""Of Zipf's law: the second link is asked for half as often as the first."""

DIFFERENT = 4096
"""Requests that are made beforehand and sent in turn."""

AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/142.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/142.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
)
REFERRERS = (
    "",
    "https://news.example/today",
    "https://social.example/feed",
    "https://mail.example/",
)


def visits(links: Sequence[Link], seed: int) -> list[Request]:
    """`DIFFERENT` visits; the same for the same seed."""
    random = Random(seed)
    weights = [1 / (rank**EXPONENT) for rank in range(1, len(links) + 1)]
    return [follow(link, _headers(random)) for link in random.choices(links, weights, k=DIFFERENT)]


def _headers(random: Random) -> tuple[tuple[str, str], ...]:
    referrer = random.choice(REFERRERS)
    return (
        ("User-Agent", random.choice(AGENTS)),
        ("Accept", "text/html,application/xhtml+xml,*/*;q=0.8"),
        ("Accept-Language", "en"),
        *((("Referer", referrer),) if referrer else ()),
    )


def script(requests: Sequence[Request], path: Path) -> Path:
    """The same requests for wrk, made once at its start."""
    lines = [f"    wrk.format('GET', {_lua(one.path)}, {{{_fields(one)}}}),\n" for one in requests]
    path.write_text(
        "local requests\nlocal last = 0\n"
        f"function init()\n  requests = {{\n{''.join(lines)}  }}\nend\n"
        "function request()\n  last = last % #requests + 1\n  return requests[last]\nend\n"
    )
    return path


def _fields(request: Request) -> str:
    return ", ".join(f"[{_lua(name)}] = {_lua(value)}" for name, value in request.headers)


def _lua(text: str) -> str:
    """A string of Lua; JSON's form is one for printable ASCII."""
    return json.dumps(text)
