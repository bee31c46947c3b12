"""The commands for people: dead letters, API keys, the database's address. They print and end."""

import argparse
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Final, NoReturn

from week04_shortener.analytics import dead_letters
from week04_shortener.analytics.dead_letters import BadLetter, NoSuchLetter, from_stored
from week04_shortener.kafka import KafkaUnavailable, TopicSender
from week04_shortener.settings import Settings
from week04_shortener.storage.database import DatabaseUnavailable
from week04_shortener.storage.keys import Keys
from week04_shortener.topics import Stored, TopicReader
from week04_shortener.workers import database_of

SHOWN_BYTES: Final = 4096
"""Of a dead letter's value `show` prints no more."""

LISTED: Final = 20
MAX_LISTED: Final = 10_000
MAX_NAMED: Final = 100

Words = argparse.Namespace
Command = Callable[[Settings, Words], Awaitable[None]]


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, then ends the process with status 2."""

    def error(self, message: str) -> NoReturn:
        if message.startswith("unrecognized"):
            message += f"; {self.format_usage()}"
        self.exit(2, f"{self.prog}: {' '.join(message.split())}\n")


def add_dead_letters(parser: argparse.ArgumentParser) -> None:
    """What can be done with dead letters."""
    verbs = parser.add_subparsers(metavar="list|show|replay", required=True, parser_class=Parser)
    one = verbs.add_parser("list", help="the newest of them")
    one.add_argument("--limit", type=_limit, default=LISTED, metavar="N")
    one.set_defaults(command=list_letters)
    one = verbs.add_parser("show", help="one of them with all its bytes")
    one.add_argument("place", type=_place, metavar="[PARTITION:]OFFSET")
    one.set_defaults(command=show_letter)
    one = verbs.add_parser("replay", help="send them to the consumer again")
    one.add_argument("--all", action="store_true", dest="everything")
    one.add_argument("places", type=_place, nargs="*", metavar="[PARTITION:]OFFSET")
    one.set_defaults(command=replay_letters, refuse=one.error)


def add_keys(parser: argparse.ArgumentParser) -> None:
    """What can be done with API keys."""
    verbs = parser.add_subparsers(metavar="create|list|revoke", required=True, parser_class=Parser)
    one = verbs.add_parser("create", help="a new key, shown this once")
    one.add_argument("name", metavar="NAME")
    one.set_defaults(command=create_key, refuse=one.error)
    one = verbs.add_parser("list", help="all keys, without the secrets")
    one.set_defaults(command=list_keys)
    one = verbs.add_parser("revoke", help="end a key for good")
    one.add_argument("id", type=_key_id, metavar="ID")
    one.set_defaults(command=revoke_key)


def add_dsn(parser: argparse.ArgumentParser) -> None:
    """The address of the database with its password: for psql, and for TARGET_DSN."""
    parser.set_defaults(command=show_dsn)


class Failed(Exception):
    """The command could not do what it was asked for; the message is one line for its user."""


async def run(settings: Settings, words: Words) -> None:
    """Do what the words ask for, or raise `Failed`."""
    command: Command = words.command
    try:
        await command(settings, words)
    except KafkaUnavailable as error:
        raise Failed(f"Kafka does not answer ({error})") from error
    except DatabaseUnavailable as error:
        raise Failed(f"PostgreSQL does not answer ({error})") from error
    except NoSuchLetter as error:
        raise Failed(f"{error}: `dead-letters list` shows those there are") from error


# ---- Dead letters


async def list_letters(settings: Settings, words: Words) -> None:
    """The newest dead letters, the oldest of them first."""
    async with _reader(settings) as reader:
        rows = [_row(stored) async for stored in dead_letters.newest(reader, words.limit)]
        total = sum(end - beginning for beginning, end in (await reader.bounds()).values())
    if not rows:
        _say("no dead letters")
        return
    _say(table(("letter", "at", "came from", "bytes", "reason"), rows))
    if total > len(rows):
        _say(f"\n{len(rows)} of {total}: --limit {min(total, MAX_LISTED)} shows more")


async def show_letter(settings: Settings, words: Words) -> None:
    """One dead letter."""
    async with _reader(settings) as reader:
        [stored] = await dead_letters.chosen(reader, [words.place])
    for name, value in stored.headers.items():
        _say(f"{name:<10} {_text(value)}")
    _say(f"{'key':<10} {'none' if stored.key is None else _text(stored.key)}")
    value = stored.value or b""
    _say(f"{'bytes':<10} {len(value)}\n\n{_text(value[:SHOWN_BYTES])}")
    if len(value) > SHOWN_BYTES:
        _say(f"... and {len(value) - SHOWN_BYTES} bytes more")


async def replay_letters(settings: Settings, words: Words) -> None:
    """Send dead letters to the topic of clicks again: all that there are, or those named."""
    if words.everything == bool(words.places):
        words.refuse("which ones? --all, or some [PARTITION:]OFFSET, not both")
    if len(words.places) > MAX_NAMED:
        words.refuse(f"{MAX_NAMED} at once at most")
    sender = TopicSender(
        settings.kafka_bootstrap,
        settings.clicks_topic,
        client="shortener-replay",
        request_timeout_s=settings.kafka_request_timeout_s,
    )
    try:
        async with _reader(settings) as reader:
            if words.everything:
                await _replay_all(reader, sender)
            else:
                named = await dead_letters.chosen(reader, words.places)
                fates = dead_letters.replay(_each(named), sender.send)
                rows = [(*_row(stored)[:3], fate) async for stored, fate in fates]
                _say(table(("letter", "at", "came from", "what was done"), rows))
    finally:
        await sender.close()


async def _replay_all(reader: TopicReader, sender: TopicSender) -> None:
    fates = dead_letters.replay(dead_letters.all_of(reader), sender.send)
    counts = Counter([fate async for _, fate in fates])
    rows = [(str(count), fate) for fate, count in counts.most_common()]
    _say(table(("letters", "what was done"), rows) if rows else "no dead letters")


def _reader(settings: Settings) -> TopicReader:
    return TopicReader(
        settings.kafka_bootstrap,
        settings.dead_letter_topic,
        request_timeout_s=settings.kafka_request_timeout_s,
    )


async def _each(letters: Sequence[Stored]) -> AsyncIterator[Stored]:
    for stored in letters:
        yield stored


def _row(stored: Stored) -> tuple[str, ...]:
    name, size = f"{stored.partition}:{stored.offset}", str(len(stored.value or b""))
    try:
        letter = from_stored(stored)
    except BadLetter as error:
        return (name, "", "", size, str(error))
    at = letter.at.isoformat(sep=" ", timespec="seconds")
    return (name, at, str(letter.place), size, _text(letter.reason.encode()))


# ---- API keys


async def create_key(settings: Settings, words: Words) -> None:
    """Make a key and show it: it is kept as a hash, nobody can show it again."""
    async with database_of(settings, "shortener-keys") as database:
        try:
            plain, key = await Keys(database).create(words.name)
        except ValueError as error:
            words.refuse(str(error))
    sys.stderr.write(f"key {key.id} for {key.name}; it is shown this once:\n")
    _say(plain)


async def list_keys(settings: Settings, _words: Words) -> None:
    """All keys by what may be shown of them."""
    async with database_of(settings, "shortener-keys") as database:
        keys = await Keys(database).list()
    rows = [
        (
            str(key.id),
            key.created_at.isoformat(sep=" ", timespec="seconds"),
            key.revoked_at.isoformat(sep=" ", timespec="seconds") if key.revoked_at else "",
            key.name,
        )
        for key in keys
    ]
    _say(table(("id", "made", "revoked", "name"), rows) if rows else "no keys")


async def revoke_key(settings: Settings, words: Words) -> None:
    """End a key: its links stay, nobody can change them any more."""
    async with database_of(settings, "shortener-keys") as database:
        if not await Keys(database).revoke(words.id):
            raise Failed(f"there is no key {words.id} that could be revoked: see `keys list`")
    _say(f"key {words.id} is revoked")


# ---- The database


async def show_dsn(settings: Settings, _words: Words) -> None:
    """postgresql://USER:PASSWORD@HOST:PORT/DATABASE, as the services are told it."""
    _say(settings.database_url.get_secret_value())


# ---- Words and output


def _limit(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= MAX_LISTED:
        raise argparse.ArgumentTypeError(f"{text!r} is no number 1 to {MAX_LISTED}")
    return int(text)


def _place(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(?:([0-9]{1,9}):)?([0-9]{1,18})", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no [PARTITION:]OFFSET, such as 0:17")
    return int(found[1] or 0), int(found[2])


def _key_id(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no id: `keys list` shows them")
    return int(text)


def _text(data: bytes) -> str:
    """Bytes from outside for a terminal: what does not print is written as an escape."""
    text = data.decode("utf-8", "backslashreplace")
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns of equal width, as long as the terminal lets them."""
    lines = [tuple(head), *map(tuple, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
