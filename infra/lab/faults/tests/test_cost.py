"""The proxy's own cost is measured, and is what a proxy can have."""

from __future__ import annotations

import pytest

from infra.lab.engines.local.ports import free_ports
from infra.lab.faults.cost import Plan, measure, ours

pytestmark = pytest.mark.integration


def test_the_cost_is_measured() -> None:
    [port] = free_ports(1)
    cost = measure("ours", ours(port), port, Plan(turns=4, round_trips=500, megabytes=10))
    assert cost.round_trips == 2000
    assert cost.added_p50_us > 0  # two more sockets are never free
    assert cost.cpu_us_per_round_trip > 0
    assert cost.cpu_ms_per_mb > 0
    assert cost.proxied_mb_s > 0
