"""An HTTP exchange as an ASGI app sees it: what `receive` tells it and what `send` takes from it.

Source: ASGI's HTTP message format 2.5, and the extensions `http.response.pathsend` and
`http.response.trailers`.

The exchange itself carries the app's state, and its bound methods are the app's `receive` and
`send`: one object and one task for each request, no closures.
"""

from __future__ import annotations

import asyncio
import logging
import os
import stat
import sys
from collections.abc import Awaitable, Callable
from contextvars import Context
from pathlib import Path
from typing import Any, Protocol

from week01_http_server.asgi.types import (
    ASGIApp,
    ClientDisconnected,
    Event,
    Message,
    ProtocolMisuse,
    Scope,
)
from week01_http_server.exchange import Exchange, Peer
from week01_http_server.messages import ClientGone, Headers, Request

logger = logging.getLogger(__name__)

# What the app has to send next.
START, BODY, TRAILERS, NOTHING = range(4)
EXPECTED = ("http.response.start", "http.response.body", "http.response.trailers", "nothing more")

# How far back the reasons of an exception are looked at.
CAUSES_MAX = 20


class AsgiHandler(Protocol):
    """What an exchange needs of the application that it is made for."""

    app: ASGIApp
    loop: asyncio.AbstractEventLoop
    context: Context

    def http_scope(self, request: Request, peer: Peer) -> Scope: ...


class AsgiExchange(Exchange):
    """One request and its answer, by an ASGI app."""

    __slots__ = ("_body_told", "_phase", "_trailer_fields", "_trailers_due")

    def launch(self, handler: Callable[[Any], Awaitable[None]]) -> None:
        """Run the app in a task of its own; a WebSocket handshake goes the slower, general way."""
        asgi: AsgiHandler = handler  # type: ignore[assignment]
        # Not a copy of the current context: when requests are pipelined, that is the context of
        # the app's previous call, whose last `send` made room for this one.
        context = asgi.context.copy()
        if self.request.upgrade == b"websocket":
            context.run(super().launch, handler)
            return
        self._phase = START
        self._body_told = False
        self._trailers_due = False
        self._wire.launched(self)
        # A task of its own for each request, so that current_task() tells requests apart. Its first
        # step runs at once where Python can do that (3.12), which saves a turn of the event loop.
        if sys.version_info >= (3, 12):
            self.task = asyncio.Task(
                self._serve(asgi),
                loop=asgi.loop,
                name="request",
                context=context,
                eager_start=True,
            )
        else:
            self.task = asyncio.Task(
                self._serve(asgi), loop=asgi.loop, name="request", context=context
            )

    async def _serve(self, handler: AsgiHandler) -> None:
        try:
            scope = handler.http_scope(self.request, self._wire.peer)
            await handler.app(scope, self.asgi_receive, self.asgi_send)
            if self._phase != NOTHING:
                self._unfinished()
        except ClientGone:
            self.abandon()
        except asyncio.CancelledError:
            self.abandon()
            raise
        except Exception as error:
            if self.lost and stems_from_client(error):
                self.abandon()
            else:
                self.broken(error)
        finally:
            self.task = None
            self._wire.settled(self)

    def _unfinished(self) -> None:
        """The app returned too early; when its client had left, that is a good way to end."""
        if self.lost:
            self.abandon()
            return
        raise ProtocolMisuse(
            f"the app returned before it sent {EXPECTED[self._phase]!r}"
            + (" with more_body false" if self._phase == BODY else "")
        )

    # ---- receive

    async def asgi_receive(self) -> Event:
        """The app's `receive`: the body in pieces, then one wait for the end."""
        if not self._body_told:
            if self._body_ended and not self._pieces:
                self._body_told = True
                return {"type": "http.request", "body": b"", "more_body": False}
            if self._phase != NOTHING:
                try:
                    piece = await self.read()
                except ClientGone:
                    return {"type": "http.disconnect"}
                # Taking a piece makes room: more of the body may have come in by now.
                self._body_told = self._body_ended and not self._pieces
                return {"type": "http.request", "body": piece, "more_body": not self._body_told}
        if self._phase != NOTHING:
            await self.gone()
        return {"type": "http.disconnect"}

    # ---- send

    async def asgi_send(self, message: Message) -> None:
        """The app's `send`.

        Raises:
            ClientDisconnected: the client is gone.
            ProtocolMisuse, AnswerBroken, ValueError: the app sent what it may not.
        """
        if self.lost:
            raise ClientDisconnected("the client is gone")
        kind = message["type"]
        phase = self._phase
        if phase == START and kind == "http.response.start":
            status = message["status"]
            if not 200 <= status <= 999:
                raise ProtocolMisuse(f"{status!r} is no status of a final answer")
            # Sent with the first piece of body: until then an error can still become a 500.
            self.status = status
            headers = message.get("headers", ())
            self._headers = headers if type(headers) is list else list(headers)
            if "trailers" in message:
                self._trailers_due = bool(message["trailers"])
                self._trailer_fields: list[tuple[bytes, bytes]] = []
            self._phase = BODY
        elif phase == BODY and kind == "http.response.body":
            if message.get("more_body", False) or self._trailers_due or self.started:
                await self._send_piece(message)
            else:
                self._send_whole(message.get("body", b""))
        else:
            await self._send_rarer(kind, message)

    def _send_whole(self, body: bytes) -> None:
        try:
            answer = self._wire.ready_answer(self.request, self.status, self._headers, body)
        except TypeError:
            answer = None  # fields as lists, say
        if answer is not None:
            self.finish_with(answer)
        else:
            self._start()
            self.write_now(body, end=True)
        self._complete()

    def _start(self) -> None:
        # Names ought to be lower-case, and fields may be lists: Django sends "Content-Type".
        self.start(self.status, [(name.lower(), value) for name, value in self._headers])

    async def _send_piece(self, message: Message) -> None:
        if not self.started:
            self._start()
        more = message.get("more_body", False)
        end = not more and not self._trailers_due
        self.write_now(message.get("body", b""), end=end)
        if end:
            self._complete()
            return
        if not more:
            self._phase = TRAILERS
        if self._wire.blocked:
            try:
                await self._wire.drain()
            except ClientGone as error:
                raise ClientDisconnected("the client left in the middle of its answer") from error

    async def _send_rarer(self, kind: str, message: Message) -> None:
        if self._phase == NOTHING:
            # The specification wants it ignored; whoever wrote the app wants to know.
            logger.warning(
                "the app sent %r after its answer to %s %s was complete; ignored",
                kind,
                self.request.method,
                self.request.path.decode("latin-1"),
            )
        elif self._phase == BODY and kind == "http.response.pathsend":
            await self._send_path(message)
        elif self._phase == TRAILERS and kind == "http.response.trailers":
            self._trailer_fields += [(name, value) for name, value in message.get("headers", ())]
            if not message.get("more_trailers", False):
                self.end(self._trailer_fields if _wants_trailers(self.request.headers) else ())
                self._complete()
        else:
            raise ProtocolMisuse(f"{kind!r} sent instead of {EXPECTED[self._phase]!r}")

    async def _send_path(self, message: Message) -> None:
        path = Path(message["path"])
        if not path.is_absolute():
            raise ProtocolMisuse(f"'http.response.pathsend' needs an absolute path, not {path}")
        if self.started:
            raise ProtocolMisuse("'http.response.pathsend' sent after 'http.response.body'")
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            about = os.fstat(file)
            if not stat.S_ISREG(about.st_mode):
                raise ProtocolMisuse(f"{path} is no regular file")
            if not any(name.lower() == b"content-length" for name, _ in self._headers):
                length = (b"content-length", b"%d" % about.st_size)
                self._headers = [*self._headers, length]
            self._start()
            if self.request.method != "HEAD":
                await self.send_file(file, 0, about.st_size)
        except ClientGone as error:
            raise ClientDisconnected("the client left in the middle of a file") from error
        finally:
            os.close(file)
        if self._trailers_due:
            self._phase = TRAILERS
        else:
            self.end()
            self._complete()

    def _complete(self) -> None:
        self._phase = NOTHING
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)  # a receive that waits learns that it is over


def stems_from_client(error: BaseException) -> bool:
    """Whether an app raised `error` only because its client is gone: no error of the app.

    Frameworks turn the OSError of `send` into exceptions of their own (Starlette's
    ClientDisconnect), and task groups into groups.
    """
    if isinstance(error, BaseExceptionGroup):
        return all(stems_from_client(inner) for inner in error.exceptions)
    seen: BaseException | None = error
    for _ in range(CAUSES_MAX):
        if seen is None or isinstance(seen, ClientGone):
            break
        seen = seen.__cause__ or seen.__context__
    return isinstance(seen, ClientGone)


def _wants_trailers(headers: Headers) -> bool:
    """Whether the client named "trailers" in TE (RFC 9110, section 10.1.4)."""
    return any(
        part.partition(b";")[0].strip().lower() == b"trailers"
        for name, value in headers
        if name == b"te"
        for part in value.split(b",")
    )
