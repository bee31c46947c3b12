"""Alerts speak of metrics that exist, and Prometheus would take them."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # comes with schemathesis
from prometheus_client import CollectorRegistry

from week04_shortener.analytics.consumer import ConsumerMetrics
from week04_shortener.cache.fills import FillMetrics
from week04_shortener.cache.notices import NoticeMetrics
from week04_shortener.cache.valkey import ValkeyCache
from week04_shortener.clicks.clicklog import ClickLogMetrics
from week04_shortener.clicks.forwarder import ForwarderMetrics
from week04_shortener.relay import RelayMetrics
from week04_shortener.settings import Settings
from week04_shortener.storage.housekeeping import HousekeepingMetrics
from week04_shortener.storage.outbox import Destination

FILE = Path(__file__).parents[2] / "config" / "alerts.yml"

RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(FILE.read_text())["groups"] for rule in group["rules"]
]
_METRIC = re.compile(r"\bshortener_[a-z_]+\b")


@pytest.fixture(scope="module")
def registry() -> CollectorRegistry:
    """What the week's processes show, with a sample of each metric that has labels."""
    one = CollectorRegistry()
    ClickLogMetrics(one)
    ForwarderMetrics(one)
    ConsumerMetrics(one).lag.labels("0").set(0)
    HousekeepingMetrics(one)
    FillMetrics(one)
    NoticeMetrics(one)
    relay = RelayMetrics(one)
    relay.oldest_s.labels(Destination.CACHE.value).set(0)
    ValkeyCache(
        "redis://127.0.0.1:1/0",
        timeout_s=1, pool_size=1, failures_to_open=1, open_s=1, registry=one,
    )  # fmt: skip
    return one


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_each_metric_of_an_alert_is_shown_by_a_process(
    rule: dict[str, Any], registry: CollectorRegistry
) -> None:
    shown = {
        sample.name: set(sample.labels) for one in registry.collect() for sample in one.samples
    }
    named = set(_METRIC.findall(rule["expr"]))
    assert named, "an alert about nothing"
    assert named <= shown.keys()
    # Prometheus itself adds instance and job; every other label must be the metric's own.
    told = re.findall(r"\$labels\.([a-z_]+)", rule["annotations"]["summary"])
    for label in set(told) - {"instance", "job"}:
        assert all(label in shown[name] for name in named)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_each_alert_says_how_bad_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"]["summary"]
    assert len(rule["annotations"]["runbook"]) > 80


def test_names_are_unique_and_what_was_promised_is_watched() -> None:
    names = [rule["alert"] for rule in RULES]
    assert len(set(names)) == len(names)
    watched = {name for rule in RULES for name in _METRIC.findall(rule["expr"])}
    assert watched >= {
        "shortener_clicks_lost_total",
        "shortener_click_backlog_bytes",
        "shortener_consumer_dead_letters_total",
        "shortener_consumer_lag_messages",
        "shortener_cache_up",
        "shortener_notices_up",
        "shortener_fills_busy_total",
        "shortener_outbox_oldest_seconds",
    }


def test_settings_that_a_runbook_names_exist() -> None:
    for rule in RULES:
        for name in re.findall(r"SHORTENER_([A-Z_]+)", rule["annotations"]["runbook"]):
            assert name.lower() in Settings.model_fields


def test_prometheus_takes_the_file() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not on PATH: it comes with Prometheus")
    done = subprocess.run(
        [promtool, "check", "rules", str(FILE)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
