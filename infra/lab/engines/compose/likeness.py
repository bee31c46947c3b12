"""Services that a week's compose files do not have, made in the likeness of those that they have.

They are the controls of the claims: the same container as the week's own, with other words. Pure.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.lab.engines.compose.inside import DATA, InsideSite
from infra.lab.engines.compose.parts import (
    Instance,
    Model,
    bind,
    escaped,
    escaped_map,
    is_ours,
)
from infra.lab.errors import LabError
from infra.lab.servers.base import Server
from infra.lab.servers.nginx import Nginx
from infra.lab.servers.python import PythonProcess
from infra.lab.site import HOST, Site
from infra.lab.topology import Topology

NETWORK = "lab"
NGINX_CONFIG = "/etc/lab/nginx.conf"
TEMPORARY = "/tmp"
NGINX_HOME = f"{TEMPORARY}/nginx"

_NOT_TAKEN = (
    *("build", "container_name", "depends_on", "healthcheck", "hostname", "profiles"),
    "labels",
)
"""What a service in the likeness of another does not take from it."""


def models(services: Mapping[str, Any], topology: Topology) -> dict[type, Model]:
    """The first service of each kind that the files have."""
    found: dict[type, Model] = {}
    for server in topology.servers:
        body = services.get(server.name)
        if body is None or server.one_shot:
            continue
        if is_ours(server):
            found.setdefault(PythonProcess, copy.deepcopy(body))
        elif isinstance(server, Nginx):
            found.setdefault(Nginx, copy.deepcopy(body))
    return found


def made_like(
    found: Mapping[type, Model], server: Server, site: InsideSite, instance: Instance
) -> Model:
    kind = Nginx if isinstance(server, Nginx) else PythonProcess
    model = found.get(kind)
    if model is None or not (is_ours(server) or isinstance(server, Nginx)):
        raise LabError(
            f"{instance.topology.week}: its compose.yaml has no service {server.name!r}, and there "
            f"is none that it could be made like: add it there"
        )
    body: Model = {name: part for name, part in model.items() if name not in _NOT_TAKEN}
    body = copy.deepcopy(body)
    body["networks"] = {name: None for name in body.get("networks") or {NETWORK: None}}
    body["ports"] = [_port(instance.site.ports[name]) for name in server.port_offsets]
    if isinstance(server, Nginx):
        _front(body, server, site, instance)
    elif isinstance(server, PythonProcess):
        _process(body, server, site, instance)
    return body


def _process(body: Model, server: PythonProcess, site: InsideSite, instance: Instance) -> None:
    told = {**server.environment(site), **server.user_settings()}
    body["command"] = escaped(server.arguments(site))
    body["environment"] = escaped_map({"PYTHONUNBUFFERED": "1", **told})
    body["user"] = instance.user
    body["volumes"] = [bind(instance.site.root / "data", str(DATA))]
    body["stop_grace_period"] = f"{server.stop_timeout_s}s"


def _front(body: Model, server: Nginx, site: InsideSite, instance: Instance) -> None:
    """nginx as the local engine runs it, but for its folder: a file system in memory."""
    start = f"mkdir -p {NGINX_HOME}/temp && exec nginx -p {NGINX_HOME} -c {NGINX_CONFIG} -e stderr"
    body["entrypoint"] = ["/bin/sh", "-c", start]
    body["command"] = []
    body["environment"] = {}
    body["tmpfs"] = list(dict.fromkeys([*(body.get("tmpfs") or ()), TEMPORARY]))
    body["volumes"] = [
        bind(nginx_file(instance.site, server.name), NGINX_CONFIG, read_only=True),
        bind(instance.site.clone / server.config, str(site.clone / server.config), read_only=True),
    ]


def _port(number: int) -> Model:
    return {
        "mode": "ingress",
        "host_ip": HOST,
        "target": number,
        "published": str(number),
        "protocol": "tcp",
    }


def nginx_file(site: Site, name: str) -> Path:
    """Where that configuration lies on this machine."""
    return site.run_dir(name) / "nginx.conf"
