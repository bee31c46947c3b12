"""Logs that are fetched from the hosts' journals."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from infra.lab.engines.hetzner import journal
from infra.lab.engines.hetzner.journal import JournalLog, Journals

SERVICES = {"api.service": "api", "worker.service": "worker"}


def entry(cursor: str, message: object, **fields: str) -> str:
    return json.dumps({"__CURSOR": cursor, "MESSAGE": message, **fields})


class Hosts:
    """Answers in turn what is given, and remembers where it was asked to go on."""

    def __init__(self, *answers: Mapping[str, str]) -> None:
        self._answers = list(answers)
        self.asked: list[dict[str, str]] = []

    def __call__(self, cursors: Mapping[str, str]) -> Mapping[str, str]:
        self.asked.append(dict(cursors))
        return self._answers.pop(0) if self._answers else {}


def reader(hosts: Hosts, name: str, journals: Journals | None = None) -> JournalLog:
    return JournalLog(journals or Journals(hosts, SERVICES), name, lambda: True)


def test_one_look_serves_all_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "EVERY_S", 60.0)
    lines = [
        entry("1", "Started api", UNIT="api.service", _SYSTEMD_UNIT="init.scope"),
        entry("2", "hello", _SYSTEMD_UNIT="api.service"),
        entry("3", "work", _SYSTEMD_UNIT="worker.service"),
        entry("4", "not ours", _SYSTEMD_UNIT="cron.service"),
    ]
    hosts = Hosts({"one": "\n".join(lines)})
    journals = Journals(hosts, SERVICES)
    assert list(reader(hosts, "api", journals).new_lines()) == ["Started api", "hello"]
    assert list(reader(hosts, "worker", journals).new_lines()) == ["work"]
    assert list(reader(hosts, "api", journals).new_lines()) == []
    assert hosts.asked == [{}]


def test_the_next_look_goes_on_where_each_host_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "EVERY_S", 0.0)
    first = {
        "one": entry("a7", "x", _SYSTEMD_UNIT="api.service"),
        "two": entry("b9", "y", _SYSTEMD_UNIT="worker.service"),
    }
    hosts = Hosts(first, {"one": entry("a8", "z", _SYSTEMD_UNIT="api.service"), "two": ""})
    log = reader(hosts, "api")
    log.skip()
    assert list(log.new_lines()) == ["z"]
    assert list(log.new_lines()) == []
    assert hosts.asked == [{}, {"one": "a7", "two": "b9"}, {"one": "a8", "two": "b9"}]


@pytest.mark.parametrize(
    ("message", "line"), [("plain", "plain"), ([104, 105, 255], "hi�"), (None, "")]
)
def test_messages_that_are_no_text(message: object, line: str) -> None:
    hosts = Hosts({"one": entry("1", message, _SYSTEMD_UNIT="api.service")})
    assert list(reader(hosts, "api").new_lines()) == [line]
