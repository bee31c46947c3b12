"""A Python process of the week itself: an ASGI app under a server, a worker, a one-shot task."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.lab.faults import clock
from infra.lab.servers import http
from infra.lab.servers.base import Launch, Server
from infra.lab.site import Site, make_dir
from infra.service.clock import VARIABLE

PROBE_TIMEOUT_S = 3.0

Arguments = Callable[[Site], tuple[str, ...]]
Environment = Callable[[Site], Mapping[str, str]]


@dataclass(frozen=True, kw_only=True, eq=False)
class PythonProcess(Server):
    """`python ARGUMENTS` with settings in the environment.

    Attributes:
        arguments: words after the interpreter, from the instance (ports are known only there).
        environment: the process's settings.
        ready_path: answered 200 once the process can do its work; unused for one-shots.
        stop_timeout_s: a drain may take this long.
        settings_prefix: the user's variables that begin so are passed on.
        user_variables: others that are passed on, or only decide how the process is started.
        proxies_setting: its variable that says which networks' proxies it believes. Claims ask a
            service as its proxy would; where that has another address than theirs, an engine adds
            theirs for an instance of claims.
        skewable: it takes its time from `infra.service.clock`, so a test may move its clock by
            `infra.lab.faults.clock.skew(server.clock_file(site), ...)`.
    """

    arguments: Arguments
    environment: Environment
    ready_path: str = "/health/ready"
    stop_timeout_s: int = 15
    settings_prefix: str = ""
    user_variables: tuple[str, ...] = ()
    skewable: bool = False
    proxies_setting: str = ""

    @property
    def kind(self) -> str:
        return "Python"

    def version(self, site: Site) -> str:
        return platform.python_version()

    def clock_file(self, site: Site) -> Path:
        """Where the offset of its clock stands, if it is skewable."""
        return site.run_dir(self.name) / "clock"

    def prepare(self, site: Site) -> None:
        if self.skewable:
            make_dir(site.run_dir(self.name))
            clock.make_file(self.clock_file(site))

    def launch(self, site: Site) -> Launch:
        env = {"PYTHONUNBUFFERED": "1", **self.environment(site), **self.user_settings()}
        if self.skewable:
            env[VARIABLE] = str(self.clock_file(site))
        return Launch(argv=(sys.executable, *self.arguments(site)), env=env)

    def user_settings(self) -> dict[str, str]:
        """They win over the topology's: `SHORTENER_CACHE_TTL_S=5 make week04 up`."""
        prefix = self.settings_prefix
        return {
            name: value
            for name, value in os.environ.items()
            if (prefix and name.startswith(prefix)) or name in self.user_variables
        }

    async def probe(self, site: Site) -> None:
        await http.expect_ok(site.ports[self.name], self.ready_path, PROBE_TIMEOUT_S)

    def address(self, site: Site) -> str:
        return "" if self.port is None else site.url(self.name)
