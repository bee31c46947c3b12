"""Notices of changed links: what lets a replica's own memory keep links for longer.

Whoever tells Valkey of a change publishes it in the same step (`valkey`). Each replica listens on
one connection of its own, and asks on it, a few times in the life of an entry, whether it has heard
everything: a PING, whose answer comes behind every notice that was published before it. `local` has
the proof, and what follows from silence: nothing that anybody would have to do.

So this only listens, and begins anew when the connection is lost. It speaks RESP2, in which a PING
is answered in this form only on a connection that has a subscription (valkey.io, commands/ping).
That shuts out what must never be: a connection that was made again behind our back, where PINGs
are answered and nothing is heard.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import random
from typing import Any, Final, Protocol

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge
from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from infra.service.lifecycle import Stopped, pause, unless_stopped
from infra.service.retry import Pace, brief, keep_trying

CHANNEL: Final = "shortener:changes"
ALL: Final = b"*"
"""Any link may have changed: for whoever repairs data by hand, and wants it seen at once."""

PINGS: Final = 4
"""In the life of an entry. What was sure a quarter of it ago is prolonged by the other three."""
PING_MOST_S: Final = 1.0
"""Between two PINGs at most, however long entries live: `SILENCE_S` must see several unanswered."""

CONNECT_S: Final = 2.0
"""For connecting and subscribing. A busy replica may be late with it, and nothing waits for it."""

TURN: Final = 32
"""Notices that are read without a pause: requests must not wait for however many there are."""

_DOUBLINGS: Final = 10

_DIGITS: Final = 18
"""Of a version that is believed; PostgreSQL's have fewer, and Python refuses to read thousands."""

SILENCE_S: Final = 5.0
"""A connection without an answer for so long is made anew. Nothing is wrong until then: what is
held ends. Sooner would lose, with the subscription, all that could still be prolonged."""


class Memory(Protocol):
    """Who is told: `local.LocalCache`."""

    def subscribed(self, now_s: float) -> None: ...
    def sure(self, sent_s: float) -> None: ...
    def changed(self, code: str, version: int, now_s: float) -> None: ...
    def changed_all(self, now_s: float) -> None: ...


class Deaf(Exception):
    """Nothing is heard: the connection was lost, refused, silent, or says what it should not."""


@dataclass(frozen=True)
class Limits:
    """Seconds: between two PINGs, and on connecting."""

    every_s: float
    connect_s: float


class NoticeMetrics:
    """Whether notices are heard."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.up = Gauge(
            "shortener_notices_up",
            "1 while notices of changed links are heard; while not, a replica's own memory keeps "
            "links for a short time only.",
            registry=registry,
        )
        self.subscriptions = Counter(
            "shortener_notices_subscriptions_total",
            "Subscriptions to notices that were begun, the first among them.",
            registry=registry,
        )


def notice(key: str, version: int) -> str:
    """What is published when the link of `key` has become `version`."""
    return f"{version} {key}"


def heard(data: bytes) -> tuple[str, int] | None:
    """The key and the version of a notice; None when it is none."""
    version, _, key = data.partition(b" ")
    if not key or not version.isdigit() or len(version) > _DIGITS:
        return None
    return key.decode("ascii", "replace"), int(version)


class Listener:
    """Tells `memory` what it hears, until it is stopped. `code_of` has the code of an entry's key.

    `now` is the clock of the memory, monotonic.
    """

    def __init__(
        self,
        url: str,
        memory: Memory,
        code_of: Callable[[str], str],
        metrics: NoticeMetrics,
        *,
        limits: Limits,
        pace: Pace,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        given: dict[str, Any] = dict(parse_url(url))
        options: dict[str, Any] = {
            "socket_connect_timeout": limits.connect_s,
            "socket_timeout": limits.connect_s,
            # A connection that is made again has no subscription: see `run`.
            "retry": Retry(NoBackoff(), 0),
            # Those two are a pool's, of which a single connection knows nothing.
            **{name: given[name] for name in given if name not in ("timeout", "max_connections")},
            "protocol": 2,
            "decode_responses": False,
        }
        self._connections: ConnectionPool = ConnectionPool(**options)
        self._memory = memory
        self._code_of = code_of
        self._metrics = metrics
        self._limits = limits
        self._pace = pace
        self._now = now
        self._answered = False
        self._log = structlog.get_logger()

    async def run(self, stop: asyncio.Event) -> None:
        """Listen until `stop` is set, over as many connections as that takes."""
        in_vain = 0
        with contextlib.suppress(Stopped):
            while True:
                connection = await keep_trying(
                    "listening for changes of links",
                    lambda: unless_stopped(self._subscribe(), stop),
                    on=(Deaf,),
                    stop=stop,
                    pace=self._pace,
                )
                self._metrics.up.set(1)
                self._answered = False
                try:
                    await unless_stopped(self._listen(connection), stop)
                except Deaf as error:
                    self._log.warning(
                        "changes of links are not heard, links are remembered for a short time",
                        error=str(error),
                    )
                finally:
                    self._metrics.up.set(0)
                    await connection.disconnect(nowait=True)
                # Other replicas have lost theirs at the same moment. And a server may let everybody
                # subscribe, and then answer nobody.
                in_vain = 0 if self._answered else min(in_vain + 1, _DOUBLINGS)
                most_s = min(self._pace.most_s, self._pace.first_s * 2**in_vain)
                await pause(most_s * random(), stop)

    async def _subscribe(self) -> AbstractConnection:
        """A new connection on which every notice is heard from now on. Raises `Deaf`."""
        connection = self._new_connection()
        try:
            async with asyncio.timeout(self._limits.connect_s):
                await connection.send_command("SUBSCRIBE", CHANNEL, check_health=False)
                answer = await connection.read_response()
            if answer != [b"subscribe", CHANNEL.encode(), 1]:
                raise Deaf("no subscription")
        # RuntimeError: uvloop's word for a write to a connection that broke a moment ago.
        except (RedisError, OSError, RuntimeError) as error:
            await connection.disconnect(nowait=True)
            raise Deaf(brief(error)) from error
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        self._metrics.subscriptions.inc()
        self._memory.subscribed(self._now())
        return connection

    def _new_connection(self) -> AbstractConnection:
        made: AbstractConnection = self._connections.make_connection()  # type: ignore[no-untyped-call]
        return made

    async def _listen(self, connection: AbstractConnection) -> None:
        """Tell what comes, in its order, for as long as PINGs are answered. Raises `Deaf`."""
        heard_s = ping_at_s = self._now()
        read = 0
        try:
            while True:
                now_s = self._now()
                if now_s - heard_s > SILENCE_S:
                    raise Deaf(f"no answer for {SILENCE_S:g} s")
                if now_s >= ping_at_s:
                    # The moment travels along, rounded down: whatever comes back, it is no later.
                    await connection.send_command("PING", int(now_s * 1e6), check_health=False)
                    ping_at_s = now_s + self._limits.every_s
                answer = await connection.read_response(timeout=max(0.001, ping_at_s - now_s))
                if answer is not None and self._take(answer):
                    heard_s = self._now()
                    self._answered = True
                # What has arrived already is read without a pause.
                read += 1
                if read % TURN == 0:
                    await asyncio.sleep(0)
        except (RedisError, OSError, RuntimeError) as error:
            raise Deaf(brief(error)) from error

    def _take(self, answer: object) -> bool:
        """Tell of one message; whether it was the answer to a PING. Raises `Deaf`."""
        match answer:
            case [b"message", _, bytes(data)]:
                found = heard(data)
                if found is None:
                    # `ALL`, or something that cannot be read, and so may be about any link.
                    self._memory.changed_all(self._now())
                else:
                    self._memory.changed(self._code_of(found[0]), found[1], self._now())
                return False
            case [b"pong", bytes(sent)] if sent.isdigit():
                self._memory.sure(int(sent) / 1e6)
                return True
        raise Deaf("an answer that belongs to no subscription")
