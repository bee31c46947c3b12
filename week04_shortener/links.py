"""A link, what the cache keeps of it, and what a visitor gets: pure, without I/O.

What is cached is an `Entry`, not the link: the little that a redirect needs, with the link's
version in front. Whoever writes an entry writes it only over an older one, so a reader that was
slow cannot bring back what an update has replaced.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Final

from week04_shortener.codes import is_code

ALIAS_MAX_CHARS: Final = 32
ALIAS: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{1,30}[0-9A-Za-z]")
"""3 to 32 letters, digits, hyphens and underscores, with a letter or digit at both ends."""

RESERVED_WORDS: Final = frozenset(
    {
        "about", "admin", "api", "assets", "bulk", "dashboard", "docs", "export", "favicon",
        "health", "help", "import", "keys", "links", "live", "login", "logout", "metrics", "new",
        "openapi", "qr", "redoc", "robots", "shorten", "sitemap", "static", "stats", "status",
        "web", "well-known", "www",
    }
)  # fmt: skip
"""Refused as aliases whatever their case: paths of the service, and what could be taken for one."""


class BadAlias(ValueError):
    """An alias that is refused; the message tells the user why."""


class Kind(StrEnum):
    """What an entry says of a code."""

    OPEN = "open"
    """Whoever asks is redirected."""
    GUARDED = "guarded"
    """Has a password or a limit on visits: the database decides each time, the URL is not here."""
    GONE = "gone"
    """Was deleted."""
    ABSENT = "absent"
    """Never existed."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What the caches keep of a code.

    `version` is the link's, 0 for `ABSENT`; `expires_at_s` is in seconds since the epoch; `url` is
    empty unless `kind` is `OPEN`.
    """

    version: int
    kind: Kind
    url: str = ""
    expires_at_s: float | None = None

    def is_over(self, now_s: float) -> bool:
        """Whether the link has expired at `now_s`, seconds since the epoch."""
        return self.expires_at_s is not None and now_s >= self.expires_at_s


ABSENT: Final = Entry(0, Kind.ABSENT)


class BadEntry(ValueError):
    """Bytes in the cache that are no entry."""


def encode(entry: Entry) -> bytes:
    """``VERSION KIND EXPIRES URL`` in ASCII; expires in ms since the epoch, ``-`` for never.

    The version comes first so that a script in the cache can compare it without knowing the rest.
    """
    expires = "-" if entry.expires_at_s is None else str(round(entry.expires_at_s * 1000))
    return f"{entry.version} {entry.kind} {expires} {entry.url}".encode("ascii")


def decode(data: bytes) -> Entry:
    """The entry in `data`; `BadEntry` for what `encode` did not make."""
    try:
        version, kind, expires, url = data.decode("ascii").split(" ", 3)
        return Entry(int(version), Kind(kind), url, None if expires == "-" else int(expires) / 1000)
    except (ValueError, OverflowError) as error:
        raise BadEntry("not a cached link") from error


@dataclass(frozen=True, slots=True)
class Link:
    """A row of `links`. `owner_id` is None for links made without a key (open mode)."""

    id: int
    code: str
    url: str
    created_at: datetime
    updated_at: datetime
    owner_id: int | None = None
    version: int = 1
    expires_at: datetime | None = None
    max_visits: int | None = None
    visits: int = 0
    password_hash: str | None = None
    deleted_at: datetime | None = None

    @property
    def is_guarded(self) -> bool:
        """Whether the database must be asked at each visit."""
        return self.password_hash is not None or self.max_visits is not None


def entry_of(link: Link) -> Entry:
    """What the caches keep of `link`."""
    return entry(
        version=link.version,
        url=link.url,
        expires_at=link.expires_at,
        is_guarded=link.is_guarded,
        is_deleted=link.deleted_at is not None,
    )


def entry(
    *, version: int, url: str, expires_at: datetime | None, is_guarded: bool, is_deleted: bool
) -> Entry:
    """What the caches keep of a link of which this much is known, and no more is needed."""
    if is_deleted:
        return Entry(version, Kind.GONE)
    expires_at_s = expires_at.timestamp() if expires_at is not None else None
    if is_guarded:
        return Entry(version, Kind.GUARDED, expires_at_s=expires_at_s)
    return Entry(version, Kind.OPEN, url, expires_at_s)


@dataclass(frozen=True, slots=True)
class NewLink:
    """A link to make, every field accepted already; without `alias` it gets a generated code."""

    url: str
    alias: str | None = None
    expires_at: datetime | None = None
    max_visits: int | None = None
    password_hash: str | None = None


@dataclass(frozen=True, slots=True)
class Idempotency:
    """The client's promise that all requests with `key` are one.

    `scope` keeps callers apart, `request_hash` tells a request that is sent again from another
    one under the same key (IETF draft httpapi-idempotency-key-header, sections 2.4 to 2.6).
    """

    scope: str
    key: str
    request_hash: bytes


@dataclass(frozen=True, slots=True)
class Created:
    """The link of a request; `replayed` when an earlier request with the same key made it."""

    link: Link
    replayed: bool = False


CHANGEABLE: Final = frozenset({"url", "expires_at", "max_visits", "password_hash"})
"""Fields of a link that its owner may change."""


class AliasTaken(Exception):
    """A link has, or once had, this alias."""

    def __init__(self, alias: str) -> None:
        super().__init__(f"the alias {alias} is taken")
        self.alias = alias


class IdempotencyMismatch(Exception):
    """The key was used for another request."""


class NoSuchLink(Exception):
    """There is no such link, it was deleted, or it is somebody else's: nobody is told which."""


class VersionConflict(Exception):
    """The link was changed since the caller saw it; `version` is what it has now."""

    def __init__(self, version: int) -> None:
        super().__init__(f"the link has version {version} by now")
        self.version = version


def accept_alias(text: str) -> str:
    """`text` when it may be an alias, else `BadAlias`.

    Seven letters and digits are refused: that is what generated codes look like, and an alias must
    never lie where the sequence will come to later.
    """
    if not ALIAS.fullmatch(text):
        raise BadAlias(
            "an alias has 3 to 32 letters, digits, hyphens and underscores, "
            "with a letter or digit at both ends"
        )
    if text.lower() in RESERVED_WORDS:
        raise BadAlias("this alias is reserved")
    if is_code(text):
        raise BadAlias("seven letters and digits look like a generated code; add a hyphen")
    return text


def is_code_or_alias(text: str) -> bool:
    """Whether a link could have this code, by its form alone: nothing else is looked up."""
    return len(text) <= ALIAS_MAX_CHARS and _has_form(text)


# Of each request it is asked, and mostly of the same few codes.
@lru_cache(maxsize=4096)
def _has_form(text: str) -> bool:
    return ALIAS.fullmatch(text) is not None and text.lower() not in RESERVED_WORDS
