"""Somebody's own shortener, known by its address and its database alone.

A claim gets a link that no cache can know by making one and giving it another code, in the table,
behind the service's back.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import secrets
import string
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from random import Random
from typing import Final

import asyncpg

from benchmarks.client import Ended, Outcome, Request
from infra.evidence import Figures, Lab
from infra.lab.errors import LabError
from week04_shortener.checks.traffic import (
    JSON,
    Followed,
    Link,
    ask,
    follow,
    follow_all,
    said,
    text_in,
    try_links,
)

TIMEOUT_S: Final = 10.0
CONNECTIONS: Final = 4
CODE_CHARS: Final = 7
_BASE62: Final = string.digits + string.ascii_letters

_COUNTED = """
    SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_statements
    WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND query ~* $1
"""
_LOOKUPS: Final = (
    r'^\s*(with|select)\y.*\y(from|join)\s+(only\s+)?("?\w+"?\.)?"?links"?(\s|;|,|\)|$)'
)
"""Whatever is read of links, with an alias or a schema's name or in a join."""

_RENAME = "UPDATE links SET code = $2 WHERE code = $1"
_NO_TABLE = "a table `links` with a column `code` is expected, where a link that was made is found"


@contextlib.asynccontextmanager
async def database(lab: Lab) -> AsyncIterator[asyncpg.Connection]:
    """The target's database. LabError where it cannot be reached or does not count statements."""
    try:
        connection = await asyncpg.connect(
            lab.database(), timeout=TIMEOUT_S, command_timeout=TIMEOUT_S
        )
    except (OSError, ValueError, TimeoutError, asyncpg.PostgresError) as error:
        raise LabError(
            f"TARGET_DSN leads to no database: {str(error) or type(error).__name__}"
        ) from None
    try:
        await lookups(connection)
        yield connection
    finally:
        await connection.close(timeout=TIMEOUT_S)


async def lookups(connection: asyncpg.Connection) -> int:
    """How often statements have read `links`, by PostgreSQL's own count."""
    try:
        return int(await connection.fetchval(_COUNTED, _LOOKUPS))
    except asyncpg.UndefinedTableError:
        why = "let its superuser say CREATE EXTENSION pg_stat_statements in it"
    except asyncpg.ObjectNotInPrerequisiteStateError:
        why = "start PostgreSQL with shared_preload_libraries = pg_stat_statements"
    raise LabError(f"the target's database does not count statements: {why}")


async def unknown_links(
    lab: Lab, connection: asyncpg.Connection, urls: Sequence[str]
) -> tuple[list[Link], str]:
    """Links that no cache has heard of, and what kept them from being made, "" for nothing."""
    made, failed = await try_links(lab.url, urls)
    if failed:
        return [], failed
    hidden = [Link(_code(), link.url) for link in made]
    try:
        for link, other in zip(made, hidden, strict=True):
            if await connection.execute(_RENAME, link.code, other.code) != "UPDATE 1":
                return [], f"{_NO_TABLE}; there is no row with the code {link.code}"
    except asyncpg.PostgresError as error:
        return [], f"{_NO_TABLE}; PostgreSQL says: {error}"
    return hidden, ""


def _code() -> str:
    return "".join(secrets.choice(_BASE62) for _ in range(CODE_CHARS))


# ---- Cache-aside


async def cache_aside(lab: Lab, *, links: int, redirects: int, unit: str) -> Figures:
    """What redirects cost the target's database: each link once, then any of them."""
    targets = [f"https://example.org/cache/{lab.seed}/{number}" for number in range(links)]
    async with database(lab) as connection:
        made, failed = await unknown_links(lab, connection, targets)
        before = await lookups(connection)
        lab.say("following each link once, then any of them")
        again = Random(lab.seed).choices(made, k=redirects - links) if made else []
        first, rest = [
            await follow_all(lab.url, map(follow, some), CONNECTIONS) for some in (made, again)
        ]
        queries = await lookups(connection) - before
    return Figures(
        unit=unit,
        headline="queries",
        samples={
            "queries": [queries],
            "links": [links],
            "right_redirects": [first.right + rest.right],
        },
        attempts=links + first.attempts + rest.attempts,
        seed=lab.seed,
        notes=[failed or f"GET of each link: {first}; then of any: {rest}"],
    )


# ---- Herds


async def herds(lab: Lab, *, herds: int, size: int, query_s: float, unit: str) -> Figures:
    """What herds cost the target's database, while that takes `query_s` to answer."""
    number = Random(lab.seed).getrandbits(64)
    targets = [f"https://example.org/herd/{number:x}/{herd}" for herd in range(herds)]
    followed: list[Followed] = []
    queries: list[int] = []
    async with database(lab) as connection:
        made, failed = await unknown_links(lab, connection, targets)
        for place, link in enumerate(made, 1):
            lab.say(f"herd {place} of {herds}")
            before = await lookups(connection)
            followed.append(await _herd(lab, connection, link, size, query_s))
            queries.append(await lookups(connection) - before)
    return Figures(
        unit=unit,
        headline="queries",
        samples={
            "queries": queries or [0],
            "right_redirects": [herd.right for herd in followed] or [0],
        },
        # Not the highest: its limits on waiting are its own, and a busy machine exceeds them.
        summary="median",
        attempts=herds + sum(herd.attempts for herd in followed),
        seed=lab.seed,
        notes=[failed] if failed else [f"GET of a link: {herd}" for herd in followed],
    )


async def _herd(
    lab: Lab, connection: asyncpg.Connection, link: Link, size: int, query_s: float
) -> Followed:
    async with asyncio.TaskGroup() as group, connection.transaction():
        await connection.execute("LOCK TABLE links IN ACCESS EXCLUSIVE MODE")
        herd = group.create_task(follow_all(lab.url, [follow(link)] * size, connections=size))
        await asyncio.sleep(query_s)
    return herd.result()


# ---- Limits


_POLICY: Final = re.compile(r";\s*q=(\d{1,9})\b[^,]*;\s*w=(\d{1,9})\b")


def policy_of(field: str) -> tuple[int, int] | None:
    """Quota and window in seconds of the strictest item of a RateLimit-Policy field."""
    items = [(int(quota), int(window_s)) for quota, window_s in _POLICY.findall(field)]
    return min(items, default=None)


BEYOND: Final = 10
"""Writes more than the limit allows."""

QUOTA_MAX: Final = 1000
CREATED: Final = frozenset({201})
ANSWERED: Final = frozenset({201, 429})


async def limit(lab: Lab, *, unit: str) -> Figures:
    """As many writes with a new key as its RateLimit-Policy allows, and some more."""
    body = json.dumps({"name": f"limiter {lab.seed}"}).encode()
    [keyed] = await ask(lab.url, [Request("POST", "/api/v1/keys", (JSON,), body, CREATED)])
    key = text_in(keyed, "key") if keyed.outcome is Outcome.OK else None
    if key is None:
        seen = f"POST /api/v1/keys: expected 201 with a key, seen {said(keyed)}"
        return _no_limit(lab, unit, [keyed], seen)
    body = json.dumps({"url": f"https://example.org/limiter/{lab.seed}"}).encode()
    headers = (JSON, ("authorization", f"Bearer {key}"))
    write = Request("POST", "/api/v1/links", headers, body, ANSWERED)
    began_s = time.monotonic()
    [first] = await ask(lab.url, [write])
    field = first.answer.header(b"ratelimit-policy") if first.answer else None
    policy = policy_of((field or b"").decode("latin-1"))
    if policy is None or not 1 <= policy[0] <= QUOTA_MAX:
        expected = f"expected a RateLimit-Policy with q=1 to {QUOTA_MAX} and w= in seconds"
        shown = f"{said(first)}, RateLimit-Policy: {(field or b'none').decode('latin-1')}"
        seen = f"POST /api/v1/links with a key: {expected}, seen {shown}"
        return _no_limit(lab, unit, [keyed, first], seen)
    quota, window_s = policy
    lab.say(f"{quota + BEYOND} writes, of which {quota} are allowed in {window_s} s")
    others = await ask(lab.url, [write] * (quota - 1 + BEYOND))
    return _limited(lab, unit, [first, *others], policy, time.monotonic() - began_s)


def _limited(
    lab: Lab, unit: str, ended: Sequence[Ended], policy: tuple[int, int], took_s: float
) -> Figures:
    statuses = Counter(one.answer.status if one.answer else 0 for one in ended)
    seen = Counter(map(said, ended))
    return Figures(
        unit=unit,
        headline="accepted",
        samples={
            "accepted": [statuses[201]],
            "refused_writes": [statuses[429]],
            "other_answers": [len(ended) - statuses[201] - statuses[429]],
            "without_retry_answers": [sum(map(is_unhelpful, ended))],
            "limit_writes": [policy[0]],
            "window_s": [policy[1]],
            "took_s": [took_s],
        },
        attempts=len(ended),
        seed=lab.seed,
        notes=[f"{len(ended)} POST /api/v1/links with a key saw {dict(seen)}"],
    )


def _no_limit(lab: Lab, unit: str, ended: Sequence[Ended], seen: str) -> Figures:
    """Figures of a target that tells of no limit: all its answers are other ones."""
    found = _limited(lab, unit, ended, (0, 0), 0.0)
    return replace(found, samples={**found.samples, "other_answers": [len(ended)]}, notes=[seen])


def is_unhelpful(ended: Ended) -> bool:
    """Whether it is a 429 that does not say in whole seconds when to come back."""
    answer = ended.answer
    if answer is None or answer.status != 429:
        return False
    return not re.fullmatch(rb"[1-9]\d{0,6}", answer.header(b"retry-after") or b"")
