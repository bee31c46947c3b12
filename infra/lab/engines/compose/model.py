"""From a week's compose files to what an instance runs: a change of one mapping. Pure.

The files are what people read and start by hand. An instance of the lab's own adds what only it
can know: that click logs and the like lie where this user can read them, under this user's number;
which addresses its network has; whose it is. And it adds services that the files do not have: the
controls of the claims, each made from the topology in the likeness of the week's own.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Collection

from infra.lab.engines.compose import likeness
from infra.lab.engines.compose.inside import InsideSite, inside
from infra.lab.engines.compose.parts import Instance, Model, bind, escaped, escaped_map, is_ours
from infra.lab.servers.base import Server
from infra.lab.servers.nginx import Nginx
from infra.lab.servers.postgres import Postgres
from infra.lab.servers.python import PythonProcess
from infra.lab.site import Site
from infra.lab.topology import Topology

LABEL_HASH = "scaling-lab.configuration"
CHECKS_TAG = "checks"
"""Of a week's image that holds the controls' parts, too; `infra.images.offline` names it so."""


def addresses(resolved: Model, site: Site) -> dict[str, str]:
    """`service:port` in the network by the name of each port that the files publish."""
    names = {port: name for name, port in site.ports.items()}
    found = {}
    for service, body in resolved["services"].items():
        for mapping in body.get("ports") or ():
            name = names.get(int(mapping.get("published") or 0))
            if name is not None:
                found[name] = f"{service}:{mapping['target']}"
    return found


def published(model: Model, site: Site) -> dict[str, int]:
    """The ports of this machine that are opened, by name."""
    names = {port: name for name, port in site.ports.items()}
    opened = [
        int(mapping["published"])
        for body in model["services"].values()
        for mapping in body.get("ports") or ()
    ]
    return {names.get(port, str(port)): port for port in opened}


def complete(resolved: Model, instance: Instance) -> Model:
    """The whole model of the instance. Raises LabError for a service that nothing tells of."""
    model = copy.deepcopy(resolved)
    model["name"] = instance.project
    site = _inside(model, instance)
    services = model["services"]
    models = likeness.models(services, instance.topology)
    wanted: Model = {}
    for server in instance.topology.servers:
        if server.name in services:
            body = services[server.name]
            _of_the_week(body, server, site, instance)
        else:
            body = likeness.made_like(models, server, site, instance)
        if instance.owner is not None:
            # A check on two cores: the engine asks each service itself, and starts in order.
            for part in ("healthcheck", "depends_on"):
                body.pop(part, None)
            if body.get("image") and server.name not in services:
                body["healthcheck"] = {"disable": True}
        body.pop("profiles", None)
        body["labels"] = {**(body.get("labels") or {}), **instance.labels}
        wanted[server.name] = body
    for body in wanted.values():
        # What the files only name for a profile is not among the services without it.
        needed = body.pop("depends_on", None) or {}
        if kept := {name: how for name, how in needed.items() if name in wanted}:
            body["depends_on"] = kept
    if extra(resolved, instance.topology):
        _with_checks(wanted.values())
    model["services"] = wanted
    _own_names(model, instance)
    return model


def _with_checks(bodies: Collection[Model]) -> None:
    """The image that is built here also holds what the controls are made of."""
    images = {body["image"] for body in bodies if "build" in body}
    for body in bodies:
        if "build" in body:
            build = body["build"]
            build["args"] = {**(build.get("args") or {}), "CHECKS": "1"}
        if body["image"] in images:
            body["image"] = f"{str(body['image']).rpartition(':')[0]}:{CHECKS_TAG}"


def extra(resolved: Model, topology: Topology) -> list[str]:
    """Services of the topology that the files do not have."""
    return [one.name for one in topology.servers if one.name not in resolved["services"]]


def built(model: Model) -> list[str]:
    """Services that are built here, each image once: the others that use it find it there."""
    images: dict[str, str] = {}
    for name, body in model["services"].items():
        if "build" in body:
            images.setdefault(str(body.get("image", name)), name)
    return list(images.values())


def has_checks(model: Model) -> bool:
    """Whether services run from the image with the controls' parts."""
    images = [str(body.get("image", "")) for body in model["services"].values()]
    return any(image.endswith(f":{CHECKS_TAG}") for image in images)


def sealed(model: Model) -> Model:
    """The same with its own digest on each service: what runs tells what it was started from."""
    digest = hashlib.sha256(json.dumps(model, sort_keys=True).encode()).hexdigest()[:16]
    sealed_one = copy.deepcopy(model)
    for body in sealed_one["services"].values():
        body["labels"] = {**(body.get("labels") or {}), LABEL_HASH: digest}
    return sealed_one


def digest_of(model: Model) -> str:
    """The digest of a sealed model."""
    return next(str(body["labels"][LABEL_HASH]) for body in model["services"].values())


def nginx_files(topology: Topology, resolved: Model, instance: Instance) -> dict[str, str]:
    """Configuration of each front door that the files do not have, by service."""
    site = _inside(resolved, instance)
    missing = extra(resolved, topology)
    return {
        server.name: server.render(site)
        for server in topology.servers
        if isinstance(server, Nginx) and server.name in missing
    }


def volumes_of_ours(resolved: Model, topology: Topology) -> list[str]:
    """Named volumes of the week's own processes, which this machine's user reads too."""
    ours = {server.name for server in topology.servers if is_ours(server)}
    found = [
        str(mount["source"])
        for name, body in resolved["services"].items()
        if name in ours
        for mount in body.get("volumes") or ()
        if mount["type"] == "volume"
    ]
    return list(dict.fromkeys(found))


def _inside(model: Model, instance: Instance) -> InsideSite:
    found = addresses(model, instance.site)
    for server in instance.topology.servers:
        for name in server.port_offsets:
            if server.name not in model["services"]:
                found[name] = f"{server.name}:{instance.site.ports[name]}"
        if server.container_port is not None:
            found[server.name] = f"{server.name}:{server.container_port}"
    return inside(instance.site, found, _network(model))


def _network(model: Model) -> str:
    for network in (model.get("networks") or {}).values():
        for pool in ((network or {}).get("ipam") or {}).get("config") or ():
            if pool.get("subnet"):
                return str(pool["subnet"])
    return ""


# ---- The week's own services


def _of_the_week(body: Model, server: Server, site: InsideSite, instance: Instance) -> None:
    """What this instance changes of a service that the files have."""
    if isinstance(server, PythonProcess) and is_ours(server):
        _read_here(body, instance)
        if instance.owner is not None and server.proxies_setting:
            believed = {server.proxies_setting: site.network}
            body["environment"] = {**(body.get("environment") or {}), **believed}
        _as_the_user_says(body, server, site)
    if isinstance(server, Postgres) and instance.owner is not None:
        # A check may want more connections than the week does.
        options = [word for name, value in server.settings.items() for word in (name, value)]
        pairs = zip(options[::2], options[1::2], strict=True)
        settings = [word for name, value in pairs for word in ("-c", f"{name}={value}")]
        body["command"] = escaped(["postgres", *settings])


def _read_here(body: Model, instance: Instance) -> None:
    """Its files belong to this machine's user and lie in the instance's folder."""
    mounts = body.get("volumes") or []
    body["user"] = instance.user
    body["volumes"] = [
        bind(instance.site.data_dir(str(mount["source"])), str(mount["target"]))
        if mount["type"] == "volume"
        else mount
        for mount in mounts
    ]


def _as_the_user_says(body: Model, server: PythonProcess, site: InsideSite) -> None:
    """`SHORTENER_CACHE_TTL_S=5` and `SERVER=uvicorn`, as on every engine."""
    given = dict(server.user_settings())
    if any(name in given for name in server.user_variables):
        body["command"] = escaped(server.arguments(site))
    if given:
        body["environment"] = {**(body.get("environment") or {}), **escaped_map(given)}


# ---- Names


def _own_names(model: Model, instance: Instance) -> None:
    """Network and volumes under the project's name, and not one that another instance has."""
    used = {
        str(mount["source"])
        for body in model["services"].values()
        for mount in body.get("volumes") or ()
        if mount["type"] == "volume"
    }
    kept = {name: body for name, body in (model.get("volumes") or {}).items() if name in used}
    model["volumes"] = {name: _named(body, name, instance) for name, body in kept.items()}
    networks = model.get("networks") or {}
    model["networks"] = {name: _named(body, name, instance) for name, body in networks.items()}
    for network in model["networks"].values():
        for pool in (network.get("ipam") or {}).get("config") or ():
            # Addresses that Docker chooses come from the upper half: those that the files give
            # stay free, whoever starts first.
            if str(pool.get("subnet", "")).endswith(".0/24"):
                half = str(pool["subnet"]).removesuffix(".0/24")
                pool.setdefault("ip_range", f"{half}.128/25")


def _named(body: Model | None, name: str, instance: Instance) -> Model:
    named = {**(body or {}), "name": f"{instance.project}_{name}"}
    if instance.labels:
        named["labels"] = {**(named.get("labels") or {}), **instance.labels}
    return named
