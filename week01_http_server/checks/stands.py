"""What the claims run on: the week's own services, and beside them the controls' variants."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from benchmarks.client import Target, named_target
from infra.evidence import Lab
from infra.lab.servers.python import PythonProcess
from infra.lab.site import Site
from week01_http_server.checks.variants import WORKERS
from week01_http_server.lab import DEMO, level_1, server, topology

HELLO: Final = "hello"
ALONE: Final = "raw-alone"
FEW_DESCRIPTORS: Final = "raw-few"
ROLLING: Final = "rolling"
ABRUPT: Final = "abrupt"
GUARDED: Final = "guarded"
UNGUARDED: Final = "unguarded"
READER: Final = "reader"
FLOOR: Final = "floor"

VARIANTS: Final = "week01_http_server.checks.variants"


def _process(name: str, port: int, *words: str) -> PythonProcess:
    """A process that is told where to listen in its last words."""

    def arguments(site: Site) -> tuple[str, ...]:
        return ("-m", *words, site.bind_host, str(site.ports[name]))

    return PythonProcess(
        name=name, port=port, arguments=arguments, environment=lambda site: {}, ready_path="/"
    )


def target_of(lab: Lab, name: str) -> Target:
    """Where a service of ours is; or, where somebody gave the address of his own, that one."""
    url = lab.url if lab.engine is None else lab.engine.site.url(name)
    return named_target(url)


with_variants = replace(
    topology,
    servers=(
        *topology.servers,
        server(HELLO, 20, 21),
        level_1(ALONE, 22, "--one-at-a-time"),
        _process(FEW_DESCRIPTORS, 23, VARIANTS, "few-descriptors"),
        server(ROLLING, 24, 25, DEMO, "--workers", str(WORKERS)),
        _process(ABRUPT, 26, VARIANTS, "abrupt"),
        _process(GUARDED, 27, VARIANTS, "guarded"),
        _process(UNGUARDED, 28, VARIANTS, "unguarded"),
        server(READER, 30, 31, "week01_http_server.checks.reader:app"),
        _process(FLOOR, 29, "week01_http_server.bench.floor"),
    ),
)
