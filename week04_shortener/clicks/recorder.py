"""What becomes of a follow: a click in the replica's log, before the answer leaves.

A redirect is worth more than its click: whatever goes wrong here is counted as a lost click, and
the redirect goes on.
"""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, Protocol

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from week04_shortener.clicks.agents import Agents
from week04_shortener.clicks.event import Click, encode, referrer_host
from week04_shortener.clicks.visitors import Visitors

NOT_KEPT: Final = "private, no-store"
"""Of each redirect: one that a browser or proxy kept would be followed again without being
counted. For the same reason it is never a 301 (RFC 9110 section 15.4.2), which may be kept."""

MAX_REFERER_BYTES: Final = 1024
"""Of a Referer only the beginning is looked at: the host comes first, and nothing else is kept."""
MAX_REFERRERS: Final = 1024
"""Referrers whose host is remembered, 1 MiB at most."""


class ClickLog(Protocol):
    """Where a click is kept before its redirect leaves. Neither method raises."""

    def append(self, payload: bytes) -> bool: ...

    def lose(self, error: Exception) -> None:
        """Count a click that could not even be made."""
        ...


class Recorder:
    """Writes a click for each link that was followed on this replica."""

    def __init__(
        self,
        click_log: ClickLog,
        agents: Agents,
        visitors: Visitors,
        *,
        replica: str,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._log = click_log
        self._agents = agents
        self._visitors = visitors
        self._replica = replica
        self._now_s = now_s

    def record(
        self,
        scope: Scope,
        headers: Mapping[bytes, bytes],
        code: str,
        event_id: str,
        at: datetime,
        at_s: float,
    ) -> None:
        """Log that `code` was followed by a request with these `headers`, its last of each name.

        `at` in UTC and `at_s` in seconds since the epoch are the same moment. Never raises.
        """
        try:
            browser, agent = self._agents.judge(headers)
            click = Click(
                event_id,
                code,
                at,
                self._replica,
                _host_of(headers.get(b"referer", b"")[:MAX_REFERER_BYTES]),
                browser,
                agent,
                self._visitors.visitor(scope, headers.get(b"x-forwarded-for", b""), at_s),
            )
            self._log.append(encode(click))
        except Exception as error:  # whatever it was: the visitor came for the redirect
            self._log.lose(error)

    def found(self, scope: Scope, code: str, url: str, *, status: int = 302) -> Response:
        """The answer to a follow that is not on the quick way; its click is in the log already.

        ``scope["state"]`` has the request's id. A HEAD is no click. `status` is 303 where a form
        was posted (RFC 9110 section 15.4.4).
        """
        if scope["method"] != "HEAD":
            at_s = self._now_s()
            at = datetime.fromtimestamp(at_s, UTC)
            event_id = scope["state"]["request_id"]
            self.record(scope, dict(scope["headers"]), code, event_id, at, at_s)
        return Response(status_code=status, headers={"Location": url, "Cache-Control": NOT_KEPT})

    async def follow(
        self, scope: Scope, receive: Receive, send: Send, code: str, url: str, status: int
    ) -> None:
        """Answer with `found`: what `guarded` calls once it lets somebody through."""
        await self.found(scope, code, url, status=status)(scope, receive, send)


@lru_cache(MAX_REFERRERS)
def _host_of(referer: bytes) -> str | None:
    return referrer_host(referer.decode("latin-1"))
