"""The lines of the click log: how a record is framed, and how damage is found and skipped.

A line is the CRC-32 of the payload as eight hex digits, a space, the payload and a line feed.
A process can die, or a disk fill, in the middle of a write: what is left is a line that is too
short or two that have run together. Either fails its checksum, and the next line feed is where
reading goes on. CRC-32 is zlib's (ISO-HDLC); it finds accidents, not forgeries.
"""

import zlib
from dataclasses import dataclass, field

MAX_LINE_BYTES = 4096
"""A longer line was never written whole; the limit lets a reader pass garbage without a feed."""

_HEAD_BYTES = 9
"""Eight hex digits and the space."""


class TooLong(ValueError):
    """The payload does not fit into a line."""


def frame(payload: bytes) -> bytes:
    """`payload` as a line. `ValueError` if it holds a line feed, `TooLong` if it is too long."""
    if b"\n" in payload:
        raise ValueError("a payload must not contain a line feed")
    line = b"%08x %b\n" % (zlib.crc32(payload), payload)
    if len(line) > MAX_LINE_BYTES:
        raise TooLong(f"a line has {MAX_LINE_BYTES} bytes at most, this one {len(line)}")
    return line


def unframe(line: bytes) -> bytes | None:
    """The payload of a line without its feed, or None when the line is damaged."""
    head, payload = line[:_HEAD_BYTES], line[_HEAD_BYTES:]
    if head == b"%08x " % zlib.crc32(payload):
        return payload
    return None


@dataclass(frozen=True)
class Parsed:
    """What a piece of the log held.

    `used_bytes` is how far it was understood: reading goes on there. `damaged` counts lines that
    were skipped; the blank line a writer begins with after an incomplete one is not damage.
    """

    payloads: list[bytes] = field(default_factory=list)
    used_bytes: int = 0
    damaged: int = 0


def parse(data: bytes, *, complete: bool) -> Parsed:
    """The records in `data`, which begins at the beginning of a line.

    While its writer lives, the last line may still be growing and is left alone. With `complete`
    nothing will be added: what is left without a line feed is damage too.
    """
    *lines, rest = data.split(b"\n")
    payloads, damaged = [], 0
    for line in lines:
        payload = unframe(line)
        if payload is not None:
            payloads.append(payload)
        elif line:
            damaged += 1
    used_bytes = len(data) - len(rest)
    if rest and (complete or len(rest) >= MAX_LINE_BYTES):
        used_bytes, damaged = len(data), damaged + 1
    return Parsed(payloads, used_bytes, damaged)
