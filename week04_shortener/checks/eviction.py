"""What stays in a Valkey that is too small, under Zipf traffic with scans in between."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from enum import StrEnum
from random import Random
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError

from infra.evidence import Figures, Lab, claim
from week04_shortener.cache.aside import key_of
from week04_shortener.cache.valkey import pack
from week04_shortener.checks.inside import eventually
from week04_shortener.checks.valkey import valkey
from week04_shortener.checks.zipf import Zipf
from week04_shortener.links import Entry, Kind

LINKS: Final = 5000
ROOM: Final = 1000
"""Entries that fit into Valkey: a fifth of the links that are followed."""

REDIRECTS: Final = 20_000
SCAN_EVERY: Final = 5000
SCANNED: Final = 1500
"""Links that somebody follows once and never again, all in a row: more than fit."""

BATCH: Final = 50
TTL_S: Final = 3600.0
EMPTY_WITHIN_S: Final = 10.0
NOW_S: Final = 2_000_000_000.0
SHARE_OF_BEST: Final = 0.72
"""Of the hits that the ROOM most popular links would have, were they always there. Nothing that
must find out who is popular gets all of them."""

_POLICY = "maxmemory-policy"
_MEMORY = "maxmemory"


class Policy(StrEnum):
    """Valkey's own names."""

    LFU = "allkeys-lfu"
    LRU = "allkeys-lru"
    RANDOM = "allkeys-random"
    NONE = "noeviction"


@claim(
    "w04.eviction",
    rows=[109],
    mechanism="evicting what was followed least often",
    unit="hit ratio, as a share of the best possible",
    seeds=range(1, 6),
    passes=[Policy.LFU],
    controls=[Policy.LRU, Policy.RANDOM, Policy.NONE],
)
class Eviction:
    """With room for a fifth of the links, LFU keeps those that are followed, scans or not."""

    async def measure(self, lab: Lab, mechanism: Policy) -> Figures:
        random, ranks = Random(lab.seed), Zipf(LINKS)
        hits = misses = refused = attempts = 0
        async with valkey(lab.running().site) as client, _small(client, mechanism):
            for batch, counted in _traffic(random, ranks):
                found = await client.mget([key_of(code) for code in batch])
                missed = [code for code, entry in zip(batch, found, strict=True) if entry is None]
                refused += await _fill(client, missed)
                attempts += len(batch)
                if counted:
                    hits += len(batch) - len(missed)
                    misses += len(missed)
            kept = await client.dbsize()
        if not ROOM / 2 <= kept <= ROOM * 2:
            raise RuntimeError(f"Valkey keeps {kept} entries, and not about {ROOM}")
        ratio, best = hits / (hits + misses), ranks.share_of_first(kept)
        return Figures(
            unit="hit ratio, as a share of the best possible",
            headline="share",
            samples={
                "share": [ratio / best],
                "hit_ratio": [ratio],
                "best_ratio": [best],
                "kept_entries": [kept],
                "refused_writes": [refused],
                "database_queries": [misses],
            },
            attempts=attempts,
            seed=lab.seed,
            notes=[
                f"{REDIRECTS} redirects, Zipf over {LINKS} links, room for {kept}; every "
                f"{SCAN_EVERY} of them {SCANNED} others once; straight on Valkey, with entries of "
                "the service's own form"
            ],
        )

    def judge(self, figures: Figures) -> None:
        [share] = figures["share"]
        assert min(figures["kept_entries"]) > 0, "nothing was kept"
        assert share >= SHARE_OF_BEST, f"{share:.2f} of the best possible hit ratio"


def _traffic(random: Random, ranks: Zipf) -> Iterator[tuple[list[str], bool]]:
    """Codes to follow, some at a time, and whether they count; a scan itself does not."""
    # Scans first: what comes first must not stay for ever.
    for start in range(0, REDIRECTS, SCAN_EVERY):
        scanned = [f"scan{start:05d}x{number:05d}" for number in range(SCANNED)]
        for first in range(0, SCANNED, BATCH):
            yield scanned[first : first + BATCH], False
        for _ in range(0, SCAN_EVERY, BATCH):
            # Each once, as single flight would have it.
            yield list({f"code{ranks.pick(random):05d}": None for _ in range(BATCH)}), True


async def _fill(client: Redis, codes: list[str]) -> int:
    """Write the entries of these codes, as a lookup that missed does; how many were refused."""
    async with client.pipeline(transaction=False) as pipeline:
        for code in codes:
            pipeline.set(key_of(code), _entry(code), px=round(TTL_S * 1000))
        answers = await pipeline.execute(raise_on_error=False)
    errors = [answer for answer in answers if isinstance(answer, Exception)]
    for error in errors:
        if not isinstance(error, OutOfMemoryError):
            raise error
    return len(errors)


def _entry(code: str) -> bytes:
    return pack(Entry(1, Kind.OPEN, f"https://example.org/eviction/{code}"), NOW_S)


@contextlib.asynccontextmanager
async def _small(client: Redis, policy: Policy) -> AsyncIterator[None]:
    """Inside, Valkey has the policy, and room for about ROOM entries; then all is as before."""
    before = {name: str((await client.config_get(name))[name]) for name in (_MEMORY, _POLICY)}
    await _empty(client)
    empty = await _used_bytes(client)
    for first in range(0, ROOM, BATCH):
        await _fill(client, [f"code{number:05d}" for number in range(first, first + BATCH)])
    entries_bytes = await _used_bytes(client) - empty
    await _empty(client)
    full = await _used_bytes(client) + entries_bytes
    try:
        await client.config_set(_POLICY, policy)
        await client.config_set(_MEMORY, full)
        yield
    finally:
        for name, value in before.items():
            await client.config_set(name, value)
        await _empty(client)


async def _empty(client: Redis) -> None:
    """All gone: what is still to be freed in the background would be taken for entries."""
    await client.flushall()

    async def freed() -> bool:
        return not (await client.info("memory"))["lazyfree_pending_objects"]

    await eventually("Valkey has freed its memory", freed, EMPTY_WITHIN_S)


async def _used_bytes(client: Redis) -> int:
    return int((await client.info("memory"))["used_memory"])
