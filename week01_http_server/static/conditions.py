"""Preconditions of a request against the file as it is (RFC 9110, section 13).

The entity-tag is strong: equal tags mean equal bytes. It is made of inode, size, and the times of
the last change of content and of inode, in nanoseconds. Modification time alone can be set back
(`touch -r`, `cp -p`, an unpacked archive); the inode's change time is the kernel's own and moves
with every write, rename or link. Neither moves within one tick of the kernel's clock, so a file
that changed less than SETTLED_S ago could change again unseen: until it has settled its tag is
weak (RFC 9110, section 8.8.1).
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from week01_http_server.static.dates import http_date, parse_http_date

# Above the coarsest clock of a usual file system (2 s on FAT, 1 s on old ext3, 4 ms on ext4).
SETTLED_S = 2.5

_TAG = re.compile(rb'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')


@dataclass(frozen=True, slots=True)
class Validators:
    """What a file is recognised by.

    Attributes:
        tag: opaque, quoted, without "W/".
        strong: equal tags mean equal bytes.
        modified_s: Unix time, whole seconds, never ahead of the clock (section 8.8.2.1).
    """

    tag: bytes
    strong: bool
    modified_s: int

    @property
    def etag(self) -> bytes:
        """Value of the ETag field."""
        return self.tag if self.strong else b"W/" + self.tag

    @property
    def last_modified(self) -> bytes:
        """Value of the Last-Modified field."""
        return http_date(self.modified_s)


def validators_of(stat: os.stat_result, now_s: float) -> Validators:
    """Validators of a file from its status and the present Unix time."""
    tag = b'"%x-%x-%x-%x"' % (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    return Validators(tag, settled(stat, now_s), int(min(stat.st_mtime, now_s)))


def settled(stat: os.stat_result, now_s: float) -> bool:
    """Whether a further change could not go unseen: the last one lies SETTLED_S back."""
    return now_s - max(stat.st_mtime, stat.st_ctime) >= SETTLED_S


@dataclass(slots=True)
class Conditions:
    """The fields of a request that make it conditional; None where it has none.

    `if_match` and `if_none_match` are lists, so repeated fields are joined; the others, repeated,
    have no valid meaning and are ignored.
    """

    if_match: bytes | None = None
    if_none_match: bytes | None = None
    if_modified_since: bytes | None = None
    if_unmodified_since: bytes | None = None
    if_range: bytes | None = None


def conditions_of(headers: Sequence[tuple[bytes, bytes]]) -> Conditions:
    """The conditions among a request's fields (names in lower case)."""

    def joined(name: bytes) -> bytes | None:
        values = [value for key, value in headers if key == name]
        return b", ".join(values) if values else None

    def single(name: bytes) -> bytes | None:
        values = [value for key, value in headers if key == name]
        return values[0] if len(values) == 1 else None

    return Conditions(
        joined(b"if-match"),
        joined(b"if-none-match"),
        single(b"if-modified-since"),
        single(b"if-unmodified-since"),
        single(b"if-range"),
    )


def judge(conditions: Conditions, file: Validators, now_s: float) -> int | None:
    """304, 412, or None to go on, for GET and HEAD, in the order of RFC 9110, section 13.2.2.

    Dates that cannot be read are ignored (sections 13.1.3 and 13.1.4), so are members of a list
    that are no entity-tags.
    """
    if conditions.if_match is not None:
        if not _any_tag(conditions.if_match, file, strong=True):
            return 412
    elif conditions.if_unmodified_since is not None:
        date_s = parse_http_date(conditions.if_unmodified_since, now_s)
        if date_s is not None and file.modified_s > date_s:
            return 412
    if conditions.if_none_match is not None:
        return 304 if _any_tag(conditions.if_none_match, file, strong=False) else None
    if conditions.if_modified_since is not None:
        date_s = parse_http_date(conditions.if_modified_since, now_s)
        if date_s is not None and file.modified_s <= date_s:
            return 304
    return None


def range_holds(if_range: bytes | None, file: Validators) -> bool:
    """Whether Range counts (RFC 9110, section 13.1.5): no If-Range, or exactly this file.

    A date counts only when the file has settled: otherwise it may change twice in its second.
    """
    if if_range is None:
        return True
    if not file.strong:
        return False
    return if_range in (file.tag, file.last_modified)


def _any_tag(value: bytes, file: Validators, *, strong: bool) -> bool:
    """Comparison of a list of tags with the file's (section 8.8.3.2); "*" matches any file."""
    if value == b"*":
        return True
    if strong and not file.strong:
        return False
    return any(tag == file.tag and not (strong and weak) for weak, tag in _TAG.findall(value))
