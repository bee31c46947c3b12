"""Faults on the links between services: applied, proven, and undone in any case.

    faults = Faults("127.0.0.1", 8474)
    link = await faults.add_link("api1-postgres", site.address("postgres"), questions.postgres())
    async with faults.latency(link, 200) as proof:
        ...                                     # the service uses link.address

Works with the lab's own proxy and with Toxiproxy. Only the lab's own drops a fault whose test was
killed; with Toxiproxy the next `Faults.clear` does.
"""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import anyio
import anyio.to_thread

from infra.lab.errors import LabError
from infra.lab.faults import kinds
from infra.lab.faults.kinds import Fault, Stream
from infra.lab.faults.probes import FaultError, Link, Probe, Proof
from infra.lab.faults.questions import Question
from infra.lab.owner import this_process

API_TIMEOUT_S = 10.0
NOT_FOUND = 404
HEARTBEATS_PER_TTL = 4


class Faults:
    """The proxy's API at one address.

    Args:
        heartbeat_ttl_s: None where proxy and test share a machine: then faults end with this
            process. Else the proxy drops them so long after the last heartbeat.
    """

    def __init__(self, host: str, port: int, heartbeat_ttl_s: float | None = None) -> None:
        self._host = host
        self._port = port
        self._ttl_s = heartbeat_ttl_s
        owner = this_process()
        self._lease: dict[str, Any] = {"name": f"{owner}-{id(self):x}"}
        self._lease |= {"owner": owner} if heartbeat_ttl_s is None else {"ttl_s": heartbeat_ttl_s}

    # Links

    async def add_link(
        self, name: str, upstream: str, question: Question, listen: str = "127.0.0.1:0"
    ) -> Link:
        """Lead `name` to `upstream` through the proxy; one of that name is replaced.

        Args:
            upstream: `host:port` of the server.
            listen: where the client service will connect; port 0 picks one.
        """
        fields = {"name": name, "upstream": upstream, "listen": listen, "enabled": True}
        await self._remove(_path(name))
        made = await self._call("POST", "/proxies", fields)
        host, _, port = made["listen"].rpartition(":")
        return Link(name, host, int(port), upstream, question)

    async def remove_link(self, link: Link) -> None:
        """Close it and all its connections. Fine when it is gone."""
        await self._remove(_path(link.name))

    async def clear(self) -> None:
        """No link has a fault any more, whoever made it."""
        await self._call("POST", "/reset")

    # Faults

    def latency(
        self, link: Link, ms: int, jitter_ms: int = 0, stream: Stream = "downstream"
    ) -> AbstractAsyncContextManager[Proof]:
        """Each chunk of one direction comes `ms` +/- `jitter_ms` late."""
        return self._hold(link, kinds.latency(ms, jitter_ms, stream))

    def bandwidth(
        self, link: Link, rate_kb_s: int, stream: Stream = "downstream"
    ) -> AbstractAsyncContextManager[Proof]:
        """Each connection carries at most `rate_kb_s` (1000 bytes a second) in one direction."""
        return self._hold(link, kinds.bandwidth(rate_kb_s, stream))

    def blackhole(self, link: Link) -> AbstractAsyncContextManager[Proof]:
        """Connections open and stay open, and nothing comes through; they end with the fault."""
        return self._hold(link, kinds.blackhole())

    def reset(self, link: Link) -> AbstractAsyncContextManager[Proof]:
        """Whatever is said on a connection, old or new, is answered by RST."""
        return self._hold(link, kinds.reset())

    async def leave(self, link: Link, fault: Fault, stands_s: int | None = None) -> Proof:
        """Have `fault` alone on the link, until `clear`, or for `stands_s`: nobody holds it.

        One that does not land does not stay either. Raises FaultError.
        """
        await self.clear_link(link)
        before = await fault.probe.before(link)
        lease = None if stands_s is None else _timer(stands_s)
        applied: list[str] = []
        try:
            during = await self._land(link, fault, lease, applied)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._take_away(link, applied)
            raise
        return Proof(fault.probe.fault, link.name, before, during)

    async def clear_link(self, link: Link) -> None:
        """This link has no fault any more, whoever made it."""
        standing = (await self.standing()).get(link.name, [])
        await self._take_away(link, [str(toxic["name"]) for toxic in standing])

    async def standing(self) -> dict[str, list[dict[str, Any]]]:
        """The toxics of each link, by the link's name."""
        proxies = await self._call("GET", "/proxies")
        return {name: list(proxy["toxics"]) for name, proxy in proxies.items()}

    @asynccontextmanager
    async def _hold(self, link: Link, fault: Fault) -> AsyncIterator[Proof]:
        before = await fault.probe.before(link)
        applied: list[str] = []
        with ExitStack() as beating:
            if self._ttl_s is not None:
                beating.enter_context(_Heart(self._beat, self._ttl_s / HEARTBEATS_PER_TTL))
            try:
                during = await self._land(link, fault, self._lease, applied)
                yield Proof(fault.probe.fault, link.name, before, during)
            finally:
                with anyio.CancelScope(shield=True):
                    await self._restore(link, applied, fault.probe)

    async def _land(
        self, link: Link, fault: Fault, lease: Mapping[str, Any] | None, applied: list[str]
    ) -> str:
        """Apply it and measure; `applied` gets the names of its toxics, also when it fails."""
        async with link.connect() as open_before:
            for toxic in fault.toxics:
                applied.append(await self._apply(link, {**toxic, "lease": lease}))
            return await fault.probe.landed(link, open_before)

    async def _apply(self, link: Link, toxic: dict[str, Any]) -> str:
        made = await self._call("POST", f"{_path(link.name)}/toxics", toxic)
        return str(made["name"])

    async def _restore(self, link: Link, applied: list[str], probe: Probe) -> None:
        """Remove all of them, then look whether the link is as it was."""
        if await self._take_away(link, applied):
            raise FaultError(
                f"{probe.fault} on {link.name} was gone before its end: its measurements are void"
            )
        await probe.restored(link)

    async def _take_away(self, link: Link, names: list[str]) -> list[str]:
        """Remove all of them, however many fail; those that were gone already."""
        gone, failures = [], []
        for name in names:
            try:
                if not await self._remove(f"{_path(link.name)}/toxics/{quote(name, safe='')}"):
                    gone.append(name)
            except LabError as error:
                failures.append(error)
        if failures:
            raise failures[0]
        return gone

    # HTTP

    def _beat(self) -> None:
        request(self._host, self._port, "POST", f"/leases/{quote(self._lease['name'])}", None)

    async def _remove(self, path: str) -> bool:
        """Whether it was there."""
        status, answer = await self._answer("DELETE", path)
        if status != NOT_FOUND:
            self._check(status, answer)
        return status != NOT_FOUND

    async def _call(self, method: str, path: str, fields: Mapping[str, Any] | None = None) -> Any:
        status, answer = await self._answer(method, path, fields)
        self._check(status, answer)
        return answer

    async def _answer(
        self, method: str, path: str, fields: Mapping[str, Any] | None = None
    ) -> tuple[int, Any]:
        arguments = (self._host, self._port, method, path, fields)
        try:
            return await anyio.to_thread.run_sync(request, *arguments)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise FaultError(
                f"the fault proxy at {self._host}:{self._port} does not answer ({error}): start it"
            ) from error

    @staticmethod
    def _check(status: int, answer: Any) -> None:
        if status >= 300:
            reason = answer.get("error", answer) if isinstance(answer, dict) else answer
            raise FaultError(f"the fault proxy refuses: {reason}")


class _Heart:
    """Beats in a thread of its own, so that a busy event loop does not lose its faults."""

    def __init__(self, beat: Any, every_s: float) -> None:
        self._beat = beat
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join(API_TIMEOUT_S)

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            try:
                self._beat()
            except (OSError, http.client.HTTPException, ValueError):
                continue  # a fault that is dropped for want of a beat is told at its end


def _timer(seconds: int) -> dict[str, Any]:
    """A lease that nobody renews. Its name tells people when it ends, and is nobody else's."""
    ends = datetime.now() + timedelta(seconds=seconds)
    return {"name": f"{kinds.UNTIL}{ends:%H:%M:%S} {uuid4()}", "ttl_s": seconds}


def _path(name: str) -> str:
    return f"/proxies/{quote(name, safe='')}"


def request(
    host: str, port: int, method: str, path: str, fields: Mapping[str, Any] | None
) -> tuple[int, Any]:
    """Status and JSON of one request. Raises OSError, HTTPException, or ValueError for no JSON."""
    connection = http.client.HTTPConnection(host, port, timeout=API_TIMEOUT_S)
    try:
        body = None if fields is None else json.dumps(fields)
        connection.request(method, path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        raw = response.read()
        return response.status, json.loads(raw) if raw else None
    finally:
        connection.close()
