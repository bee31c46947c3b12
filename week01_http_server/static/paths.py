"""Which file a request's path names, decided without looking at any file.

A path is decoded once, segment by segment, after it was split: what decodes to a slash is part of
a name, never a separator, and what was encoded twice stays encoded once (RFC 3986, section 2.4).
What comes out is a list of plain names, so nothing that opens them one by one can climb.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes

NAME_MAX_BYTES = 255
DEPTH_MAX = 64

# RFC 8615: the one hidden name that is meant to be asked for, at the top only.
WELL_KNOWN = ".well-known"

_ENCODED_BADLY = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_NOT_VISIBLE_ASCII = re.compile(rb"[^\x21-\x7e]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# RFC 3986, section 3.3: what a segment may hold unencoded beside letters, digits and "-._~".
_SEGMENT_SAFE = "!$&'()*+,;=:@"


class PathRefused(Exception):
    """No file can have this path.

    Attributes:
        status: 400 when it is malformed or climbs above the root, 404 when no file has such a name.
        reason: one line for people; never echoes input.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Place:
    """What a path names.

    Attributes:
        names: from the root down; none is empty, ".", ".." or holds "/", "\\" or a control
            character.
        directory: the path ended in a slash (or a dot segment).
    """

    names: tuple[str, ...]
    directory: bool

    @property
    def canonical(self) -> bytes:
        """The one path, percent-encoded, that names this place."""
        if not self.names:
            return b"/"
        path = "".join("/" + quote(name, safe=_SEGMENT_SAFE) for name in self.names)
        return (path + "/" * self.directory).encode()


def place_of(path: bytes, *, hidden: bool = False) -> Place:
    """Decode and normalise the path of a request.

    Args:
        path: percent-encoded, begins with "/"; without the query.
        hidden: also names that begin with a dot. Without it they are not there, as they are
            rarely meant for the public (.git, .env, .htpasswd); /.well-known/ (RFC 8615) is.

    Raises:
        PathRefused: with the status of the answer.
    """
    if not path.startswith(b"/") or _NOT_VISIBLE_ASCII.search(path):
        raise PathRefused(400, "the path is malformed")
    if _ENCODED_BADLY.search(path):
        raise PathRefused(400, "the path has a broken percent-encoding")
    names: list[str] = []
    *inner, last = path[1:].split(b"/")
    for raw in inner:
        if not raw:
            # Another spelling of the same file would escape rules that go by path.
            raise PathRefused(404, "no such file")
        _step(names, _decoded(raw))
    final = _decoded(last)
    directory = final in ("", ".", "..")
    if final:
        _step(names, final)
    if len(names) > DEPTH_MAX:
        raise PathRefused(404, "no such file")
    if not hidden:
        _refuse_hidden(names)
    return Place(tuple(names), directory)


def _step(names: list[str], name: str) -> None:
    """Dot segments as RFC 3986, section 5.2.4, but above the root is an error, not the root."""
    if name == ".":
        return
    if name != "..":
        names.append(name)
    elif names:
        names.pop()
    else:
        raise PathRefused(400, "the path climbs above the root")


def _decoded(raw: bytes) -> str:
    try:
        # Strict UTF-8 knows no overlong forms and no surrogates (RFC 3629, section 3).
        name = unquote_to_bytes(raw).decode("utf-8")
    except UnicodeDecodeError:
        raise PathRefused(400, "the path is not UTF-8") from None
    if "\0" in name:
        raise PathRefused(400, "the path holds a NUL")
    # A backslash is a legal name on POSIX and a separator for much that could stand in front.
    if "/" in name or "\\" in name or _CONTROL.search(name):
        raise PathRefused(404, "no such file")
    if len(name.encode()) > NAME_MAX_BYTES:
        raise PathRefused(404, "no such file")
    return name


def _refuse_hidden(names: list[str]) -> None:
    for depth, name in enumerate(names):
        if name.startswith(".") and not (depth == 0 and name == WELL_KNOWN):
            raise PathRefused(404, "no such file")


def with_slash(place: Place, query: bytes) -> bytes:
    """Relative Location that adds the slash to a directory's path, query kept.

    Relative to the last segment, so it is right behind any proxy and prefix, and it can name no
    other host; "./" keeps a name with a colon from being read as a scheme (RFC 3986, section 4.2).
    """
    location = b"./" + quote(place.names[-1], safe=_SEGMENT_SAFE).encode() + b"/"
    # The core lets only visible ASCII into a target; what is not is dropped rather than believed.
    return location + (b"?" + query if query and not _NOT_VISIBLE_ASCII.search(query) else b"")
