"""Cache-aside over caches in memory: what is asked of whom, also when Valkey is away."""

import asyncio

import pytest

from week04_shortener.cache.aside import Dated, Lifetimes, key_of
from week04_shortener.cache.singleflight import Flight, NoSingleFlight, SingleFlight
from week04_shortener.links import ABSENT, Entry, Kind
from week04_shortener.storage.database import DatabaseUnavailable
from week04_shortener.tests.unit.caches import (
    STALE_S,
    URL,
    Replica,
    link,
)

pytestmark = pytest.mark.anyio

LATER = link(2, "https://example.org/later")
GONE = Entry(3, Kind.GONE)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


# ---- Who is asked


async def test_first_a_miss_in_both_tiers_then_hits_nearby() -> None:
    replica = Replica(abc=link())
    assert [await replica.ask() for _ in range(3)] == [link()] * 3
    assert (replica.database.lookups, replica.valkey.gets) == (1, 1)
    assert (replica.lookups("local", "miss"), replica.lookups("local", "hit")) == (1, 2)
    assert (replica.lookups("valkey", "miss"), replica.lookups("valkey", "hit")) == (1, 0)


async def test_what_one_replica_loaded_another_finds_in_valkey() -> None:
    first = Replica(abc=link())
    second = Replica(first.clock, first.valkey, first.database)
    await first.ask()
    assert await second.ask() == link()
    assert first.database.lookups == 1
    assert second.lookups("valkey", "hit") == 1


async def test_without_a_memory_of_its_own_each_request_asks_valkey() -> None:
    replica = Replica(entries=0, abc=link())
    assert [await replica.ask() for _ in range(3)] == [link()] * 3
    assert (replica.database.lookups, replica.valkey.gets) == (1, 3)


async def test_absence_is_cached_in_valkey_for_a_short_time_and_never_nearby() -> None:
    replica = Replica()
    assert [await replica.ask() for _ in range(3)] == [ABSENT] * 3
    assert replica.database.lookups == 1
    assert replica.lookups("valkey", "negative") == 2
    assert replica.valkey.ttls == {key_of("abc"): 10}
    assert replica.aside.near("abc") is None


async def test_guessed_codes_do_not_push_links_out_of_memory() -> None:
    replica = Replica(entries=2, abc=link())
    await replica.ask()
    for number in range(100):
        await replica.ask(f"guess{number}")
    assert replica.aside.near("abc") == link()


async def test_an_error_of_the_database_is_raised_and_not_cached() -> None:
    replica = Replica()

    def break_down() -> None:
        raise DatabaseUnavailable("gone")

    replica.database.on_read = break_down
    with pytest.raises(DatabaseUnavailable):
        await replica.ask()
    assert replica.in_valkey() is None
    assert replica.aside.near("abc") is None


# ---- Valkey away


async def test_without_valkey_the_database_answers_and_memory_helps() -> None:
    replica = Replica(abc=link())
    replica.valkey.away = True
    assert [await replica.ask() for _ in range(3)] == [link()] * 3
    assert replica.database.lookups == 1
    assert replica.lookups("valkey", "unavailable") == 1
    assert replica.value("shortener_cache_failed_writes_total") == 1


async def test_an_outage_leaves_nothing_behind() -> None:
    replica = Replica(entries=0, abc=link())
    replica.valkey.away = True
    await replica.ask()
    replica.valkey.away = False
    assert [await replica.ask() for _ in range(2)] == [link()] * 2
    assert replica.database.lookups == 2


async def test_a_change_that_valkey_was_not_told_of_leaves_the_replicas_memory_empty() -> None:
    """What others did meanwhile is not known: the next read asks."""
    replica = Replica(abc=link())
    await replica.ask()
    replica.valkey.away = True
    await replica.change(LATER)
    assert replica.aside.near("abc") is None
    assert await replica.ask() == LATER


@pytest.mark.parametrize("away", [False, True])
@pytest.mark.parametrize(("flight", "lookups"), [(SingleFlight, 1), (NoSingleFlight, 50)])
async def test_the_herd(away: bool, flight: type[Flight[Dated]], lookups: int) -> None:
    replica = Replica(flight=flight(), abc=link())
    replica.valkey.away = away
    replica.database.gate.clear()
    herd = [asyncio.create_task(replica.ask()) for _ in range(50)]
    await settle()
    replica.database.gate.set()
    assert await asyncio.gather(*herd) == [link()] * 50
    assert replica.database.lookups == lookups


# ---- Lives


@pytest.mark.parametrize(("random", "life"), [(0.0, 100), (0.5, 90), (1.0, 80)])
async def test_lives_differ_by_the_jitter(random: float, life: float) -> None:
    replica = Replica(random=lambda: random, abc=link())
    await replica.ask()
    assert list(replica.valkey.ttls.values()) == [pytest.approx(life)]


@pytest.mark.parametrize(
    ("entry", "life"),
    [
        (link(), 100),
        (GONE, 100),
        (ABSENT, 10),
        (Entry(1, Kind.OPEN, URL, 1050.0), 50),
        (Entry(1, Kind.GUARDED, "", 5000.0), 100),
        (Entry(1, Kind.OPEN, URL, 1001.0), 10),
        (Entry(1, Kind.OPEN, URL, 10.0), 10),
    ],
)
def test_no_entry_outlives_its_link_by_more_than_the_short_life(entry: Entry, life: float) -> None:
    lives = Lifetimes(ttl_s=100, negative_ttl_s=10, jitter=0.2, random=lambda: 0.0)
    assert lives.of(entry, 1000.0) == life


def test_every_entry_outlives_a_fill_that_began_before_it() -> None:
    lives = Lifetimes(ttl_s=100, negative_ttl_s=10, jitter=0.2, random=lambda: 1.0)
    shortest_s = min(lives.of(entry, 1000.0) for entry in (ABSENT, link(), GONE))
    assert lives.fill_limit_s == shortest_s / 2


# ---- Links that are made, changed and deleted


async def test_a_new_link_ends_its_absence_on_all_replicas_at_once() -> None:
    here = Replica()
    there = Replica(here.clock, here.valkey, here.database)
    assert await here.ask() == await there.ask() == ABSENT
    await here.change(link())
    assert (await here.ask(), await there.ask()) == (link(), link())
    assert here.database.lookups == 1


async def test_absence_read_before_a_link_was_made_does_not_hide_it() -> None:
    replica = Replica()
    replica.database.gate.clear()
    early = asyncio.create_task(replica.ask())
    await replica.database.asked.wait()
    await replica.change(link())
    replica.database.gate.set()
    assert await early == link()
    assert await replica.ask() == link()


async def test_who_joins_a_flight_that_read_an_absence_asks_again() -> None:
    """The flight began before the link was made, and no Valkey tells it."""
    replica = Replica()
    replica.valkey.away = True
    replica.database.gate.clear()
    early = asyncio.create_task(replica.ask())
    await replica.database.asked.wait()
    replica.clock.now_s += 0.001
    await replica.change(link())
    joined = asyncio.create_task(replica.aside.entry_of("abc"))
    await settle()
    replica.database.gate.set()
    assert await early == ABSENT
    assert await joined == link()


async def test_who_joins_a_flight_older_than_the_bound_asks_again() -> None:
    replica = Replica(abc=link())
    replica.valkey.away = True
    replica.database.gate.clear()
    early = asyncio.create_task(replica.ask())
    await replica.database.asked.wait()
    await replica.change(LATER)
    replica.clock.now_s += STALE_S
    within = asyncio.create_task(replica.ask())
    await settle()
    replica.clock.now_s += 0.001
    beyond = asyncio.create_task(replica.ask())
    await settle()
    replica.database.gate.set()
    assert (await early, await within) == (link(), link())
    assert await beyond == LATER


@pytest.mark.parametrize("change", [LATER, GONE])
async def test_a_late_fill_neither_brings_the_old_back_nor_hands_it_to_its_reader(
    change: Entry,
) -> None:
    reader = Replica(abc=link())
    writer = Replica(reader.clock, reader.valkey, reader.database)
    reader.database.gate.clear()
    late = asyncio.create_task(reader.ask())
    await reader.database.asked.wait()
    await writer.change(change)
    reader.database.gate.set()
    assert await late == change
    assert reader.in_valkey() == change
    assert reader.value("shortener_cache_late_fills_total", result="overtaken") == 1


async def test_a_fill_that_took_too_long_is_not_written() -> None:
    """The entry of the change may have ended by then, and nothing would keep the old one out."""
    replica = Replica(entries=0, abc=link())

    def dawdle() -> None:
        replica.clock.now_s += 4.1  # half of 10 s less a fifth is 4

    replica.database.on_read = dawdle
    assert await replica.ask() == link()
    assert replica.in_valkey() is None
    assert replica.value("shortener_cache_late_fills_total", result="dropped") == 1


async def test_other_replicas_follow_a_change_within_the_bound() -> None:
    here = Replica(abc=link())
    there = Replica(here.clock, here.valkey, here.database)
    await there.ask()
    here.clock.now_s += 0.4
    await here.change(LATER)
    assert await here.ask() == LATER
    assert await there.ask() == link(), "this is what the bound is about"
    here.clock.now_s += 0.6
    assert await there.ask() == LATER


async def test_the_change_of_another_replica_is_what_is_remembered() -> None:
    """Two changes at once: the later one was told first."""
    here = Replica(abc=link())
    there = Replica(here.clock, here.valkey, here.database)
    here.database.links["abc"] = GONE
    await there.aside.remember("abc", GONE)
    await here.aside.remember("abc", LATER)
    assert (await here.ask(), here.in_valkey()) == (GONE, GONE)


# ---- Early refresh


async def test_what_is_remembered_is_renewed_behind_the_request_and_nobody_waits() -> None:
    replica = Replica(beta=1.0, random=lambda: 0.999, abc=link())
    await replica.ask()
    for _ in range(200):
        replica.clock.now_s += STALE_S / 20
        assert replica.aside.near("abc") == link()
        await settle()
    assert replica.lookups("local", "miss") == 1
    assert replica.value("shortener_cache_early_refreshes_total", tier="local", result="done") > 9


async def test_with_beta_0_it_ends_instead() -> None:
    replica = Replica(beta=0.0, random=lambda: 0.999, abc=link())
    await replica.ask()
    replica.clock.now_s += STALE_S * 0.999
    assert replica.aside.near("abc") == link()
    await settle()
    assert replica.valkey.gets == 1


async def test_an_entry_is_renewed_once_however_many_draw() -> None:
    replica = Replica(beta=1.0, random=lambda: 0.999, abc=link())
    await replica.ask()
    replica.clock.now_s += STALE_S * 0.99
    for _ in range(50):
        replica.aside.near("abc")
    await settle()
    assert replica.valkey.gets == 2


async def test_valkeys_entry_is_loaded_anew_before_it_ends() -> None:
    replica = Replica(entries=0, beta=1.0, random=lambda: 0.9, abc=link())
    await replica.ask()
    life_s = replica.valkey.ttls[key_of("abc")]
    replica.clock.now_s += life_s - 5
    assert await replica.ask() == link()
    await settle()
    assert replica.database.lookups == 1, "too early"
    replica.clock.now_s += 4.5
    assert await replica.ask() == link()
    await settle()
    assert replica.database.lookups == 2
    kept = replica.valkey.lies(key_of("abc"))
    assert kept is not None and kept.left_s == pytest.approx(life_s)


async def test_an_absence_is_not_renewed() -> None:
    replica = Replica(beta=1.0, random=lambda: 0.999)
    await replica.ask()
    replica.clock.now_s += replica.valkey.ttls[key_of("abc")] - 0.01
    await replica.ask()
    await settle()
    assert replica.database.lookups == 1


async def test_a_renewal_that_fails_is_counted_and_the_entry_ends() -> None:
    replica = Replica(beta=1.0, random=lambda: 0.999, abc=link())
    await replica.ask()
    replica.valkey.away = True

    def break_down() -> None:
        raise DatabaseUnavailable("gone")

    replica.database.on_read = break_down
    replica.clock.now_s += STALE_S * 0.99
    assert replica.aside.near("abc") == link()
    await settle()
    name = "shortener_cache_early_refreshes_total"
    assert replica.value(name, tier="local", result="failed") == 1
    replica.clock.now_s += STALE_S
    assert replica.aside.near("abc") is None
