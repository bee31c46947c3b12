"""The three algorithms: what they promise, and what the fixed window does not."""

from collections.abc import Callable, Sequence
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from week04_shortener.limits.algorithms import (
    SECOND_US,
    Decision,
    FixedWindow,
    Policy,
    SlidingWindow,
    TokenBucket,
    check_cost,
)

START_US = 1_767_225_600 * SECOND_US

quotas = st.integers(1, 12)
spans = st.integers(1, 50)
steps = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 4)), min_size=1, max_size=120)
"""Time since the step before, in µs, and what is taken: as tight as it can be."""


def run(policy: Policy, steps: Sequence[tuple[int, int]]) -> list[tuple[int, int, Decision]]:
    """Each take that could ever succeed: when, how many, what was decided."""
    state, now_us, seen = policy.begin(), START_US, []
    for gap_us, cost in steps:
        now_us += gap_us
        if cost <= policy.quota:
            seen.append((now_us, cost, state.take(now_us, cost)))
    return seen


def most_in_any_window(seen: list[tuple[int, int, Decision]], window_us: int) -> int:
    """The most taken in any stretch of `window_us`; one that holds the most begins at a take."""
    taken = [(at, cost) for at, cost, decision in seen if decision.allowed]
    return max(
        (sum(cost for at, cost in taken if begin <= at < begin + window_us) for begin, _ in taken),
        default=0,
    )


@given(quotas, spans, steps)
def test_no_window_anywhere_holds_more_than_the_sliding_windows_quota(
    quota: int, window_us: int, steps: list[tuple[int, int]]
) -> None:
    seen = run(SlidingWindow("test", quota, window_us), steps)
    assert most_in_any_window(seen, window_us) <= quota


@given(quotas, spans, steps)
def test_the_sliding_window_refuses_only_what_would_be_too_much(
    quota: int, window_us: int, steps: list[tuple[int, int]]
) -> None:
    taken: list[int] = []
    for now_us, cost, decision in run(SlidingWindow("test", quota, window_us), steps):
        live = [at for at in taken if at > now_us - window_us]
        assert decision.allowed == (len(live) + cost <= quota)
        if decision.allowed:
            taken += [now_us] * cost
            live += [now_us] * cost
        assert decision.remaining == quota - len(live)


def test_a_fixed_window_lets_twice_as_much_through_at_its_edge() -> None:
    """The control: the same takes, judged by the same function, are too many."""
    window_us, quota = SECOND_US, 100
    edge_us = START_US + window_us
    at_the_edge = [(edge_us - START_US - 1, 1)] + [(0, 1)] * 99 + [(1, 1)] + [(0, 1)] * 99
    exact = run(SlidingWindow("test", quota, window_us), at_the_edge)
    fixed = run(FixedWindow("test", quota, window_us), at_the_edge)
    assert most_in_any_window(exact, window_us) == quota
    assert most_in_any_window(fixed, window_us) == 2 * quota


@given(quotas, spans, steps)
def test_the_fixed_window_keeps_its_quota_in_its_own_windows(
    quota: int, window_us: int, steps: list[tuple[int, int]]
) -> None:
    taken: dict[int, int] = {}
    for now_us, cost, decision in run(FixedWindow("test", quota, window_us), steps):
        number = now_us // window_us
        assert decision.allowed == (taken.get(number, 0) + cost <= quota)
        taken[number] = taken.get(number, 0) + cost * decision.allowed
        assert decision.remaining == quota - taken[number]


@given(quotas, spans, steps)
def test_a_bucket_neither_makes_nor_loses_tokens(
    burst: int, interval_us: int, steps: list[tuple[int, int]]
) -> None:
    tokens, before_us = Fraction(burst), START_US
    for now_us, cost, decision in run(TokenBucket("test", burst, interval_us), steps):
        tokens = min(Fraction(burst), tokens + Fraction(now_us - before_us, interval_us))
        before_us = now_us
        assert decision.allowed == (tokens >= cost)
        tokens -= cost * decision.allowed
        assert decision.remaining == int(tokens)


def test_a_token_taken_the_moment_it_is_there_is_exactly_the_rate() -> None:
    policy = TokenBucket("test", 5, 333_333)
    state, now_us = policy.begin(), START_US
    state.take(now_us, 5)
    for _ in range(10_000):
        now_us += 333_333
        assert not state.take(now_us - 1).allowed
        assert state.take(now_us).allowed, "drifted"


every_policy = pytest.mark.parametrize("kind", [TokenBucket, SlidingWindow, FixedWindow])
Kind = Callable[[str, int, int], Policy]


@every_policy
@given(quotas, spans, steps)
def test_waiting_as_long_as_told_is_enough_and_less_is_not(
    kind: Kind, quota: int, span_us: int, steps: list[tuple[int, int]]
) -> None:
    policy = kind("test", quota, span_us)
    state, now_us = policy.begin(), START_US
    for gap_us, cost in steps:
        now_us += gap_us
        if cost > quota:
            continue
        decision = state.take(now_us, cost)
        assert (decision.retry_us == 0) == decision.allowed
        if not decision.allowed:
            assert decision.remaining < cost
            assert not state.take(now_us + decision.retry_us - 1, cost).allowed
            now_us += decision.retry_us
            assert state.take(now_us, cost).allowed


@every_policy
@given(quotas, spans, steps)
def test_more_can_be_taken_after_the_reset_and_not_before(
    kind: Kind, quota: int, span_us: int, steps: list[tuple[int, int]]
) -> None:
    policy = kind("test", quota, span_us)
    state, now_us = policy.begin(), START_US
    for gap_us, cost in steps:
        now_us += gap_us
        if cost > quota:
            continue
        stands = state.take(now_us, cost)
        assert (stands.reset_us == 0) == (stands.remaining == quota)
        if stands.remaining < quota:
            one_more = stands.remaining + 1
            assert not state.take(now_us + stands.reset_us - 1, one_more).allowed
            now_us += stands.reset_us
            assert state.take(now_us, one_more).allowed


@every_policy
def test_a_refused_take_changes_nothing(kind: Kind) -> None:
    state = kind("test", 3, SECOND_US).begin()
    assert state.take(START_US, 2).remaining == 1
    for _ in range(5):
        refused = state.take(START_US, 2)
        assert not refused.allowed
        assert refused.remaining == 1
    assert state.take(START_US, 1).allowed


@pytest.mark.parametrize(
    "policy", [TokenBucket("test", 10, SECOND_US), SlidingWindow("test", 10, 10 * SECOND_US)]
)
@pytest.mark.parametrize("back_s", [1, 5, 3600, 10_000_000])
def test_a_clock_set_back_locks_nobody_out_for_longer_than_a_window(
    policy: Policy, back_s: int
) -> None:
    state = policy.begin()
    state.take(START_US, 10)
    state.take(START_US, 1)
    now_us = START_US - back_s * SECOND_US
    state.take(now_us, 1)
    assert state.take(now_us + 2 * policy.window_us, 1).allowed


def test_a_rate_becomes_an_interval_never_too_fast() -> None:
    assert TokenBucket.per_second("test", 2000, 200.0).interval_us == 5000
    assert TokenBucket.per_second("test", 1, 3.0).interval_us == 333_334
    assert TokenBucket.per_second("test", 1, 0.5).interval_us == 2_000_000
    assert TokenBucket.per_second("test", 1, 100_000).interval_us == 10


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: TokenBucket("test", 0, 1), "quota"),
        (lambda: TokenBucket("test", 1_000_001, 1), "quota"),
        (lambda: TokenBucket("test", 1, 0), "31 days"),
        (lambda: TokenBucket("test", 2, 31 * 86_400 * SECOND_US), "31 days"),
        (lambda: SlidingWindow("test", 1, 0), "31 days"),
        (lambda: FixedWindow("a b", 1, 1), "name"),
        (lambda: FixedWindow('"', 1, 1), "name"),
        (lambda: check_cost(FixedWindow("test", 5, 1), 6), "never"),
        (lambda: check_cost(FixedWindow("test", 5, 1), 0), "never"),
    ],
)
def test_policies_that_make_no_sense_are_refused(make: Callable[[], object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        make()
