"""A replica's own memory: bounded in size and in age, and never older for a newer read."""

import pytest
from prometheus_client import CollectorRegistry

from week04_shortener.cache.local import Local, LocalCache, LocalMetrics, NoLocalCache
from week04_shortener.links import ABSENT, Entry, Kind
from week04_shortener.tests.unit.caches import link

TTL_S = 1.0
MOST_S = 60.0


def small(entries: int = 3) -> LocalCache:
    return LocalCache(
        entries=entries, ttl_s=TTL_S, most_s=MOST_S, renew_s=0.25, random=lambda: 0.0, notices=3
    )


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


# ---- Changes are heard


def listening(entries: int = 3) -> LocalCache:
    cache = small(entries)
    cache.subscribed(100.0)
    return cache


def ends_s(cache: LocalCache, code: str, now_s: float) -> float:
    found = cache.get(code, now_s)
    return -1.0 if found is None else found.ends_s


def test_what_comes_back_lets_an_entry_live_a_life_longer() -> None:
    cache = listening()
    cache.put("abc", link(), 100.0)
    cache.sure(100.8)
    assert ends_s(cache, "abc", 100.5) == 101.0, "nobody looks before it is renewed"
    assert ends_s(cache, "abc", 100.9) == 101.8
    assert ends_s(cache, "abc", 101.79) == 101.8
    assert cache.get("abc", 101.8) is None


def test_even_after_its_end() -> None:
    cache = listening()
    cache.put("abc", link(), 100.0)
    cache.sure(150.0)
    assert ends_s(cache, "abc", 150.5) == 151.0


def test_what_comes_back_late_takes_nothing_away() -> None:
    cache = listening()
    cache.put("abc", link(), 100.0)
    cache.sure(100.8)
    cache.sure(100.7)
    assert ends_s(cache, "abc", 100.9) == 101.8
    cache.put("new", link(), 101.0)
    assert ends_s(cache, "new", 101.9) == 102.0


def test_no_entry_lives_longer_than_the_most() -> None:
    cache = listening()
    cache.put("abc", link(), 100.0)
    cache.sure(159.9)
    found = cache.get("abc", 159.9)
    assert found is not None
    assert (found.renew_from_s, found.ends_s) == (159.75, 160.0)
    cache.sure(200.0)
    assert cache.get("abc", 160.0) is None


def test_a_newer_read_of_the_same_version_lives_longer() -> None:
    cache = listening()
    cache.put("abc", link(), 100.0)
    cache.sure(159.9)
    assert ends_s(cache, "abc", 159.9) == 160.0
    cache.put("abc", link(), 159.8)
    assert ends_s(cache, "abc", 160.6) == 160.9


def test_lives_differ_so_that_not_all_end_at_one_moment() -> None:
    shares = iter([0.0, 0.999])
    cache = LocalCache(
        entries=3, ttl_s=TTL_S, most_s=MOST_S, renew_s=0.25, random=lambda: next(shares)
    )
    cache.subscribed(100.0)
    cache.put("a", link(), 100.0)
    cache.put("b", link(), 100.0)
    assert ends_s(cache, "a", 100.0) == ends_s(cache, "b", 100.0), "what was just read is sure"
    cache.sure(110.0)
    assert ends_s(cache, "a", 110.0) == 111.0
    assert 110.75 <= ends_s(cache, "b", 110.0) < 110.76
    cache.sure(200.0)
    assert ends_s(cache, "b", 144.0) == pytest.approx(100 + MOST_S * 0.75, abs=0.1)
    assert ends_s(cache, "a", 144.0) == 160.0


def test_without_a_subscription_nothing_lives_longer() -> None:
    cache = small()
    cache.put("abc", link(), 100.0)
    cache.sure(100.9)
    assert cache.get("abc", 101.0) is None


def test_what_was_read_before_the_subscription_does_not_live_longer() -> None:
    cache = listening()
    cache.put("abc", link(), 100.0)
    cache.sure(100.8)
    assert ends_s(cache, "abc", 100.9) == 101.8
    cache.subscribed(101.0)
    cache.sure(101.5)
    assert ends_s(cache, "abc", 101.7) == 101.8, "what was sure stays so"
    assert cache.get("abc", 101.8) is None


def test_a_read_that_began_before_the_subscription_does_not_live_longer() -> None:
    cache = small()
    cache.subscribed(100.1)
    cache.put("abc", link(), 100.0)
    cache.sure(100.5)
    assert cache.get("abc", 101.0) is None


@pytest.mark.parametrize(("version", "stays"), [(1, True), (2, True), (3, False)])
def test_a_notice_ends_what_is_older(version: int, stays: bool) -> None:
    cache = listening()
    cache.put("abc", link(2), 100.0)
    cache.changed("abc", version, 100.1)
    cache.changed("other", 9, 100.1)
    assert held(cache, "abc", 100.2) == (link(2) if stays else None)
    assert (cache.heard, cache.dropped) == (2, 0 if stays else 1)


@pytest.mark.parametrize(("version", "end_s"), [(2, 101.0), (3, 101.9), (4, 101.9)])
def test_what_a_notice_overtook_is_not_prolonged(version: int, end_s: float) -> None:
    cache = listening()
    cache.changed("abc", 3, 100.5)
    cache.changed("abc", 1, 100.6)
    cache.put("abc", link(version), 100.0)
    cache.sure(100.9)
    assert ends_s(cache, "abc", 100.9) == end_s


def test_nor_is_what_was_being_read_when_a_forgotten_notice_came() -> None:
    cache = listening(entries=10)
    for number in range(4):  # there is room for 3
        cache.changed(f"other{number}", 2, 100.1 + number / 10)
    cache.put("began before", link(), 100.0)
    cache.put("began after", link(), 100.1)
    cache.sure(100.9)
    assert ends_s(cache, "began before", 100.9) == 101.0
    assert ends_s(cache, "began after", 100.9) == 101.9


def test_when_all_may_have_changed_nothing_is_held() -> None:
    cache = listening()
    cache.put("abc", link(), 100.0)
    cache.changed_all(100.5)
    assert cache.get("abc", 100.5) is None
    cache.put("abc", link(), 100.4)
    cache.sure(100.9)
    assert ends_s(cache, "abc", 101.0) == 101.4, "its read was under way"
    assert cache.dropped == 1


def test_notices_are_bounded_too() -> None:
    cache = listening()
    for number in range(1000):
        cache.changed(str(number), 2, 100.0 + number)
    assert len(cache._noticed) == 3


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
    cache.changed("e", 2, 100.0)
    cache.changed("f", 2, 100.0)
    assert registry.get_sample_value("shortener_local_cache_entries") == 2
    assert registry.get_sample_value("shortener_local_cache_notices_total") == 2
    assert registry.get_sample_value("shortener_local_cache_dropped_total") == 1
    assert registry.get_sample_value("shortener_local_cache_evictions_total") == 2
