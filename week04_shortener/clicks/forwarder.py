"""Carries clicks from the replica's log to Kafka: read, send, remember, delete.

The cursor moves only after Kafka has acknowledged, so a crash at any point sends some clicks
again and loses none. The consumer recognises an event id it has seen.
"""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from infra.service.lifecycle import pause
from infra.service.retry import Pace, brief, keep_trying
from week04_shortener.clicks import clicklog, cursor, framing
from week04_shortener.clicks.cursor import Cursor
from week04_shortener.clicks.event import BadClick, decode
from week04_shortener.kafka import KafkaUnavailable, Record


class Sender(Protocol):
    """Where records go. Returning means they are safe, `KafkaUnavailable` that they may not be."""

    async def send(self, records: Sequence[Record]) -> None: ...


class Piece(NamedTuple):
    """What was read from the log in one go: records to send, and the cursor once they are.

    `full` when it is as much as is read at once, or all of a segment: behind it there may be more.
    """

    records: list[Record]
    damaged: int
    after: Cursor
    full: bool


class ForwarderMetrics:
    """What the forwarder counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.sent = Counter(
            "shortener_clicks_forwarded_total", "Clicks Kafka acknowledged.", registry=registry
        )
        self.damaged = Counter(
            "shortener_click_lines_damaged_total",
            "Lines of the click log that were skipped: torn, corrupt or no click.",
            registry=registry,
        )
        self.failures = Counter(
            "shortener_forward_failures_total", "Attempts to send that failed.", registry=registry
        )
        self.backlog = Gauge(
            "shortener_click_backlog_bytes",
            "Bytes of the click log that are not forwarded yet.",
            registry=registry,
        )


class Forwarder:
    """Tails one log directory. `CannotStart` if another forwarder does."""

    def __init__(
        self,
        directory: Path,
        sender: Sender,
        metrics: ForwarderMetrics,
        *,
        poll_s: float,
        batch_bytes: int,
        pace: Pace,
    ) -> None:
        self._directory = directory
        self._sender = sender
        self._metrics = metrics
        self._poll_s = poll_s
        self._batch_bytes = batch_bytes
        self._pace = pace
        self._log = structlog.get_logger()
        self._lock_fd = clicklog.lock_directory(directory, "forwarder")
        self._cursor = self._saved = self._remembered()
        self._save_fails = False
        metrics.backlog.set_function(self.backlog_bytes)

    async def run(self, stop: asyncio.Event) -> None:
        """Forward until `stop` is set; the rest of the log is for the next start."""
        while not stop.is_set():
            full = await keep_trying(
                "forwarding clicks",
                self.step,
                on=(KafkaUnavailable, OSError),
                stop=stop,
                pace=self._pace,
                failed=lambda _: self._metrics.failures.inc(),
            )
            # Else clicks gather for a moment: sent one by one, each would cost Kafka, the consumer
            # and PostgreSQL as much as a hundred together.
            if not full:
                await pause(self._poll_s, stop)

    async def step(self) -> bool:
        """Forward one piece of the log, if there is anything new; whether more may be behind it."""
        piece = self._read()
        if piece.after == self._cursor:
            self._save_cursor()
            return False
        if piece.records:
            await self._sender.send(piece.records)
        self._cursor = piece.after
        self._save_cursor()
        self._metrics.sent.inc(len(piece.records))
        if piece.damaged:
            self._metrics.damaged.inc(piece.damaged)
            self._log.warning("lines of the click log are damaged", lines=piece.damaged)
        for number in cursor.forwarded(piece.after, clicklog.list_segments(self._directory)):
            clicklog.delete_segment(self._directory, number)
        return piece.full

    def close(self) -> None:
        """Let another forwarder have the directory."""
        os.close(self._lock_fd)

    def backlog_bytes(self) -> int:
        """Bytes in the log behind the cursor."""
        return clicklog.bytes_after(self._directory, self._cursor.segment, self._cursor.offset)

    def _read(self) -> Piece:
        segments = clicklog.list_segments(self._directory)
        at = cursor.settle(self._cursor, segments)
        if not segments:
            return Piece([], 0, at, full=False)
        chunk = clicklog.read_chunk(
            self._directory, at.segment, at.offset, max_bytes=self._batch_bytes
        )
        parsed = framing.parse(chunk.data, complete=chunk.closed)
        records, refused = _records(parsed.payloads)
        after = Cursor(at.segment, at.offset + parsed.used_bytes)
        if chunk.closed:
            after = cursor.following(after, segments)
        full = chunk.closed or len(chunk.data) == self._batch_bytes
        return Piece(records, parsed.damaged + refused, after, full)

    def _save_cursor(self) -> None:
        """Save the cursor, if it has moved since.

        A disk that is full of clicks would refuse it, and only going on makes room: segments are
        removed once they were read. Until it can be saved, a crash sends clicks again.
        """
        if self._cursor == self._saved:
            return
        try:
            cursor.save(self._directory, self._cursor)
        except OSError as error:
            if not self._save_fails:
                self._log.error("how far clicks were forwarded is not saved", error=brief(error))
            self._save_fails = True
            return
        self._saved = self._cursor
        if self._save_fails:
            self._log.info("how far clicks were forwarded is saved again")
        self._save_fails = False

    def _remembered(self) -> Cursor:
        try:
            return cursor.load(self._directory)
        except cursor.BadCursor as error:
            self._log.warning("starts with the oldest click there is", error=brief(error))
            return Cursor()


def _records(payloads: Sequence[bytes]) -> tuple[list[Record], int]:
    """Kafka records, keyed by code, and how many payloads were refused."""
    records = []
    for payload in payloads:
        try:
            records.append(Record(decode(payload).code.encode("ascii"), payload))
        except BadClick:
            continue
    return records, len(payloads) - len(records)
