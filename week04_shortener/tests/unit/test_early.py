"""Early refresh: rare long before the end, near certain right before it, bounded in between."""

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from week04_shortener.cache.early import HORIZON, Cost, Early

DRAWS = 20_000


def share_due(left_s: float, cost_s: float, beta: float = 1.0) -> float:
    early = Early(beta, Random(7).random)
    return sum(early.is_due(left_s, cost_s) for _ in range(DRAWS)) / DRAWS


@pytest.mark.parametrize("costs_left", [0.1, 0.5, 1.0, 2.0, 4.0])
def test_the_lead_is_distributed_exponentially(costs_left: float) -> None:
    assert share_due(costs_left * 0.2, 0.2) == pytest.approx(math.exp(-costs_left), abs=0.02)


def test_beta_is_how_early() -> None:
    assert share_due(1.0, 0.5, beta=2.0) == pytest.approx(math.exp(-1), abs=0.02)
    assert share_due(0.001, 0.5, beta=0.0) == 0


@given(
    left_s=st.floats(0, 1e5),
    cost_s=st.floats(0, 10),
    beta=st.floats(0, 10),
    random=st.floats(0, 1, exclude_max=True),
)
def test_whatever_is_drawn_nothing_is_due_beyond_the_horizon(
    left_s: float, cost_s: float, beta: float, random: float
) -> None:
    early = Early(beta, lambda: random)
    if early.is_due(left_s, cost_s):
        assert left_s <= early.horizon_s(cost_s)


def test_beyond_the_horizon_no_dice_are_thrown() -> None:
    def throw() -> float:
        raise AssertionError("thrown")

    early = Early(1.0, throw)
    assert not early.is_due(HORIZON * 0.2 + 0.001, 0.2)


def test_what_has_ended_is_due_whatever_is_drawn_but_zero() -> None:
    assert Early(1.0, lambda: 0.5).is_due(0.0, 0.2)
    assert Early(1.0, lambda: 0.999999).is_due(-1.0, 0.2)


def test_a_cost_goes_up_at_once_and_down_slowly() -> None:
    cost = Cost(most_s=10.0)
    cost.saw(0.001)
    cost.saw(2.0)
    assert cost.value_s == 2.0
    cost.saw(0.0)
    assert cost.value_s == pytest.approx(1.8)
    for _ in range(100):
        cost.saw(0.001)
    assert 0.001 <= cost.value_s < 0.002


def test_a_cost_has_a_limit() -> None:
    cost = Cost(most_s=10.0)
    cost.saw(3600.0)
    assert cost.value_s == 10.0
