"""The block list: a file of host names to which no link may lead, read again when it changes.

One name a line; ``#`` begins a comment. A name stands for its subdomains as well. Names outside
ASCII are written as they are or as ``xn--...``; addresses can be listed like names.
"""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import idna
import structlog
from prometheus_client import CollectorRegistry, Gauge

from infra.service.lifecycle import CannotStart
from week04_shortener.targets.hosts import embedded, host_of
from week04_shortener.targets.urls import MAX_HOST_CHARS, BadUrl

CHECK_S: Final = 3.0
"""How often the file is looked at: so long, at most, a listed host can still be linked to."""
MAX_BYTES: Final = 16 * 1024 * 1024

_NAME: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_-]{1,63})*")

Version = tuple[int, int, int]
"""What tells that a file is another than before: inode, size, time of the last change in ns."""


class BadBlockList(ValueError):
    """A list that is not read; the message names file and line, and says why."""


class BlockList:
    """The listed hosts. A list that cannot be read leaves the one before in force.

    The first one must be good, or the constructor raises `CannotStart`: a service that was told to
    refuse hosts, and does not know which, should not run.
    """

    def __init__(self, path: Path, registry: CollectorRegistry) -> None:
        self._path = path
        self._size = Gauge(
            "shortener_block_list_names", "Names on the block list in force.", registry=registry
        )
        self._log = structlog.get_logger().bind(file=str(path))
        self._seen: Version | None = None
        self._complaint = ""
        try:
            self._seen = _version(path)
            self._take(read(path))
        except (OSError, BadBlockList) as error:
            raise CannotStart(f"SHORTENER_BLOCK_LIST cannot be read: {error}") from error

    def has(self, host: str) -> bool:
        """Whether `host`, a name in lower case without trailing dot or an address, is listed."""
        return any(name in self._names for name in _with_parents(host))

    def refresh(self) -> None:
        """Read the file if it is another than before. What is wrong with it is logged once."""
        try:
            version = _version(self._path)
            if version == self._seen:
                return
            self._seen = version
            self._take(read(self._path))
        except (OSError, BadBlockList) as error:
            if isinstance(error, OSError):
                self._seen = None  # when it is there again, it is read again
            self._complain(str(error))
            return
        self._complaint = ""
        self._log.info("block list read", names=len(self._names))

    async def keep_current(self) -> None:
        """Look at the file each `CHECK_S`, until cancelled; in a thread, since disks can be slow
        and lists long."""
        while True:
            await asyncio.sleep(CHECK_S)
            await asyncio.to_thread(self.refresh)

    def _take(self, names: frozenset[str]) -> None:
        self._names = names
        self._size.set(len(names))

    def _complain(self, complaint: str) -> None:
        if complaint != self._complaint:
            self._complaint = complaint
            self._log.warning("block list not read, the one before stays", error=complaint)


def read(path: Path) -> frozenset[str]:
    """The names in `path`, in normal form. Raises OSError, or `BadBlockList` at the first line
    that is no host."""
    if path.stat().st_size > MAX_BYTES:
        raise BadBlockList(f"{path} is larger than {MAX_BYTES} bytes")
    try:
        lines = path.read_bytes().decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise BadBlockList(f"{path} is not UTF-8: byte {error.start}") from error
    names = set()
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        try:
            names.add(normal(text))
        except ValueError as error:
            raise BadBlockList(f"{path}, line {number}: {text[:80]!r} {error}") from error
    return frozenset(names)


def normal(text: str) -> str:
    """The form in which hosts are compared: ASCII, lower case, no trailing dot, no brackets.

    Names are mapped as browsers map them (UTS 46, non-transitional). ValueError tells what is
    wrong with `text`.
    """
    name = text.strip("[]").lower().removesuffix(".")
    if not name.isascii():
        try:
            name = idna.encode(name, uts46=True).decode("ascii")
        except idna.IDNAError as error:
            raise ValueError("is no host name; perhaps its xn--... form is") from error
    if ":" not in name and (not _NAME.fullmatch(name) or len(name) > MAX_HOST_CHARS):
        raise ValueError("is no host name: one a line, without http:// and path")
    try:
        host = host_of(name)
    except (BadUrl, ValueError) as error:
        raise ValueError("is no host name and no address") from error
    return host if isinstance(host, str) else str(embedded(host) or host)


def _with_parents(host: str) -> Iterator[str]:
    """a.b.c, b.c and c; an address has no parents that could be listed."""
    yield host
    while "." in host:
        host = host.partition(".")[2]
        yield host


def _version(path: Path) -> Version:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns
