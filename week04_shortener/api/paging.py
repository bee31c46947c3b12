"""Cursors of the list of links: where the next page begins. Pure.

Not an offset: links made meanwhile would push others over the edge of a page, and the database
would count all that it passes over. The place is the id of the last link shown, in the form that
ids take outside, with a seal: no cursor tells how many links there are, and none can be made up.
"""

import hashlib
import hmac
import re
from typing import Final

from week04_shortener.codes import CODE_CHARS, Codec

DEFAULT_LINKS: Final = 20
MAX_LINKS: Final = 100
"""Links on a page at most."""

_SEAL_BYTES: Final = 8
CURSOR: Final = re.compile(rf"[0-9A-Za-z]{{{CODE_CHARS}}}[0-9a-f]{{{2 * _SEAL_BYTES}}}")


class BadCursor(ValueError):
    """A cursor that this service did not make for this owner."""


class Pages:
    """Cursors under one key: of any replica, since all have the same."""

    def __init__(self, key: bytes) -> None:
        self._codec = Codec(key)
        self._key = key

    def cursor_after(self, link_id: int, owner_id: int | None) -> str:
        """The cursor of the page that begins after `link_id`."""
        place = self._codec.encode(link_id)
        return place + self._seal(place, owner_id)

    def place_of(self, cursor: str, owner_id: int | None) -> int:
        """The id after which the page begins; `BadCursor`."""
        place, seal = cursor[:CODE_CHARS], cursor[CODE_CHARS:]
        if not CURSOR.fullmatch(cursor) or not hmac.compare_digest(
            seal, self._seal(place, owner_id)
        ):
            raise BadCursor("this cursor is not one of this list; begin again without one")
        return self._codec.decode(place)

    def _seal(self, place: str, owner_id: int | None) -> str:
        return hashlib.blake2b(
            f"{owner_id} {place}".encode(),
            key=self._key,
            digest_size=_SEAL_BYTES,
            person=b"link pages",
        ).hexdigest()
