"""The application that serves the files of one directory.

Small files are answered by the plain handler out of memory, after a look at their status at each
request: no answer is older than the file. Everything else is a stream: files that are large, not
in memory yet, or changed a moment ago. Why, with figures: docs/adr/0005-static-files.md.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from week01_http_server.exchange import Exchange
from week01_http_server.messages import Request, Response
from week01_http_server.settings import Files
from week01_http_server.static import pages
from week01_http_server.static.answers import CONDITIONAL, Answer, answer
from week01_http_server.static.conditions import settled
from week01_http_server.static.finding import (
    Finder,
    Found,
    accept_encoding_of,
    busy,
    key_of,
    method_answer,
)
from week01_http_server.static.memory import Kept, Memory, unchanged
from week01_http_server.static.sending import FileExchange
from week01_http_server.static.tree import Tree

_ATTEMPTS = 3


class DirectoryUnusable(Exception):
    """The directory cannot be served; the message says why, in one line."""


class FilesApplication:
    """Files of one directory; also an `Application` of the server.

    The directory is held open: one that is renamed or replaced goes on being served as it was,
    until the workers are reloaded.

    Args:
        directory: the root.
        settings: what is served, and what may be kept in memory.
        clock: Unix time in seconds.

    Raises:
        DirectoryUnusable: it is no directory, or may not be read.
    """

    exchange_type: type[Exchange] = FileExchange

    def __init__(
        self,
        directory: Path,
        settings: Files | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        settings = settings or Files()
        try:
            self._tree = Tree(directory)
        except OSError as error:
            raise DirectoryUnusable(f"cannot serve {directory}: {error.strerror}") from error
        self._settings = settings
        self._finder = Finder(
            self._tree,
            settings.index,
            hidden=settings.hidden,
            precompressed=settings.precompressed,
        )
        self._memory = Memory(settings.memory_bytes)
        self._clock = clock

    async def startup(self) -> None:
        """Nothing is read ahead."""

    async def shutdown(self) -> None:
        """Let go of the directory."""
        self._tree.close()

    # ---- At once

    def plain(self, request: Request) -> Response | None:
        """Answer out of memory, or None for `stream`."""
        method = request.method
        if method != "GET" and (other := method_answer(method)) is not None:
            return Response(other.status, other.fields, other.filled(b""))
        key = request.path
        conditional = False
        for name, _value in request.headers:
            if name == b"accept-encoding":
                key = self._key(request)
            elif name in CONDITIONAL:
                conditional = True
        kept = self._memory.get(key)
        if kept is None:
            return None
        if not self._holds(kept):
            self._memory.drop(key)
            return None
        whole = kept.response
        if not conditional:
            return whole
        headers = request.headers
        judged = answer(method, headers, kept.file, self._clock(), _boundary(headers))
        return Response(judged.status, judged.fields, judged.filled(whole.body))

    def _key(self, request: Request) -> bytes:
        name = self._finder.name_of(request.path)
        wanted = self._finder.wanted(name, accept_encoding_of(request.headers))
        return key_of(request.path, wanted)

    def _holds(self, kept: Kept) -> bool:
        for path, before in kept.facts:
            if before is None:
                if self._tree.holds(path):
                    return False
                continue
            now = self._tree.stat(path)
            if now is None or not unchanged(before, now):
                return False
        return True

    # ---- As a stream

    async def stream(self, exchange: Exchange) -> None:
        """Answer from the directory."""
        request = exchange.request
        for _attempt in range(_ATTEMPTS):
            found = self._finder.find(request, self._clock())
            if isinstance(found, Answer):
                _say(exchange, found)
                return
            try:
                if await self._serve(exchange, found):
                    return
            finally:
                os.close(found.fd)
        _say(exchange, busy("the file changes faster than it can be read"))

    async def _serve(self, exchange: Exchange, found: Found) -> bool:
        """Answer with an open file; False when a small one changed while it was read."""
        request = exchange.request
        judged = answer(
            request.method,
            request.headers,
            found.file,
            self._clock(),
            _boundary(request.headers),
        )
        if request.method == "HEAD" or judged.status not in (200, 206):
            _say(exchange, judged)
        elif found.file.size_bytes > self._settings.small_max_bytes:
            await _send(exchange, judged, found.fd)
        else:
            content = await self._content(found)
            if content is None:
                return False
            exchange.start(judged.status, judged.fields)
            await exchange.write(judged.filled(content), end=True)
        return True

    async def _content(self, found: Found) -> bytes | None:
        """All of a small file, kept for the next time; None when it changed meanwhile."""
        content = await pages.read(found.fd, found.file.size_bytes)
        if not unchanged(found.stat, os.fstat(found.fd)):
            return None
        now_s = self._clock()
        # One that changed a moment ago may change again without a trace in its status.
        if found.lasting and all(at is None or settled(at, now_s) for _path, at in found.facts):
            whole = Response(200, found.file.fields, content)
            self._memory.put(found.key, Kept(found.facts, found.file, whole))
        return content


def _say(exchange: Exchange, judged: Answer) -> None:
    """An answer without bytes of the file; for HEAD with the length that GET's would have."""
    if exchange.request.method == "HEAD":
        length = (b"content-length", b"%d" % judged.length)
        bodiless = judged.status == 304
        exchange.start(judged.status, judged.fields if bodiless else (*judged.fields, length))
        exchange.end()
        return
    exchange.start(judged.status, judged.fields)
    exchange.write_now(judged.filled(b""), end=True)


async def _send(exchange: Exchange, judged: Answer, fd: int) -> None:
    """An answer with ranges of a large file, piece by piece as the client takes them."""
    exchange.start(judged.status, (*judged.fields, (b"content-length", b"%d" % judged.length)))
    for piece in judged.body:
        if isinstance(piece, bytes):
            await exchange.write(piece)
            continue
        for start in range(piece.start, piece.stop, pages.PIECE_BYTES):
            count = min(pages.PIECE_BYTES, piece.stop - start)
            await pages.ready(fd, start, count)
            await exchange.send_file(fd, start, count)
    exchange.end()


def _boundary(headers: list[tuple[bytes, bytes]]) -> bytes:
    """Random, where it could be needed."""
    for name, _value in headers:
        if name == b"range":
            return secrets.token_hex(16).encode()
    return b""
