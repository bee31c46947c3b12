"""How far the click log was forwarded: a pure position, and the file that remembers it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FILE_NAME = "forwarder.cursor"


@dataclass(frozen=True, order=True)
class Cursor:
    """Everything before byte `offset` of `segment`, and every older segment, was forwarded."""

    segment: int = 0
    offset: int = 0


class BadCursor(ValueError):
    """The cursor file holds no cursor."""


def settle(cursor: Cursor, segments: Sequence[int]) -> Cursor:
    """Where to read next, given the `segments` there are (oldest first).

    A cursor into a segment that is gone moves to the next newer one, or, when there is only an
    older log, to the beginning of that: clicks sent twice are recognised later, lost ones never.
    """
    if not segments or cursor.segment in segments:
        return cursor
    newer = [number for number in segments if number > cursor.segment]
    return Cursor(newer[0] if newer else segments[0])


def forwarded(cursor: Cursor, segments: Sequence[int]) -> list[int]:
    """The segments that may be deleted: those older than the cursor's, but never the newest."""
    return [number for number in segments[:-1] if number < cursor.segment]


def following(cursor: Cursor, segments: Sequence[int]) -> Cursor:
    """The beginning of the segment after the cursor's, which was read to its end."""
    newer = [number for number in segments if number > cursor.segment]
    return Cursor(newer[0]) if newer else cursor


def to_json(cursor: Cursor) -> bytes:
    """`cursor` as it stands in its file."""
    return json.dumps({"segment": cursor.segment, "offset": cursor.offset}).encode() + b"\n"


def from_json(data: bytes) -> Cursor:
    """The cursor in `data`; `BadCursor` for anything else."""
    try:
        fields = json.loads(data)
        segment, offset = fields["segment"], fields["offset"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadCursor("the cursor file is damaged") from error
    for value in (segment, offset):
        if type(value) is not int or value < 0:
            raise BadCursor("the cursor file is damaged")
    return Cursor(segment, offset)


def load(directory: Path) -> Cursor:
    """The remembered cursor, or the beginning if there is none; `BadCursor` if it is damaged."""
    try:
        return from_json((directory / FILE_NAME).read_bytes())
    except FileNotFoundError:
        return Cursor()


def save(directory: Path, cursor: Cursor) -> None:
    """Remember `cursor`. Replacing the file is atomic: a reader finds the old or the new one."""
    new = directory / f"{FILE_NAME}.new"
    new.write_bytes(to_json(cursor))
    new.replace(directory / FILE_NAME)
