"""What to answer to GET and HEAD of a file that is there: status, fields, and which bytes of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from week01_http_server.static.codings import IDENTITY
from week01_http_server.static.conditions import (
    Validators,
    conditions_of,
    judge,
    range_holds,
    validators_of,
)
from week01_http_server.static.media_types import compressible, media_type
from week01_http_server.static.ranges import ByteRange, multipart, ranges_of

ALLOWED = b"GET, HEAD, OPTIONS"

# Fields of a request that can change what is sent of a file; without them it is all of it.
CONDITIONAL = frozenset(
    {
        b"if-match",
        b"if-modified-since",
        b"if-none-match",
        b"if-range",
        b"if-unmodified-since",
        b"range",
    }
)

Fields = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Representation:
    """A file as it is sent.

    Attributes:
        name: of the plain file, whose ending says the media type.
        coding: of the bytes: "identity", or what a precompressed file beside it holds.
        size_bytes: of the bytes.
        validators: of the file that holds the bytes, so each coding has its own entity-tag.
    """

    name: str
    coding: bytes
    size_bytes: int
    validators: Validators

    @property
    def fields(self) -> Fields:
        """Those of a 200, without Content-Length."""
        fields = [
            (b"content-type", media_type(self.name)),
            *self.described,
            (b"accept-ranges", b"bytes"),
            (b"x-content-type-options", b"nosniff"),
        ]
        if self.coding != IDENTITY:
            fields.append((b"content-encoding", self.coding))
        return tuple(fields)

    @property
    def described(self) -> Fields:
        """What a 304 must repeat of a 200 (RFC 9110, section 15.4.5)."""
        fields = [
            (b"etag", self.validators.etag),
            (b"last-modified", self.validators.last_modified),
        ]
        if compressible(self.name):
            # Also for the plain file: another client may be given another coding (12.5.5).
            fields.append((b"vary", b"accept-encoding"))
        return tuple(fields)


def representation(name: str, coding: bytes, stat: os.stat_result, now_s: float) -> Representation:
    """From the status of the file that holds the bytes, and the present Unix time."""
    return Representation(name, coding, stat.st_size, validators_of(stat, now_s))


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer.

    Attributes:
        status: 200, 206, 304, 406, 412 or 416.
        fields: without Content-Length.
        body: bytes, and ranges of the file to put between them; of HEAD too, where it is left out.
        length: of the body in bytes.
    """

    status: int
    fields: Fields
    body: tuple[bytes | ByteRange, ...]
    length: int

    def filled(self, file: bytes) -> bytes:
        """The body, from the whole content of the file."""
        return b"".join(
            piece if isinstance(piece, bytes) else file[piece.start : piece.stop]
            for piece in self.body
        )


def text(status: int, reason: str, fields: Fields = ()) -> Answer:
    """An answer that is one line for people."""
    body = reason.encode() + b"\n"
    plain = (
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"x-content-type-options", b"nosniff"),
        *fields,
    )
    return Answer(status, plain, (body,), len(body))


def answer(
    method: str,
    headers: Sequence[tuple[bytes, bytes]],
    file: Representation,
    now_s: float,
    boundary: bytes,
) -> Answer:
    """Conditions first, then ranges (RFC 9110, section 13.2.2).

    Args:
        method: GET or HEAD; ranges are defined for GET alone (section 14.2).
        headers: of the request, names in lower case.
        boundary: between the parts, should there be several.
    """
    whole = Answer(200, file.fields, (ByteRange(0, file.size_bytes),), file.size_bytes)
    headers = [field for field in headers if field[0] in CONDITIONAL]
    if not headers:
        return whole
    conditions = conditions_of(headers)
    status = judge(conditions, file.validators, now_s)
    if status == 304:
        return Answer(304, file.described, (), 0)
    if status is not None:
        return text(status, "the file is not as the request's conditions want it", file.described)
    asked = [value for name, value in headers if name == b"range"]
    if method != "GET" or len(asked) != 1 or not range_holds(conditions.if_range, file.validators):
        return whole
    ranges = ranges_of(asked[0], file.size_bytes)
    if ranges is None:
        return whole
    if not ranges:
        unsatisfied = (b"content-range", b"bytes */%d" % file.size_bytes)
        return text(416, "no such bytes in the file", (unsatisfied,))
    return _partial(file, ranges, boundary)


def _partial(file: Representation, ranges: tuple[ByteRange, ...], boundary: bytes) -> Answer:
    if len(ranges) == 1:
        only = ranges[0]
        fields = (*file.fields, (b"content-range", only.content_range(file.size_bytes)))
        return Answer(206, fields, (only,), only.stop - only.start)
    parts = multipart(ranges, file.size_bytes, media_type(file.name), boundary)
    media = (b"content-type", b"multipart/byteranges; boundary=" + parts.boundary)
    fields = (media, *(field for field in file.fields if field[0] != b"content-type"))
    body: list[bytes | ByteRange] = []
    for head, one in zip(parts.heads, ranges, strict=True):
        body += (head, one)
    return Answer(206, fields, (*body, parts.tail), parts.length)
