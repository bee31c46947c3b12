"""More of the controls' parts, for the claims on what happens when two things meet.

python -m week01_http_server --factory week04_shortener.checks.careless:awaits_kafka
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infra.service.settings import load_settings
from week04_shortener.clicks import decode
from week04_shortener.service import Makers, api
from week04_shortener.settings import Settings

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
CLOSE_S: Final = 2.0


# ---- A redirect that waits for Kafka


class AwaitedLog:
    """Keeps clicks until `flush` has Kafka's word for them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer: Any = None
        self._starting = asyncio.Lock()
        self._clicks: list[bytes] = []

    def append(self, payload: bytes) -> bool:
        self._clicks.append(payload)
        return True

    def lose(self, error: Exception) -> None: ...

    async def flush(self) -> None:
        """Send what is there, and wait until Kafka has it. Raises KafkaError, OSError."""
        clicks, self._clicks = self._clicks, []
        async with self._starting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    bootstrap_servers=self._settings.kafka_bootstrap,
                    acks="all",
                    request_timeout_ms=round(self._settings.kafka_request_timeout_s * 1000),
                )
                await producer.start()
                self._producer = producer
        await asyncio.gather(
            *[
                self._producer.send_and_wait(
                    self._settings.clicks_topic, one, key=decode(one).code.encode()
                )
                for one in clicks
            ]
        )

    async def check(self) -> None: ...

    def close(self) -> None: ...

    async def stop(self) -> None:
        if self._producer is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    await self._producer.stop()


class Awaiting:
    """Passes a redirect on once its click has been flushed; 503 if it cannot be."""

    def __init__(self, app: ASGIApp, log: AwaitedLog) -> None:
        self._app, self._log = app, log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def flushed_first(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] in REDIRECTS:
                try:
                    await self._log.flush()
                except (KafkaError, OSError):
                    message = {**message, "status": 503}
            if message["type"] == "lifespan.shutdown.complete":
                await self._log.stop()
            await send(message)

        await self._app(scope, receive, flushed_first)


def awaits_kafka() -> ASGIApp:
    """A replica that redirects only when Kafka has acknowledged the click."""
    settings = load_settings(Settings)
    log = AwaitedLog(settings)
    return Awaiting(api(settings, Makers(click_log=lambda *_: log)), log)
