"""Byte ranges (RFC 9110, section 14): which bytes of a file a Range field asks for."""

from __future__ import annotations

import re
from dataclasses import dataclass

# More in one request is no viewer or downloader: the whole file is the cheaper answer.
RANGES_MAX = 16

_SPEC = re.compile(rb"([0-9]*)-([0-9]*)")
_DIGITS_MAX = 19  # above any file's size; Python refuses to read numbers of thousands of digits


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes from start up to, not including, stop."""

    start: int
    stop: int

    def content_range(self, size_bytes: int) -> bytes:
        """Value of Content-Range (section 14.4)."""
        return b"bytes %d-%d/%d" % (self.start, self.stop - 1, size_bytes)


def ranges_of(value: bytes, size_bytes: int) -> tuple[ByteRange, ...] | None:
    """The ranges to send, in the order asked for.

    Ranges that overlap or touch are sent once, joined at the place of the first of them (section
    15.3.7.2), so no request yields more than the file.

    Returns:
        None: ignore the field and send everything: another unit, malformed, more than RANGES_MAX,
            or the tail of an empty file, which Content-Range cannot express.
        (): none lies within the file, answer 416.
    """
    unit, equals, specs = value.partition(b"=")
    if not equals or unit.lower() != b"bytes":
        return None
    found: list[ByteRange] = []
    asked = 0
    for raw in specs.split(b","):
        spec = raw.strip(b" \t")
        if not spec:
            continue  # empty members of a list are ignored (section 5.6.1.2)
        asked += 1
        match = _SPEC.fullmatch(spec)
        if match is None or asked > RANGES_MAX:
            return None
        bounds = _bounds(match[1], match[2], size_bytes)
        if bounds is None:
            return None
        if bounds.start < bounds.stop:
            found.append(bounds)
    return _joined(found) if asked else None


def _bounds(first: bytes, last: bytes, size_bytes: int) -> ByteRange | None:
    """One range within the file, empty when unsatisfiable; None when it makes no sense."""
    if not first:
        if not last or (size_bytes == 0 and _number(last)):
            return None
        return ByteRange(max(0, size_bytes - _number(last)), size_bytes)
    start = _number(first)
    if not last:
        return ByteRange(start, size_bytes)
    if _number(last) < start:
        return None
    return ByteRange(start, min(_number(last) + 1, size_bytes))


def _number(digits: bytes) -> int:
    digits = digits.lstrip(b"0") or b"0"
    return int(digits) if len(digits) <= _DIGITS_MAX else 10**_DIGITS_MAX


def _joined(ranges: list[ByteRange]) -> tuple[ByteRange, ...]:
    joined: list[ByteRange] = []
    for one in ranges:
        touching = [
            other for other in joined if one.start <= other.stop and other.start <= one.stop
        ]
        if not touching:
            joined.append(one)
            continue
        place = joined.index(touching[0])
        joined[place] = ByteRange(
            min(one.start, *(other.start for other in touching)),
            max(one.stop, *(other.stop for other in touching)),
        )
        for other in touching[1:]:
            joined.remove(other)
    return tuple(joined)


@dataclass(frozen=True, slots=True)
class Multipart:
    """A multipart/byteranges body around the pieces of a file (section 14.6).

    Attributes:
        boundary: must not occur in the file; 128 random bits do not.
        heads: the bytes before each range, in order.
        tail: the bytes after the last one.
        length: of the whole body.
    """

    boundary: bytes
    heads: tuple[bytes, ...]
    tail: bytes
    length: int


def multipart(
    ranges: tuple[ByteRange, ...], size_bytes: int, media_type: bytes, boundary: bytes
) -> Multipart:
    """Frame several ranges of a file of `size_bytes` as one body."""
    heads = tuple(
        b"%s--%s\r\ncontent-type: %s\r\ncontent-range: %s\r\n\r\n"
        % (b"\r\n" * (index > 0), boundary, media_type, one.content_range(size_bytes))
        for index, one in enumerate(ranges)
    )
    tail = b"\r\n--%s--\r\n" % boundary
    content = sum(one.stop - one.start for one in ranges)
    return Multipart(boundary, heads, tail, sum(map(len, heads)) + content + len(tail))
