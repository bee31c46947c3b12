"""Passwords of links: kept as slow salted hashes, made where they cannot hold up redirects.

scrypt (RFC 7914) with one of the costs that the OWASP Password Storage Cheat Sheet names as equally
strong: N = 2**14, r = 8, p = 5, which takes 16 MiB and about the time of a heartbeat. Each hash
says what it was made with (the PHC string format), so a later, higher cost leaves old ones valid.

That slowness is a weapon in a guesser's hand: whoever sends passwords makes us work. So the work
is done in two threads of its own, of which the event loop knows nothing (hashlib lets go of the
interpreter's lock meanwhile); at most `MAX_WAITING` wait for them, and the next one is refused.
How often one address may try is the limiter's business.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import os
import re
import threading
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from infra.service.problems import Problem

MAX_CHARS: Final = 128
"""Longest password, characters."""

MAX_WORKERS: Final = 2
"""Hashes made at once by one process: 32 MiB at most."""

MAX_WAITING: Final = 16
"""Hashes asked for and not done: few, so that whoever waits gets an answer before giving up."""

_SALT_BYTES: Final = 16
_HASH_BYTES: Final = 32
_STORED = re.compile(
    r"\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)"
)
_MAX_LOG2_N: Final = 17
_MAX_R_P: Final = 16


class BadPassword(ValueError):
    """A password that is refused; the message tells the user why."""


class BadHash(ValueError):
    """A stored hash that `hash` did not make."""


class TooBusy(Problem):
    """More passwords to check than this process has time for: 503, with Retry-After."""

    def __init__(self) -> None:
        super().__init__(
            503, "Too many passwords at once; try again soon.", headers={"Retry-After": "2"}
        )


@dataclass(frozen=True, slots=True)
class Cost:
    """scrypt's N as a power of two, its block size r and its parallelism p."""

    log2_n: int = 14
    r: int = 8
    p: int = 5

    @property
    def memory_bytes(self) -> int:
        """What the library needs (RFC 7914 section 2), with room to spare."""
        return 2 * 128 * self.r * ((1 << self.log2_n) + self.p)


COST: Final = Cost()
"""What new hashes are made with."""

_workers = ThreadPoolExecutor(MAX_WORKERS, thread_name_prefix="password")
_places = threading.BoundedSemaphore(MAX_WAITING)


async def hash(plain: str) -> str:
    """The hash of `plain` to store, ``$scrypt$ln=14,r=8,p=5$SALT$HASH``, salted at random.

    Raises `BadPassword` when it is empty, too long or no text, `TooBusy` when too many wait.
    """
    data = _bytes(plain)
    salt = os.urandom(_SALT_BYTES)
    made = await _in_a_worker(data, salt, COST)
    return f"$scrypt$ln={COST.log2_n},r={COST.r},p={COST.p}${_encode(salt)}${_encode(made)}"


async def verify(plain: str, stored: str) -> bool:
    """Whether `stored` is a hash of `plain`; false at once for what `hash` would refuse.

    Raises `BadHash` when `stored` is none, `TooBusy` when too many wait.
    """
    cost, salt, expected = _parse(stored)
    try:
        data = _bytes(plain)
    except BadPassword:
        return False
    return hmac.compare_digest(await _in_a_worker(data, salt, cost), expected)


def _bytes(plain: str) -> bytes:
    if not 1 <= len(plain) <= MAX_CHARS:
        raise BadPassword(f"a password has 1 to {MAX_CHARS} characters")
    try:
        # One keyboard sends a letter and its accent as one character, another as two (RFC 8265).
        return unicodedata.normalize("NFC", plain).encode()
    except UnicodeEncodeError as error:
        raise BadPassword(
            "the password contains a lone surrogate, which is no character"
        ) from error


async def _in_a_worker(data: bytes, salt: bytes, cost: Cost) -> bytes:
    if not _places.acquire(blocking=False):
        raise TooBusy
    try:
        work = _workers.submit(_scrypt, data, salt, cost)
    except RuntimeError:
        _places.release()
        raise
    # Given back when the work is done, not when the client goes away: the thread is busy so long.
    work.add_done_callback(lambda _work: _places.release())
    return await asyncio.wrap_future(work)


def _scrypt(data: bytes, salt: bytes, cost: Cost) -> bytes:
    return hashlib.scrypt(
        data,
        salt=salt,
        n=1 << cost.log2_n,
        r=cost.r,
        p=cost.p,
        maxmem=cost.memory_bytes,
        dklen=_HASH_BYTES,
    )


def _parse(stored: str) -> tuple[Cost, bytes, bytes]:
    found = _STORED.fullmatch(stored)
    if found is None:
        raise BadHash("not a stored password")
    cost = Cost(int(found[1]), int(found[2]), int(found[3]))
    if not (
        1 <= cost.log2_n <= _MAX_LOG2_N and 1 <= cost.r <= _MAX_R_P and 1 <= cost.p <= _MAX_R_P
    ):
        raise BadHash("a stored password with a cost out of bounds")
    salt, made = _decode(found[4]), _decode(found[5])
    if len(made) != _HASH_BYTES:
        raise BadHash("a stored password of another length")
    return cost, salt, made


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii").rstrip("=")


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error as error:
        raise BadHash("a stored password that is cut off") from error
