"""Puts an answer together from the bytes of one connection. No I/O: bytes in, answers out."""

from __future__ import annotations

from typing import Final

import httptools

from benchmarks.client.requests import Answer

HEAD_MAX_BYTES: Final = 65_536


class Malformed(Exception):
    """The bytes are no HTTP/1.1 response."""


class BodyTooLarge(Exception):
    """The body is longer than the limit."""


class AnswerReader:
    """Reads one answer after the other. After an exception its connection is of no more use."""

    def __init__(self, body_max_bytes: int) -> None:
        self._body_max_bytes = body_max_bytes
        self._parser = httptools.HttpResponseParser(self)
        self._head_only = self._keep_body = self._wants_new_parser = False
        self._reset()

    def expect(self, *, head_only: bool, keep_body: bool) -> None:
        """Begin with the next answer.

        Args:
            head_only: it answers HEAD, and so has no body whatever its length says.
            keep_body: whether the body is wanted, or its length alone.
        """
        if self._wants_new_parser:
            self._parser = httptools.HttpResponseParser(self)
            self._wants_new_parser = False
        self._head_only, self._keep_body = head_only, keep_body
        self.got_bytes = self._complete = False
        self._reset()

    def feed(self, data: bytes) -> bool:
        """Take bytes; True when the answer is complete. Raises Malformed, BodyTooLarge."""
        self.got_bytes = True
        if not self._head_done:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.keep_alive = False  # 101: what follows is another protocol
        except httptools.HttpParserError as error:
            if not (self._complete and self._head_only):
                raise Malformed(str(error)) from error
        if not self._head_done and self._head_bytes > HEAD_MAX_BYTES:
            raise Malformed(f"the head is longer than {HEAD_MAX_BYTES} bytes")
        if self._body_bytes > self._body_max_bytes:
            raise BodyTooLarge(f"the body is longer than {self._body_max_bytes} bytes")
        return self._complete

    def end(self) -> bool:
        """The connection was closed in order: whether that completes the answer.

        It does for a body of no announced length (RFC 9112, section 6.3, rule 8).
        """
        if self._head_done and self._until_end:
            self._complete = True
        return self._complete

    def answer(self) -> Answer:
        """The complete answer."""
        body = b"".join(self._chunks)
        return Answer(self._status, tuple(self._headers), body, self._body_bytes)

    def _reset(self) -> None:
        self._headers: list[tuple[bytes, bytes]] = []
        self._chunks: list[bytes] = []
        self._status = self._body_bytes = self._head_bytes = 0
        self._head_done = self._until_end = False
        self.keep_alive = False

    # ---- called by the parser

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._head_done = True
        self._status = self._parser.get_status_code()
        self.keep_alive = self._parser.should_keep_alive()
        names = {name for name, _ in self._headers}
        self._until_end = not names & {b"content-length", b"transfer-encoding"}
        if self._head_only and self._status >= 200:
            # The parser now waits for a body that HEAD's answer does not have.
            self._complete = self._wants_new_parser = True
            if self._until_end:
                self.keep_alive = self._said_keep_alive()

    def on_body(self, chunk: bytes) -> None:
        self._body_bytes += len(chunk)
        if self._keep_body:
            self._chunks.append(chunk)

    def on_message_complete(self) -> None:
        if 100 <= self._status < 200 and self._status != 101:
            self._reset()  # an interim answer; the real one follows (RFC 9110, section 15.2)
            return
        self._complete = True

    def _said_keep_alive(self) -> bool:
        """By the header alone: an answer to HEAD needs no length to stay on its connection."""
        words = [value.lower() for name, value in self._headers if name == b"connection"]
        return not any(b"close" in word for word in words)
