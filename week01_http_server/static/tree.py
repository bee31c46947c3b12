"""Files below one directory, opened so that nothing can lead out of it.

Each component is opened relative to the descriptor of its parent and never through a symbolic
link, so whoever swaps a directory for a link meanwhile wins nothing: what is held is held. A link
is read and walked by the same rules: one that stays inside is followed, one that is absolute or
climbs above the root is not there. This is openat2(2)'s RESOLVE_BENEATH, for systems and Pythons
without it. What remains is what the owner of the tree does: hard links and mounts are followed.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import TracebackType

LINKS_MAX = 40  # as Linux has it (path_resolution(7))

_COMMON = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = _COMMON | os.O_DIRECTORY
# O_NONBLOCK: opening a FIFO without a writer would stall the loop.
_LAST = _COMMON | os.O_NONBLOCK | os.O_NOCTTY
# What O_NOFOLLOW says of a link: ELOOP, with O_DIRECTORY ENOTDIR on Linux, EMLINK on FreeBSD.
_MAYBE_A_LINK = frozenset({errno.ELOOP, errno.ENOTDIR, errno.EMLINK})


class Tree:
    """The directory and what is below it.

    Attributes:
        fd: descriptor of the directory, for calls relative to it.
    """

    def __init__(self, root: Path) -> None:
        """Hold the directory; OSError when it cannot be opened."""
        self.fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        """Let go of the directory."""
        os.close(self.fd)

    def __enter__(self) -> Tree:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def open(self, names: tuple[str, ...]) -> int:
        """Descriptor of the file or directory that the names lead to; the caller closes it.

        Args:
            names: plain names from the root down, as `paths.place_of` makes them.

        Raises:
            FileNotFoundError: not there, or only reachable by leaving the tree.
            NotADirectoryError: something on the way is a file.
            PermissionError: there, and not readable.
            OSError: other faults of the system, too many open files among them.
        """
        held = [self.fd]
        try:
            self._walk([name.encode() for name in names], held)
            return held.pop() if len(held) > 1 else os.dup(self.fd)
        finally:
            for fd in held[1:]:
                os.close(fd)

    def _walk(self, names: list[bytes], held: list[int]) -> None:
        """Open one component after the other; `held` is the way from the root to where we are."""
        todo = names[::-1]
        links = 0
        while todo:
            name = todo.pop()
            if name in (b"", b"."):
                continue
            if name == b"..":  # in a link only
                if len(held) == 1:
                    raise _leaves()
                os.close(held.pop())
                continue
            try:
                held.append(os.open(name, _DIRECTORY if todo else _LAST, dir_fd=held[-1]))
                continue
            except OSError as error:
                if error.errno not in _MAYBE_A_LINK:
                    raise
            target = _target(name, held[-1])
            links += 1
            if links > LINKS_MAX or target.startswith(b"/"):
                raise _leaves()
            todo.extend(reversed(target.split(b"/")))

    def stat(self, name: bytes) -> os.stat_result | None:
        """Status of what is at a relative path now, or None; follows links, wherever they lead.

        Good for comparing with a file that was opened by `open`, never for deciding to open.
        """
        try:
            return os.stat(name, dir_fd=self.fd)
        except OSError:
            return None

    def holds(self, name: bytes) -> bool:
        """Whether `stat` would find something; for what is mostly absent this is cheaper."""
        return os.access(name, os.F_OK, dir_fd=self.fd)


def _target(name: bytes, parent: int) -> bytes:
    try:
        return os.readlink(name, dir_fd=parent)
    except OSError as error:
        if error.errno == errno.EINVAL:  # no link, so a file where a directory should be
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None
        raise


def _leaves() -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, "a link leads out of the tree, or in circles")
