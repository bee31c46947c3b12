"""A replica's own memory: bounded in size and in age, and never older for a newer read."""

import pytest
from prometheus_client import CollectorRegistry

from week04_shortener.cache.local import Local, LocalCache, LocalMetrics, NoLocalCache
from week04_shortener.links import ABSENT, Entry, Kind
from week04_shortener.tests.unit.caches import link

TTL_S = 1.0


def small(entries: int = 3) -> LocalCache:
    return LocalCache(entries=entries, ttl_s=TTL_S, renew_s=0.25)


def held(cache: Local, code: str, now_s: float) -> Entry | None:
    found = cache.get(code, now_s)
    return None if found is None else found.entry


@pytest.mark.parametrize(("age_s", "is_there"), [(0.0, True), (0.999, True), (1.0, False)])
def test_an_entry_ends_a_life_after_its_read_began(age_s: float, is_there: bool) -> None:
    cache = small()
    cache.put("abc", link(), 100.0)
    assert held(cache, "abc", 100.0 + age_s) == (link() if is_there else None)


def test_what_took_longer_than_a_life_to_read_is_of_no_use() -> None:
    cache = small()
    cache.put("abc", link(), 100.0)
    assert cache.get("abc", 101.5) is None


def test_it_may_be_renewed_in_its_last_quarter() -> None:
    cache = small()
    cache.put("abc", link(), 100.0)
    found = cache.get("abc", 100.0)
    assert found is not None
    assert (found.renew_from_s, found.ends_s) == (100.75, 101.0)


def test_the_one_not_asked_for_longest_makes_room() -> None:
    cache = small()
    for code in "abc":
        cache.put(code, link(), 100.0)
    assert held(cache, "a", 100.1)
    cache.put("d", link(), 100.2)
    assert [code for code in "abcd" if held(cache, code, 100.3)] == ["a", "c", "d"]
    assert (len(cache), cache.evicted) == (3, 1)


def test_it_stays_small_whatever_comes() -> None:
    cache = small(entries=10)
    for number in range(1000):
        cache.put(str(number), link(), float(number))
    assert len(cache) == 10


@pytest.mark.parametrize("late", [link(1), link(2)])
def test_a_read_that_began_earlier_does_not_replace_a_newer_one(late: Entry) -> None:
    cache = small()
    cache.put("abc", link(2), 100.5)
    cache.put("abc", late, 100.0)
    found = cache.get("abc", 101.2)
    assert found is not None
    assert (found.entry, found.ends_s) == (link(2), 101.5)


def test_a_newer_version_replaces_whatever_its_read_began() -> None:
    cache = small()
    cache.put("abc", link(1), 100.5)
    cache.put("abc", Entry(2, Kind.GONE), 100.0)
    assert held(cache, "abc", 100.9) == Entry(2, Kind.GONE)


def test_an_absence_is_not_kept() -> None:
    cache = small()
    cache.put("abc", ABSENT, 100.0)
    assert len(cache) == 0


def test_what_is_forgotten_is_not_there() -> None:
    cache = small()
    cache.put("abc", link(), 100.0)
    cache.forget("abc")
    cache.forget("abc")
    assert cache.get("abc", 100.0) is None


def test_the_null_tier_keeps_nothing() -> None:
    cache = NoLocalCache()
    cache.put("abc", link(), 100.0)
    cache.forget("abc")
    assert cache.get("abc", 100.0) is None


def test_entries_and_evictions_are_seen() -> None:
    registry = CollectorRegistry()
    cache = small()
    LocalMetrics(cache, registry)
    for code in "abcde":
        cache.put(code, link(), 100.0)
    assert registry.get_sample_value("shortener_local_cache_entries") == 3
    assert registry.get_sample_value("shortener_local_cache_evictions_total") == 2
