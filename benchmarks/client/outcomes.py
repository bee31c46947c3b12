"""How a request can end, and which end a fault on the wire is. Pure."""

from __future__ import annotations

import errno
from enum import StrEnum
from typing import Final

from benchmarks.client.requests import Answer, Request


class Outcome(StrEnum):
    """How one request ended. Every request has exactly one; together they are all there were."""

    OK = "ok"
    REFUSED = "refused"
    """Nobody listens there: connection refused."""
    UNREACHABLE = "unreachable"
    """No route, or the host is down."""
    RESET = "reset"
    """The connection ended by RST, or by FIN before a single byte of the answer."""
    TIMEOUT = "timeout"
    """No complete answer within the time limit; connecting counts towards it."""
    SHORT_BODY = "short_body"
    """The connection was closed in order (FIN) in the middle of the answer."""
    WRONG_STATUS = "wrong_status"
    WRONG_BODY = "wrong_body"
    """The request's own check said no, or the body is larger than allowed."""
    MALFORMED = "malformed"
    """Not HTTP/1.1: a head that cannot be read, or bytes beyond the announced length."""
    CLIENT_LIMIT = "client_limit"
    """This machine had no descriptor, port or memory left: the client's limit, not the server's."""
    UNSENT = "unsent"
    """Due, but all connections stayed busy for too long: it was given up before it was sent."""


FAULTS: Final = frozenset(Outcome) - {Outcome.OK, Outcome.UNSENT, Outcome.CLIENT_LIMIT}
"""What the server (or the way to it) did wrong; outages are made of these."""

RETRYABLE: Final = frozenset(
    {Outcome.REFUSED, Outcome.UNREACHABLE, Outcome.RESET, Outcome.TIMEOUT, Outcome.SHORT_BODY}
)
"""Ends after which an idempotent request may be sent again (RFC 9110, section 9.2.2)."""

RETRYABLE_STATUS: Final = frozenset({502, 503, 504})
"""Answers of a gateway that may find a healthy server next time (RFC 9110, section 15.6)."""

_BY_ERRNO: Final = {
    errno.ECONNREFUSED: Outcome.REFUSED,
    errno.EHOSTUNREACH: Outcome.UNREACHABLE,
    errno.ENETUNREACH: Outcome.UNREACHABLE,
    errno.EHOSTDOWN: Outcome.UNREACHABLE,
    errno.ENETDOWN: Outcome.UNREACHABLE,
    errno.ECONNRESET: Outcome.RESET,
    errno.ECONNABORTED: Outcome.RESET,
    errno.EPIPE: Outcome.RESET,
    errno.ENOTCONN: Outcome.RESET,
    errno.ETIMEDOUT: Outcome.TIMEOUT,
    errno.EMFILE: Outcome.CLIENT_LIMIT,
    errno.ENFILE: Outcome.CLIENT_LIMIT,
    errno.EADDRNOTAVAIL: Outcome.CLIENT_LIMIT,
    errno.EADDRINUSE: Outcome.CLIENT_LIMIT,
    errno.ENOBUFS: Outcome.CLIENT_LIMIT,
    errno.ENOMEM: Outcome.CLIENT_LIMIT,
}


def of_error(error: OSError) -> Outcome | None:
    """The outcome that a failed system call means; None for one that no network has."""
    return _BY_ERRNO.get(error.errno or 0)


def of_close(error: Exception | None, got_bytes: bool) -> Outcome:
    """The outcome of a connection that ended before the answer was complete.

    Args:
        error: what the transport reports; None is an orderly end (FIN).
        got_bytes: whether any byte of the answer had come.
    """
    if error is None:
        return Outcome.SHORT_BODY if got_bytes else Outcome.RESET
    return (of_error(error) if isinstance(error, OSError) else None) or Outcome.RESET


def judged(request: Request, answer: Answer) -> Outcome:
    """What a complete answer is to its request. Raises what the request's check raises."""
    if answer.status not in request.status:
        return Outcome.WRONG_STATUS
    if request.check is not None and not request.check(answer):
        return Outcome.WRONG_BODY
    return Outcome.OK


def may_repeat(request: Request, outcome: Outcome, answer: Answer | None) -> bool:
    """Whether a request that ended so may be sent again."""
    if not request.may_repeat:
        return False
    if outcome is Outcome.WRONG_STATUS:
        return answer is not None and answer.status in RETRYABLE_STATUS
    return outcome in RETRYABLE
