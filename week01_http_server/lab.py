"""Week 1's topology: the server on a folder and on an ASGI app, level 1 beside it, and nginx."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from infra.lab.servers import http
from infra.lab.servers.nginx import Nginx
from infra.lab.servers.python import PythonProcess
from infra.lab.site import Site
from infra.lab.topology import Topology

PACKAGE = "week01_http_server"
FOLDER = "site"
DEMO = f"{PACKAGE}.demo:app"
FACTS_TIMEOUT_S = 3.0


@dataclass(frozen=True, kw_only=True, eq=False)
class HttpServer(PythonProcess):
    """The week's server, which has its metrics on a port of their own.

    Attributes:
        metrics_port: offset to the week's base port.
    """

    metrics_port: int

    @property
    def port_offsets(self) -> Mapping[str, int]:
        return {**super().port_offsets, metrics_of(self.name): self.metrics_port}


@dataclass(frozen=True, kw_only=True, eq=False)
class SiteNginx(Nginx):
    """nginx on a copy of the week's pages: as root it could not enter every clone."""

    def prepare(self, site: Site) -> None:
        super().prepare(site)
        target = site.run_dir(self.name) / FOLDER
        shutil.copytree(folder(site), target, dirs_exist_ok=True, copy_function=shutil.copyfile)


def folder(site: Site) -> str:
    """The week's pages."""
    return str(site.clone / PACKAGE / FOLDER)


def metrics_of(name: str) -> str:
    """Name of the port on which a server of ours tells its metrics."""
    return f"{name}-metrics"


def server(name: str, port: int, metrics_port: int, *words: str, files: bool = False) -> HttpServer:
    """The week's server, one worker, access log on; `words` are further options."""

    def arguments(site: Site) -> tuple[str, ...]:
        served = ("--directory", folder(site)) if files else ()
        bound = ("--host", site.bind_host, "--port", str(site.ports[name]))
        metrics = (
            *("--metrics-host", site.bind_host),
            *("--metrics-port", str(site.ports[metrics_of(name)])),
        )
        return ("-m", PACKAGE, *words, *served, *bound, *metrics)

    return HttpServer(
        name=name,
        port=port,
        metrics_port=metrics_port,
        arguments=arguments,
        environment=lambda site: {},
        ready_path="/",
    )


def level_1(name: str, port: int, *words: str) -> PythonProcess:
    """The raw socket."""
    return PythonProcess(
        name=name,
        port=port,
        arguments=lambda site: (
            *("-m", f"{PACKAGE}.raw", "--host", site.bind_host),
            *("--port", str(site.ports[name]), *words),
        ),
        environment=lambda site: {},
        ready_path="/",
    )


async def metrics(site: Site, name: str) -> dict[str, float]:
    """Sums of a server's metrics by name, over all their labels. Raises NotReadyError."""
    answer = await http.get(site.ports[metrics_of(name)], "/metrics", FACTS_TIMEOUT_S)
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(answer.body.decode()):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found


async def web_traffic(site: Site) -> str:
    """What came to the folder's server."""
    return await _traffic(site, "web")


async def app_traffic(site: Site) -> str:
    """What came to the app's."""
    return await _traffic(site, "app")


async def _traffic(site: Site, name: str) -> str:
    found = await metrics(site, name)
    return (
        f"requests: {found.get('http_requests_total', 0.0):.0f}, "
        f"on connections: {found['http_connections_accepted_total']:.0f}, "
        f"open now: {found['http_connections_open']:.0f}, "
        f"refused: {found.get('http_refused_total', 0.0):.0f}"
    )


topology = Topology(
    week="week01",
    title="HTTP/1.1 server: from a raw socket to uvloop and httptools, beside nginx",
    base_port=8080,
    facts={"web": web_traffic, "app": app_traffic},
    try_it=(
        "curl -v {url}/      # every line of one exchange; then: make week01 logs SERVICE=web",
        "curl -s {url}/numbers.txt -r 0-8      # a range; the others' addresses stand above",
        "make week01 pause SERVICE=web      # curl waits, ss -tln shows the queue; then: resume",
    ),
    servers=(
        server("web", 0, 4, files=True),
        level_1("raw", 1),
        server("app", 2, 5, DEMO),
        SiteNginx(name="nginx", port=3, config=f"{PACKAGE}/config/nginx/site.conf"),
    ),
)
