"""The chain of toxics without sockets: times are given, nothing waits."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.lab.faults import toxics
from infra.lab.faults.chain import Chain
from infra.lab.faults.toxics import KINDS, End, Item, Stage

RNG = random.Random(7)


def stage(kind: str, now: float = 0.0, **attributes: int) -> Stage:
    return KINDS[kind].make({**KINDS[kind].defaults, **attributes}, now, RNG)


def chain(**kinds: Mapping[str, int]) -> Chain:
    made = Chain()
    for kind, attributes in kinds.items():
        made.add(kind, stage(kind, **attributes))
    return made


def taken(made: Chain, now: float) -> list[Item]:
    items = []
    while (item := made.take(now)) is not None:
        items.append(item)
    return items


def joined(items: list[Item]) -> bytes:
    return b"".join(item for item in items if isinstance(item, bytes))


def run_out(made: Chain, now: float) -> tuple[list[Item], float]:
    """Everything that comes out in time, and when the last of it did."""
    items = taken(made, now)
    while (due := made.due()) is not None:
        assert due >= now or taken(made, now) == []
        now = max(now, due)
        items += taken(made, now)
    return items, now


def test_latency_holds_each_chunk_for_its_time_and_the_end_behind_it() -> None:
    made = chain(latency={"latency": 200})
    made.feed(b"a", 1.0)
    made.feed(End.FIN, 1.1)
    assert taken(made, 1.199) == []
    assert made.due() == pytest.approx(1.2)
    assert taken(made, 1.2) == [b"a", End.FIN]


def test_jitter_never_reorders() -> None:
    made = chain(latency={"latency": 50, "jitter": 50})
    sent = [bytes([number]) for number in range(200)]
    for number, data in enumerate(sent):
        made.feed(data, number / 1000)
    items, _ = run_out(made, 0.2)
    assert items == sent


def test_two_latencies_add_up() -> None:
    made = Chain()
    made.add("one", stage("latency", latency=100))
    made.add("two", stage("latency", latency=100))
    made.feed(b"a", 0.0)
    assert taken(made, 0.1) == []
    assert taken(made, 0.199) == []
    assert taken(made, 0.2) == [b"a"]


@pytest.mark.parametrize("rate_kb_s", [1, 10, 1000])
def test_bandwidth_takes_as_long_as_the_bytes_need(rate_kb_s: int) -> None:
    made = chain(bandwidth={"rate": rate_kb_s})
    data = random.Random(1).randbytes(rate_kb_s * 2000 + 7)
    made.feed(data, 0.0)
    items, last = run_out(made, 0.0)
    assert joined(items) == data
    assert last == pytest.approx(len(data) / (rate_kb_s * 1000))


def test_bandwidth_saves_nothing_up_while_idle() -> None:
    made = chain(bandwidth={"rate": 1})
    made.feed(b"x" * 100, 50.0)
    assert made.due() == pytest.approx(50.1)


def test_bandwidth_0_passes_nothing_until_it_is_removed() -> None:
    made = chain(bandwidth={"rate": 0})
    made.feed(b"abc", 0.0)
    made.feed(End.FIN, 0.0)
    assert made.due() is None
    assert taken(made, 1e9) == []
    made.remove("bandwidth", 1e9)
    assert taken(made, 1e9) == [b"abc", End.FIN]


def test_slow_link_stops_its_sender_and_a_delay_does_not() -> None:
    slow, late = chain(bandwidth={"rate": 1}), chain(latency={"latency": 1000})
    for made in (slow, late):
        made.feed(bytes(toxics.CAPACITY_BYTES), 0.0)
    assert not slow.has_room
    assert late.has_room


def test_a_full_stage_stops_the_one_before_without_a_busy_wait() -> None:
    made = Chain()
    made.add("late", stage("latency", latency=1))
    made.add("slow", stage("bandwidth", rate=1))
    for _ in range(3):
        made.feed(bytes(toxics.CAPACITY_BYTES), 0.0)
    assert taken(made, 0.002) == []
    due = made.due()
    assert due is not None
    assert due > 0.002
    assert sum(map(len, (i for i in run_out(made, 0.002)[0] if isinstance(i, bytes)))) == (
        3 * toxics.CAPACITY_BYTES
    )


def test_slow_close_delays_the_end_alone() -> None:
    made = chain(slow_close={"delay": 500})
    made.feed(b"a", 0.0)
    made.feed(End.FIN, 0.0)
    assert taken(made, 0.0) == [b"a"]
    assert taken(made, 0.499) == []
    assert taken(made, 0.5) == [End.FIN]


def test_blackhole_swallows_for_ever_and_its_removal_closes() -> None:
    made = chain(timeout={"timeout": 0})
    made.feed(b"a", 0.0)
    assert taken(made, 1e9) == []
    assert made.due() is None
    made.remove("timeout", 1e9)
    assert taken(made, 1e9) == [End.CLOSE]


def test_timeout_closes_after_silence() -> None:
    made = chain(timeout={"timeout": 125})
    made.feed(b"a", 0.5)
    assert taken(made, 0.5625) == []
    assert made.due() == 0.625
    assert taken(made, 0.625) == [End.CLOSE]


def test_a_hang_up_passes_a_timeout() -> None:
    made = chain(timeout={"timeout": 0})
    made.feed(End.FIN, 0.0)
    assert taken(made, 0.0) == [End.FIN]


@pytest.mark.parametrize("first", [b"a", End.FIN])
def test_reset_peer_resets_when_something_is_said(first: Item) -> None:
    made = chain(reset_peer={"timeout": 100})
    assert made.due() is None
    made.feed(first, 0.0)
    made.feed(b"more", 0.01)
    assert taken(made, 0.099) == []
    assert taken(made, 0.1) == [End.RESET]


def test_slicer_cuts_and_waits() -> None:
    made = chain(slicer={"average_size": 10, "size_variation": 3, "delay": 1000})
    data = bytes(range(100))
    made.feed(data, 0.0)
    items, last = run_out(made, 0.0)
    assert joined(items) == data
    assert all(isinstance(item, bytes) and len(item) <= 13 for item in items)
    assert last == pytest.approx((len(items) - 1) / 1000)


def test_limit_data_closes_at_its_limit_and_remembers_through_a_change() -> None:
    made = chain(limit_data={"bytes": 10})
    made.feed(b"123456", 0.0)
    made.replace("limit_data", stage("limit_data", bytes=8), 0.0)
    made.feed(b"789", 0.0)
    assert taken(made, 0.0) == [b"123456", b"78", End.CLOSE]


def test_what_a_removed_toxic_held_goes_on_through_the_next() -> None:
    made = Chain()
    made.add("late", stage("latency", latency=1000))
    made.add("slow", stage("bandwidth", rate=1))
    made.feed(b"x" * 100, 0.0)
    made.remove("late", 0.5)
    assert made.due() == pytest.approx(0.6)
    assert joined(taken(made, 0.6)) == b"x" * 100


HARMLESS = st.sampled_from(
    [
        ("latency", {"latency": 30, "jitter": 20}),
        ("bandwidth", {"rate": 3}),
        ("slicer", {"average_size": 5, "size_variation": 4, "delay": 10}),
        ("slow_close", {"delay": 50}),
        ("noop", {}),
    ]
)
STEP = st.one_of(
    st.tuples(st.just("feed"), st.binary(min_size=1, max_size=400)),
    st.tuples(st.just("wait"), st.floats(0.0, 0.2)),
    st.tuples(st.just("add"), HARMLESS),
    st.tuples(st.just("replace"), HARMLESS),
    st.tuples(st.just("remove"), st.integers(0, 9)),
)


@given(st.lists(STEP, max_size=40), st.integers(0, 2**32))
def test_toxics_that_destroy_nothing_lose_double_and_reorder_nothing(
    steps: list[tuple[str, object]], seed: int
) -> None:
    rng = random.Random(seed)
    made, now, sent, got = Chain(), 0.0, b"", b""
    names: dict[str, str] = {}
    for number, (verb, what) in enumerate(steps):
        if isinstance(what, bytes):
            sent += what
            made.feed(what, now)
        elif isinstance(what, float):
            now += what
        elif isinstance(what, tuple):
            kind, attributes = what
            fresh = KINDS[kind].make(attributes, now, rng)
            if verb == "add":
                names[f"t{number}"] = kind
                made.add(f"t{number}", fresh)
            elif kind in names.values():
                name = next(name for name, its in names.items() if its == kind)
                made.replace(name, fresh, now)
        elif isinstance(what, int) and names:
            name = list(names)[what % len(names)]
            del names[name]
            made.remove(name, now)
        got += joined(taken(made, now))
    made.feed(End.FIN, now)
    items, _ = run_out(made, now)
    assert got + joined(items) == sent
    assert items[-1] is End.FIN
    assert made.is_clear or names


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        ("latency", {"latency": -1}),
        ("slicer", {"average_size": 0, "size_variation": 0}),
        ("slicer", {"average_size": 3, "size_variation": 3}),
    ],
)
def test_numbers_that_mean_nothing_are_refused(kind: str, attributes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must"):
        toxics.check(kind, attributes)
