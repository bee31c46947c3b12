"""From a request to an open file, or to the answer that there is none."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass

from week01_http_server.messages import Request
from week01_http_server.static.answers import ALLOWED, Answer, Representation, representation, text
from week01_http_server.static.codings import IDENTITY, STORED, accepted_quickly
from week01_http_server.static.media_types import compressible
from week01_http_server.static.memory import Fact, unchanged
from week01_http_server.static.paths import PathRefused, Place, place_of, with_slash
from week01_http_server.static.tree import Tree

_ABSENT = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.ENXIO, errno.ENODEV}
)
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
_ENDING = dict(STORED)


@dataclass(slots=True)
class Found:
    """An open file; whoever has it closes `fd`.

    Attributes:
        key: what asks for it, see `key_of`.
        stat: of the open file.
        facts: what its choice relied on.
        lasting: whether the facts may be relied on later.
    """

    fd: int
    key: bytes
    stat: os.stat_result
    file: Representation
    facts: tuple[Fact, ...]
    lasting: bool


def method_answer(method: str) -> Answer | None:
    """The answer to any method other than GET and HEAD, whatever the path."""
    if method in ("GET", "HEAD"):
        return None
    allow = ((b"allow", ALLOWED),)
    if method == "OPTIONS":
        return Answer(204, allow, (), 0)
    return text(405, "files can be read, and nothing else", allow)


def key_of(path: bytes, wanted: tuple[bytes, ...]) -> bytes:
    """What asks for a file: a canonical path, and the codings wanted if there is a choice."""
    return path if wanted == (IDENTITY,) else b"%s\0%s" % (path, b",".join(wanted))


def codings_wanted(name: str, accept_encoding: bytes | None) -> tuple[bytes, ...]:
    """Codings to look for, best first; empty when none that could be here is acceptable."""
    if accept_encoding is None:
        return (IDENTITY,)
    wanted = accepted_quickly(accept_encoding)
    if compressible(name):
        return wanted
    return (IDENTITY,) if IDENTITY in wanted else ()


def accept_encoding_of(headers: list[tuple[bytes, bytes]]) -> bytes | None:
    """Value of Accept-Encoding, of several fields joined; None without one."""
    values = [value for name, value in headers if name == b"accept-encoding"]
    return b", ".join(values) if values else None


class Finder:
    """Looks for what requests name in one tree.

    Args:
        tree: where.
        index: name of the file that stands for a directory; empty for none.
        hidden: also names that begin with a dot.
        precompressed: look for coded files beside the plain ones.
    """

    def __init__(self, tree: Tree, index: str, *, hidden: bool, precompressed: bool) -> None:
        self._tree = tree
        self._index = index
        self._hidden = hidden
        self._precompressed = precompressed

    def name_of(self, path: bytes) -> str:
        """Name of the file that a path asks for, as far as its ending goes."""
        if path.endswith(b"/"):
            return self._index
        return path.rpartition(b"/")[2].decode("latin-1")

    def wanted(self, name: str, accept_encoding: bytes | None) -> tuple[bytes, ...]:
        """As `codings_wanted`, for this tree."""
        return codings_wanted(name, accept_encoding) if self._precompressed else (IDENTITY,)

    def find(self, request: Request, now_s: float) -> Found | Answer:
        """Open what a GET or HEAD asks for.

        Raises:
            OSError: the disk failed, or another fault that is no answer.
        """
        try:
            place = place_of(request.path, hidden=self._hidden)
        except PathRefused as refused:
            return text(refused.status, refused.reason)
        try:
            return self._file(place, request, now_s)
        except PermissionError:
            return text(403, "the file may not be read")
        except OSError as error:
            if error.errno in _ABSENT:
                return _absent()
            if error.errno in _EXHAUSTED:
                return busy("no more files can be opened now")
            raise

    def _file(self, place: Place, request: Request, now_s: float) -> Found | Answer:
        if place.directory and not self._index:
            return _absent()
        names = (*place.names, self._index) if place.directory else place.names
        fd = self._tree.open(names)
        try:
            found = os.fstat(fd)
            if stat.S_ISDIR(found.st_mode) and not place.directory:
                location = (b"location", with_slash(place, request.query))
                answer = text(301, "this is a directory, see its name with a slash", (location,))
            elif not stat.S_ISREG(found.st_mode):
                answer = _absent()
            else:
                wanted = self.wanted(names[-1], accept_encoding_of(request.headers))
                if wanted:
                    chosen = self._coded(fd, found, names, wanted, now_s)
                    chosen.key = key_of(place.canonical, wanted)
                    fd = -1 if chosen.fd == fd else fd
                    return chosen
                answer = text(406, "the file is not stored in any acceptable coding")
            return answer
        finally:
            if fd >= 0:
                os.close(fd)

    def _coded(
        self,
        plain_fd: int,
        plain: os.stat_result,
        names: tuple[str, ...],
        wanted: tuple[bytes, ...],
        now_s: float,
    ) -> Found:
        """The first coding wanted that is there, the plain file if it is none of them."""
        path = "/".join(names).encode()
        facts: list[Fact] = [(path, plain)]
        lasting = True
        for coding in wanted:
            if coding == IDENTITY:
                break
            beside = path + _ENDING[coding].encode()
            there = self._tree.stat(beside)
            facts.append((beside, there))
            # One that is older than the plain file was made from another content.
            if there is None or there.st_mtime_ns < plain.st_mtime_ns:
                continue
            fd = self._sibling(names, _ENDING[coding], there)
            if fd is None:
                lasting = False
                continue
            file = representation(names[-1], coding, there, now_s)
            return Found(fd, b"", there, file, tuple(facts), lasting)
        file = representation(names[-1], IDENTITY, plain, now_s)
        return Found(plain_fd, b"", plain, file, tuple(facts), lasting)

    def _sibling(self, names: tuple[str, ...], ending: str, expected: os.stat_result) -> int | None:
        """Open a coded file, if it can be and is the very regular file that was seen."""
        try:
            fd = self._tree.open((*names[:-1], names[-1] + ending))
        except OSError as error:
            if error.errno in _EXHAUSTED:
                raise
            return None
        opened = os.fstat(fd)
        if stat.S_ISREG(opened.st_mode) and unchanged(opened, expected):
            return fd
        os.close(fd)
        return None


def busy(reason: str) -> Answer:
    """503, to be tried again in a second."""
    return text(503, reason, ((b"retry-after", b"1"),))


def _absent() -> Answer:
    return text(404, "no such file")
