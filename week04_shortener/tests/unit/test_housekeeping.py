"""What is too old goes: in batches, up to a limit, and nothing else."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from infra.service.retry import Pace
from week04_shortener.storage.database import DatabaseUnavailable
from week04_shortener.storage.housekeeping import (
    BATCH,
    BATCHES_A_ROUND,
    Housekeeping,
    HousekeepingMetrics,
    Rule,
    rules,
)

RULES = (Rule("clicks", "recorded_at", 10.0), Rule("keys", "created_at", 5.0))


class Rows:
    """How many rows of each table are too old, and what was asked for."""

    def __init__(self, **old: int) -> None:
        self.old = old
        self.asked: list[tuple[str, int]] = []
        self.away = False

    async def remove(self, rule: Rule, limit: int) -> int:
        if self.away:
            raise DatabaseUnavailable("away")
        self.asked.append((rule.table, limit))
        removed = min(limit, self.old.get(rule.table, 0))
        self.old[rule.table] = self.old.get(rule.table, 0) - removed
        return removed


def keep_house(rows: Rows, registry: CollectorRegistry, stopped: bool = False) -> dict[str, int]:
    keeper = Housekeeping(rows, RULES, HousekeepingMetrics(registry), every_s=60, pace=Pace())

    async def once() -> dict[str, int]:
        stop = asyncio.Event()
        if stopped:
            stop.set()
        return await keeper.round(stop)

    return asyncio.run(once())


def test_batches_until_nothing_is_too_old() -> None:
    rows, registry = Rows(clicks=2 * BATCH + 5, keys=3), CollectorRegistry()
    with capture_logs() as lines:
        assert keep_house(rows, registry) == {"clicks": 2 * BATCH + 5, "keys": 3}
    assert rows.asked == [("clicks", BATCH)] * 3 + [("keys", BATCH)]
    assert [line["event"] for line in lines] == ["removed what was too old"]
    name = "shortener_housekeeping_removed_total"
    assert registry.get_sample_value(name, {"table": "clicks"}) == 2 * BATCH + 5
    assert registry.get_sample_value("shortener_housekeeping_finished_timestamp_seconds")


def test_nothing_is_said_when_nothing_was_removed() -> None:
    with capture_logs() as lines:
        assert keep_house(Rows(), CollectorRegistry()) == {"clicks": 0, "keys": 0}
    assert lines == []


def test_a_round_has_an_end_however_much_there_is() -> None:
    rows = Rows(clicks=BATCH * (BATCHES_A_ROUND + 7))
    assert keep_house(rows, CollectorRegistry())["clicks"] == BATCH * BATCHES_A_ROUND
    assert rows.old["clicks"] == 7 * BATCH


def test_who_is_told_to_stop_removes_no_more() -> None:
    rows = Rows(clicks=5)
    keep_house(rows, CollectorRegistry(), stopped=True)
    assert rows.asked == []


def test_while_postgresql_is_away_nothing_counts_as_done() -> None:
    rows, registry = Rows(clicks=5), CollectorRegistry()
    rows.away = True
    with pytest.raises(DatabaseUnavailable):
        keep_house(rows, registry)
    assert registry.get_sample_value("shortener_housekeeping_finished_timestamp_seconds") == 0


def test_ids_of_clicks_are_kept_as_long_as_the_settings_say() -> None:
    kept = {rule.table: rule.kept_s for rule in rules(dedupe_days=8, idempotency_hours=24)}
    assert kept["analytics.clicks"] == 8 * 86_400
    assert kept["idempotency_keys"] == 86_400
    assert kept["link_visits"] == 86_400
