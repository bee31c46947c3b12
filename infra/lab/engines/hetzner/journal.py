"""The services' logs, which are in the journals of their hosts."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping

LINES = 1000
"""How much of the past is fetched of each host, and how much may come between two looks."""
EVERY_S = 2.0

Fetch = Callable[[Mapping[str, str]], Mapping[str, str]]
"""Asks all hosts for what came after their cursors: journal entries as JSON lines, by host."""


class Journals:
    """All services' logs, fetched together: one look at the hosts serves every reader.

    Args:
        fetch: asks the hosts.
        services: name of the service by name of its unit.
    """

    def __init__(self, fetch: Fetch, services: Mapping[str, str]) -> None:
        self._fetch, self._services = fetch, services
        self._cursors: dict[str, str] = {}
        self._waiting: dict[str, deque[str]] = {name: deque() for name in services.values()}
        self._fetched_s: float | None = None

    def take(self, name: str) -> Iterator[str]:
        """Lines of one service since the last call."""
        now_s = time.monotonic()
        if self._fetched_s is None or now_s - self._fetched_s >= EVERY_S:
            for host, answer in self._fetch(self._cursors).items():
                self._sort(host, answer)
            self._fetched_s = time.monotonic()
        waiting = self._waiting[name]
        while waiting:
            yield waiting.popleft()

    def _sort(self, host: str, answer: str) -> None:
        for line in answer.splitlines():
            entry = json.loads(line)
            self._cursors[host] = entry["__CURSOR"]
            # What systemd says of a unit ("Started ...") names the unit apart from its own.
            unit = entry.get("UNIT") or entry.get("_SYSTEMD_UNIT")
            if unit in self._services:
                self._waiting[self._services[unit]].append(_text(entry.get("MESSAGE")))


class JournalLog:
    """One service's log (`infra.lab.engines.base.Log`)."""

    def __init__(self, journals: Journals, name: str, exists: Callable[[], bool]) -> None:
        self._journals, self._name, self._exists = journals, name, exists

    def exists(self) -> bool:
        return self._exists()

    def skip(self) -> None:
        for _ in self.new_lines():
            pass

    def new_lines(self) -> Iterator[str]:
        return self._journals.take(self._name)

    def rest(self) -> Iterator[str]:
        """Nothing: a journal has whole lines only."""
        return iter(())

    def close(self) -> None:
        """Nothing is open."""


def _text(message: object) -> str:
    """journald writes what is no UTF-8 as a list of bytes, and what is too long as null."""
    if isinstance(message, list):
        return bytes(message).decode(errors="replace")
    return message if isinstance(message, str) else ""
