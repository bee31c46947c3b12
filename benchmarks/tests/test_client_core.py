"""The client's pure parts: schedule, histogram, outages, plan, requests."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.client import (
    Distribution,
    Histogram,
    Plan,
    Request,
    Target,
    merged,
    named_target,
    parse_target,
)
from benchmarks.client.histogram import MAX_US, bucket_of, bucket_range_us
from benchmarks.client.outages import SPANS_MAX, Outage, OutageTracker
from benchmarks.client.requests import encode
from benchmarks.client.schedule import Arrivals, Step
from infra.lab.errors import UsageError

values_us = st.lists(
    st.one_of(st.integers(0, 5000), st.integers(0, MAX_US)), min_size=1, max_size=200
)


def of(values: list[int]) -> Distribution:
    histogram = Histogram()
    for value in values:
        histogram.record_s((value + 0.5) / 1e6)  # half a microsecond against rounding down
    return histogram.done()


def exact(values: list[int], percent: str) -> int:
    """Nearest rank, by sorting, with integers alone."""
    thousandths = round(float(percent) * 1000)
    rank = -(-thousandths * len(values) // 100_000)
    return sorted(values)[rank - 1]


@given(values_us)
def test_percentiles_are_the_exact_ones_to_a_thousandth_and_never_flatter(
    values: list[int],
) -> None:
    distribution = of(values)
    for percent in ("0.001", "1", "50", "90", "99", "99.9", "100"):
        true = exact(values, percent)
        shown = distribution.percentile_us(float(percent))
        assert true <= shown <= true * (1 + 1 / 1024)


def test_a_thousand_values_have_their_999th_at_the_last_per_mille() -> None:
    distribution = of(list(range(1, 1001)))
    assert distribution.percentile_us(99.9) == 999
    assert distribution.summary_us() == {"p50": 500, "p90": 900, "p99": 990, "p99.9": 999} | {
        "max": 1000
    }


@given(st.integers(0, MAX_US))
def test_a_bucket_holds_its_values_and_the_next_one_follows(value: int) -> None:
    low, high = bucket_range_us(bucket_of(value))
    assert low <= value <= high
    assert high - low <= low / 1024
    assert bucket_range_us(bucket_of(value) + 1)[0] == high + 1


@given(values_us, values_us)
def test_merging_is_counting_together(left: list[int], right: list[int]) -> None:
    assert merged([of(left), of(right), Histogram().done()]) == of(left + right)


@given(values_us)
def test_a_distribution_survives_json(values: list[int]) -> None:
    distribution = of(values)
    assert Distribution.from_json(json.loads(json.dumps(distribution.to_json()))) == distribution
    assert distribution.mean_us == sum(values) / len(values)


def test_an_empty_distribution_has_no_percentile() -> None:
    empty = Histogram().done()
    assert empty.summary_us() == {}
    assert math.isnan(empty.mean_us)
    with pytest.raises(ValueError, match="no values"):
        empty.percentile_us(50)
    with pytest.raises(ValueError, match="percentage"):
        of([1]).percentile_us(0)


def test_durations_out_of_range_are_counted_at_its_ends() -> None:
    histogram = Histogram()
    histogram.record_s(-1.0)
    histogram.record_s(1e9)
    assert (histogram.done().min_us, histogram.done().max_us) == (0, MAX_US)


# ---- schedule


@given(st.floats(0.1, 10_000), st.floats(0.1, 100))
def test_arrivals_are_even_and_all_within_the_time(rate: float, seconds: float) -> None:
    arrivals = Arrivals(rate, seconds)
    assert arrivals.at_s(0) == 0
    assert arrivals.at_s(arrivals.count - 1) < seconds + 1e-6
    assert arrivals.at_s(arrivals.count) >= seconds - 1e-6


def test_an_arrival_waits_is_sent_or_is_given_up() -> None:
    arrivals = Arrivals(rate_per_s=10, seconds=1)
    assert arrivals.count == 10
    assert arrivals.step(5, 0.49, room=True, give_up_s=1) is Step.WAIT
    assert arrivals.step(5, 0.5, room=True, give_up_s=1) is Step.SEND
    assert arrivals.step(5, 0.5, room=False, give_up_s=1) is Step.WAIT
    assert arrivals.step(5, 1.4, room=True, give_up_s=1) is Step.SEND
    assert arrivals.step(5, 1.6, room=True, give_up_s=1) is Step.GIVE_UP
    assert arrivals.step(5, 1.6, room=False, give_up_s=1) is Step.GIVE_UP
    assert arrivals.step(10, 0.0, room=True, give_up_s=1) is Step.OVER


# ---- outages


def found(
    ends: Sequence[tuple[float, float, bool | None]], order: list[int] | None = None
) -> tuple[tuple[Outage, ...], OutageTracker]:
    tracker = OutageTracker()
    for number in order or range(len(ends)):
        tracker.ended(number, *ends[number])
    return tracker.finish(100.0), tracker


def test_an_outage_goes_from_the_first_failure_to_the_next_success() -> None:
    ends = [(0.0, 0.1, True), (1.0, 1.1, False), (2.0, 2.1, False), (3.0, 3.2, True)]
    outages, tracker = found(ends)
    assert outages == (Outage(1.0, 3.2, 2, ended=True),)
    assert tracker.total_s == pytest.approx(2.2)


def test_a_timeout_among_successes_is_short_although_it_ends_late() -> None:
    ends = [(0.0, 0.1, True), (1.0, 6.0, False), (1.1, 1.2, True), (1.3, 1.4, True)]
    assert found(ends, [0, 2, 3, 1])[0] == (Outage(1.0, 1.2, 1, ended=True),)


def test_the_earliest_success_ends_it_also_when_a_slow_one_was_due_before() -> None:
    ends = [(1.0, 1.1, False), (2.0, 9.0, True), (3.0, 3.1, True)]
    assert found(ends, [0, 2, 1])[0] == (Outage(1.0, 3.1, 1, ended=True),)


def test_failures_due_before_the_success_was_there_are_the_same_outage() -> None:
    ends = [(1.0, 1.1, False), (2.0, 2.5, True), (2.2, 2.3, False), (3.0, 3.1, True)]
    assert found(ends)[0] == (Outage(1.0, 3.1, 2, ended=True),)


def test_what_was_never_sent_says_nothing() -> None:
    ends = [(1.0, 1.1, False), (2.0, 2.0, None), (3.0, 3.1, True), (4.0, 4.0, None)]
    assert found(ends)[0] == (Outage(1.0, 3.1, 1, ended=True),)


def test_an_outage_without_a_success_lasts_to_the_end() -> None:
    assert found([(1.0, 1.1, False)])[0] == (Outage(1.0, 100.0, 1, ended=False),)


def test_of_many_outages_the_longest_are_kept_and_all_are_counted() -> None:
    ends: list[tuple[float, float, bool | None]] = []
    for number in range(SPANS_MAX + 10):
        length_s = 0.5 if number % 2 else 0.25
        ends += [(number, number + 0.1, False), (number + 0.2, number + length_s, True)]
    outages, tracker = found(ends)
    assert len(outages) == SPANS_MAX
    assert tracker.count == SPANS_MAX + 10
    assert sum(one.duration_s == 0.5 for one in outages) == (SPANS_MAX + 10) // 2


@given(
    st.lists(st.tuples(st.floats(0.001, 3), st.sampled_from([True, False, None])), max_size=40),
    st.randoms(use_true_random=False),
)
def test_outages_do_not_depend_on_the_order_of_ends(
    requests: list[tuple[float, bool | None]], chance: random.Random
) -> None:
    ends = [(n / 10, n / 10 + takes_s, ok) for n, (takes_s, ok) in enumerate(requests)]
    order = list(range(len(ends)))
    chance.shuffle(order)
    outages = found(ends)[0]
    assert found(ends, order)[0] == outages
    assert sum(one.failures for one in outages) == sum(ok is False for _, ok in requests)
    for before, after in itertools.pairwise(outages):
        assert before.end_s <= after.start_s, "outages do not overlap"
    for one in outages:
        inside = [end for start, end, ok in ends if ok and start >= one.start_s]
        assert not one.ended or one.end_s in inside


# ---- plan, target, request


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:8400", "http://localhost:8400/", "http://[::1]:8400/", "http://127.9.9.9/a"],
)
def test_loopback_may_be_loaded(url: str) -> None:
    target, path = parse_target(url)
    assert target.url.startswith("http://")
    assert path.startswith("/")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://192.0.2.1/", "--allow-host 192.0.2.1"),
        ("http://0.0.0.0/", "not this machine"),
        ("http://service.example/", "is a name"),
        ("http://localhost.service.example/", "is a name"),
        ("https://127.0.0.1/", "no URL this client can ask"),
        ("127.0.0.1:80", "no URL this client can ask"),
        ("http://127.0.0.1:0/", "port from 1"),
        ("http://me@127.0.0.1/", "no user name"),
        ("http://[::1/", "no URL"),
    ],
)
def test_other_targets_are_refused_in_one_line(url: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as refusal:
        parse_target(url)
    assert "\n" not in str(refusal.value)


def test_a_host_of_ones_own_may_be_loaded_when_named() -> None:
    target, path = parse_target("http://192.0.2.1:8080/a?b=c", allowed_hosts=["192.0.2.1"])
    assert (target.address, target.port, path) == ("192.0.2.1", 8080, "/a?b=c")
    with pytest.raises(UsageError):
        parse_target("http://192.0.2.2/", allowed_hosts=["192.0.2.1"])


def test_what_the_user_names_as_their_own_may_be_loaded() -> None:
    """Such as TARGET: for what a program comes to by itself, the test above holds."""
    assert named_target("http://192.0.2.1:8080") == Target("192.0.2.1", 8080, "192.0.2.1:8080")
    for wrong in ("http://a.name/", "http://[bad", "ftp://192.0.2.1"):
        with pytest.raises(UsageError):
            named_target(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"rate_per_s": 0.0},
        {"rate_per_s": 1e6},
        {"rate_per_s": float("nan")},
        {"rate_per_s": 10_000.0, "seconds": 3600.0},
        {"seconds": 0.0},
        {"seconds": 4000.0},
        {"requests": 0},
        {"connections": 0},
        {"connections": 100_000},
        {"timeout_s": 0.0},
        {"timeout_s": 61.0},
        {"retries": 11},
        {"retry_pause_s": -1.0},
    ],
)
def test_a_plan_beyond_its_limits_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Plan(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": "GET /"},
        {"method": ""},
        {"path": "a"},
        {"path": "/a b"},
        {"path": "/a\r\nX: y"},
        {"path": "/ä"},
        {"headers": (("X", "a\r\nY: b"),)},
        {"headers": (("X\r\nY", "b"),)},
        {"headers": (("Content-Length", "5"),)},
    ],
)
def test_a_request_that_cannot_be_sent_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError):
        Request(**wrong)  # type: ignore[arg-type]


def test_a_request_is_written_as_http() -> None:
    request = Request("POST", "/a?b", (("X-Key", "k"),), b"hi")
    assert encode(request, "127.0.0.1:1", keep_alive=False) == (
        b"POST /a?b HTTP/1.1\r\nHost: 127.0.0.1:1\r\nConnection: close\r\n"
        b"Content-Length: 2\r\nX-Key: k\r\n\r\nhi"
    )
    assert b"Content-Length" not in encode(Request(), "h", keep_alive=True)
    assert not request.may_repeat
    assert Request("POST", idempotent=True).may_repeat
