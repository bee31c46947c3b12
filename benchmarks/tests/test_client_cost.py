"""The client's own cost is measured, and not against failures."""

from __future__ import annotations

import os

import psutil
import pytest

from benchmarks.client import Target, cost
from benchmarks.tests.misbehaving import refusing_port

pytestmark = pytest.mark.integration


def test_the_cost_and_the_rate_that_is_kept_are_measured() -> None:
    with cost.responder() as target:
        measured = cost.measure(target, rounds=1, seconds=0.5, connections=8, rates_per_s=(50, 100))
    assert measured.closed_per_s[0] > 100
    assert 1 < measured.closed_cpu_us[0] < 10_000
    assert measured.new_connection_cpu_us[0] > measured.closed_cpu_us[0]
    assert measured.steps[0].rate_per_s == 50
    assert "saturates above" in cost.text(measured)


def test_a_rate_out_of_reach_is_not_kept() -> None:
    """The control: no client in Python begins 100 000 requests a second on one connection."""
    with cost.responder() as target:
        measured = cost.measure(
            target, rounds=1, seconds=0.3, connections=1, rates_per_s=(100_000, 50)
        )
    assert [step.kept for step in measured.steps] == [False], "and no other rate is tried"
    assert measured.saturation_per_s == 0


def test_the_responder_is_another_process_and_ends_with_its_user() -> None:
    before = {child.pid for child in psutil.Process().children()}
    with cost.responder():
        during = {child.pid for child in psutil.Process().children()} - before
        assert during
        assert os.getpid() not in during
    assert not any(psutil.pid_exists(pid) for pid in during)


def test_failures_are_no_figures() -> None:
    with refusing_port() as port, pytest.raises(RuntimeError, match="refused"):
        cost.measure(Target("127.0.0.1", port, "h"), rounds=1, seconds=0.1, connections=1)
