"""Conditional requests (RFC 9110 section 13): a link's version as its entity tag. Pure."""

import re
from typing import Final

_TAG: Final = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_LIST: Final = re.compile(rf"[ \t,]*{_TAG.pattern}(?:[ \t]*,[ \t,]*{_TAG.pattern})*[ \t,]*")

MAX_CHARS: Final = 1000
"""Longest condition that is read: some sixty tags, more than any client keeps of one link."""


class BadCondition(ValueError):
    """A header that is no list of entity tags; the message tells the user what one is."""


def etag(version: int) -> str:
    """The strong tag of a link's version: any change gives another one."""
    return f'"{version}"'


def is_current(if_none_match: str | None, tag: str) -> bool:
    """Whether the client has `tag` already, so that 304 is enough (section 13.1.2).

    Compared weakly: for a copy in a cache the meaning is what matters. A header that cannot be
    read asks for nothing, and the whole answer is never wrong.
    """
    if if_none_match is None:
        return False
    try:
        tags = _parse(if_none_match)
    except BadCondition:
        return False
    return tags is None or tag.strip('"') in (value for _weak, value in tags)


def versions_in(if_match: str | None) -> frozenset[int] | None:
    """The versions under which the client wants its change made; None: under any.

    Compared strongly (section 13.1.1), so weak tags match nothing. Raises `BadCondition`: here a
    header that is not understood must not be passed over, or the change would be made blindly.
    """
    tags = _parse(if_match) if if_match is not None else None
    if tags is None:
        return None
    return frozenset(
        int(value) for weak, value in tags if not weak and re.fullmatch(r"[1-9]\d{0,17}", value)
    )


def _parse(header: str) -> list[tuple[bool, str]] | None:
    """The tags of `header`, each with whether it is weak; None for ``*``."""
    if header.strip() == "*":
        return None
    if len(header) > MAX_CHARS or not _LIST.fullmatch(header):
        raise BadCondition('a condition is * or a list of tags, such as "3"')
    return [(bool(weak), value) for weak, value in _TAG.findall(header)]
