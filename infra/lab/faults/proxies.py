"""The proxies, their toxics and connections: what the HTTP API changes and shows.

Lives on one event loop; methods that wait must be called one at a time (`api.py` holds a lock).
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from infra.lab.faults.relay import Pipe, Relay
from infra.lab.faults.toxics import KINDS, Stage
from infra.lab.owner import Owner

STREAMS = ("upstream", "downstream")
CONNECTIONS_MAX = 4096
TOXICS_MAX = 64
PROXIES_MAX = 256
BACKLOG = 1024

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Lease:
    """How long a toxic may stand without its owner: our extension, which Toxiproxy ignores.

    Attributes:
        name: under which a heartbeat renews it.
        owner: the process whose end ends it; None for one on another machine.
        ttl_s: ends it so long after the last heartbeat; None for none.
    """

    name: str
    owner: Owner | None
    ttl_s: float | None

    def shown(self) -> dict[str, object]:
        return {
            "name": self.name,
            "owner": None if self.owner is None else self.owner.text,
            "ttl_s": self.ttl_s,
        }


@dataclass(frozen=True)
class Toxic:
    """One fault of one proxy, as the API names it."""

    name: str
    kind: str
    stream: str
    toxicity: float
    attributes: Mapping[str, int]
    lease: Lease | None = None

    def stage(self, now: float, rng: random.Random) -> Stage:
        """For one connection; with `toxicity` below 1 chance may pass it by."""
        kind = KINDS[self.kind if rng.random() < self.toxicity else "noop"]
        return kind.make(self.attributes, now, rng)

    def shown(self) -> dict[str, object]:
        shown: dict[str, object] = {
            "attributes": dict(self.attributes),
            "name": self.name,
            "type": self.kind,
            "stream": self.stream,
            "toxicity": self.toxicity,
        }
        return shown if self.lease is None else shown | {"lease": self.lease.shown()}


@dataclass(eq=False)
class Proxy:
    """One listening address, the service behind it, and the faults between them."""

    name: str
    listen: str
    upstream: str
    rng: random.Random
    enabled: bool = False
    _toxics: dict[str, Toxic] = field(default_factory=dict)
    _relays: set[Relay] = field(default_factory=set)
    _server: asyncio.Server | None = None

    def shown(self) -> dict[str, object]:
        return {
            "name": self.name,
            "listen": self.listen,
            "upstream": self.upstream,
            "enabled": self.enabled,
            "toxics": [toxic.shown() for toxic in self.toxics],
        }

    async def start(self) -> None:
        """Listen; port 0 becomes a real one. Raises OSError."""
        if self.enabled:
            return
        host, _, port = self.listen.rpartition(":")
        self._server = await asyncio.get_running_loop().create_server(
            self._accept, host.strip("[]") or None, int(port), backlog=BACKLOG
        )
        number = self._server.sockets[0].getsockname()[1]
        self.listen = f"{host}:{number}"
        self.enabled = True

    def stop(self) -> None:
        """Listen no more and close all connections."""
        self.enabled = False
        if self._server is not None:
            self._server.close()
            self._server = None
        for relay in list(self._relays):
            relay.close(reset=False)

    def _accept(self) -> asyncio.Protocol:
        if len(self._relays) >= CONNECTIONS_MAX:
            log.warning("%s: over %d connections: refused", self.name, CONNECTIONS_MAX)
            return _Refused()
        relay = Relay(self.upstream, self._relays.discard)
        now = time.monotonic()
        for toxic in self._toxics.values():
            _pipe(relay, toxic).chain.add(toxic.name, toxic.stage(now, self.rng))
        self._relays.add(relay)
        return relay.client

    # Toxics

    @property
    def toxics(self) -> list[Toxic]:
        """In Toxiproxy's order: upstream first."""
        return [t for stream in STREAMS for t in self._toxics.values() if t.stream == stream]

    def toxic(self, name: str) -> Toxic | None:
        return self._toxics.get(name)

    def add_toxic(self, toxic: Toxic) -> None:
        """From now on, on new and on open connections."""
        self._toxics[toxic.name] = toxic
        for pipe, now in self._pipes(toxic):
            pipe.chain.add(toxic.name, toxic.stage(now, self.rng))

    def update_toxic(self, toxic: Toxic) -> None:
        self._toxics[toxic.name] = toxic
        for pipe, now in self._pipes(toxic):
            pipe.chain.replace(toxic.name, toxic.stage(now, self.rng), now)

    def remove_toxic(self, name: str) -> None:
        toxic = self._toxics.pop(name)
        for pipe, now in self._pipes(toxic):
            pipe.chain.remove(name, now)

    def _pipes(self, toxic: Toxic) -> Iterator[tuple[Pipe, float]]:
        """Each open connection's pipe of that stream; it goes on when the caller has changed it."""
        for relay in list(self._relays):
            pipe = _pipe(relay, toxic)
            if not pipe.ended:
                yield pipe, time.monotonic()
                pipe.pump()


class _Refused(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def _pipe(relay: Relay, toxic: Toxic) -> Pipe:
    return relay.up if toxic.stream == "upstream" else relay.down


class Registry:
    """All proxies of this process."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.proxies: dict[str, Proxy] = {}
        self._beats: dict[str, float] = {}

    def stop(self) -> None:
        for proxy in self.proxies.values():
            proxy.stop()

    def beat(self, name: str) -> int:
        """The owner of the lease `name` lives; how many toxics it holds."""
        self._beats[name] = time.monotonic()
        return sum(1 for _ in self._leased(name))

    def drop_abandoned(self) -> None:
        """Remove the toxics whose owner is gone."""
        now = time.monotonic()
        for proxy, toxic in list(self._leased()):
            lease = toxic.lease
            assert lease is not None
            gone = lease.owner is not None and not lease.owner.lives()
            silent_s = now - self._beats.setdefault(lease.name, now)
            if gone or (lease.ttl_s is not None and silent_s > lease.ttl_s):
                log.warning("%s: %s dropped: its owner is gone", proxy.name, toxic.name)
                proxy.remove_toxic(toxic.name)
        held = {toxic.lease.name for _, toxic in self._leased() if toxic.lease}
        self._beats = {name: at for name, at in self._beats.items() if name in held}

    def _leased(self, name: str | None = None) -> Iterator[tuple[Proxy, Toxic]]:
        for proxy in self.proxies.values():
            for toxic in proxy.toxics:
                if toxic.lease is not None and name in (None, toxic.lease.name):
                    yield proxy, toxic


def changed(toxic: Toxic, toxicity: float, attributes: Mapping[str, int]) -> Toxic:
    """The toxic with new settings."""
    return replace(toxic, toxicity=toxicity, attributes=attributes)
