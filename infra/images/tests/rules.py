"""What holds for every week's compose.yaml: rules over the parsed file, each raising Broken.

`Broken` carries one line that names the service and what is wrong; a rule that has nothing to
object to returns nothing. The files are read as they are written, variables and all, because who
may change a port or has to bring a secret is a matter of the variables.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # comes with schemathesis

from infra.images import plan
from infra.lab.servers.nginx import Nginx
from infra.lab.servers.python import PythonProcess
from infra.lab.topology import Topology, port_variable

Model = dict[str, Any]

OURS = "scaling-lab/"
_VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)(?::([-?])([^}]*))?\}")
_PUBLISHED = re.compile(r"127\.0\.0\.1:(\$\{([A-Z0-9_]+):-(\d+)\}):(.+)")
_SECRET_NAME = re.compile(r"PASSWORD|SECRET|TOKEN|(?<!PUBLIC_)KEY$")
_SECRET_IN_URL = re.compile(r"://[^/@:]*:([^@]*)@")
UNPUBLISHED = ("kafka-controller", "to-kafka-behind")
"""Ports that only the service itself, or only other containers, have a use for."""
NOT_READ_ONLY = ("kafka",)
"""Upstream's image writes its configuration into itself."""


class Broken(AssertionError):
    """A rule is not kept."""


def parsed(text: str) -> Model:
    """A compose file with its anchors resolved, its variables not."""
    model: Model = yaml.safe_load(text)
    return model


def interpolated(text: str, environ: Mapping[str, str]) -> str:
    """`${NAME:-default}` and the like replaced, as compose does it."""

    def value(found: re.Match[str]) -> str:
        name, kind, rest = found.groups()
        if environ.get(name):
            return environ[name]
        if kind == "-":
            return rest
        raise Broken(f"{found[0]} has no value")

    return _VARIABLE.sub(value, text).replace("$$", "$")


def in_full(part: Any, environ: Mapping[str, str]) -> Any:
    """`part` of a model with all its variables replaced."""
    if isinstance(part, str):
        return interpolated(part, environ)
    if isinstance(part, list):
        return [in_full(item, environ) for item in part]
    if isinstance(part, dict):
        return {name: in_full(item, environ) for name, item in part.items()}
    return part


def services(model: Model) -> Iterator[tuple[str, Model]]:
    """Each service's name and body."""
    yield from model["services"].items()


def is_one_shot(name: str, topology: Topology) -> bool:
    return name in topology.names and topology.server(name).one_shot


def _strings(part: Any) -> Iterator[str]:
    if isinstance(part, str):
        yield part
    elif isinstance(part, dict):
        for item in part.values():
            yield from _strings(item)
    elif isinstance(part, list):
        for item in part:
            yield from _strings(item)


def names_are_the_topologys(model: Model, topology: Topology) -> None:
    """The same services under the same names, and the fault proxy under a profile of its name."""
    proxy = topology.faults.name if topology.faults else None
    wanted = {*topology.names, *([proxy] if proxy else [])}
    if model["services"].keys() != wanted:
        raise Broken(f"services differ from lab.py's: {sorted(model['services'].keys() ^ wanted)}")
    for name, body in services(model):
        if body.get("profiles", []) != ([name] if name == proxy else []):
            raise Broken(f"{name}: in which profile it is differs from lab.py")


def ports_are_variables_on_loopback(model: Model, topology: Topology) -> None:
    """127.0.0.1 alone, by the topology's variable, with its number as the default."""
    whole = topology.with_faults() if topology.faults else topology
    wanted = {port_variable(name): number for name, number in whole.ports({}).items()}
    found: dict[str, int] = {}
    for name, body in services(model):
        server = whole.server(name)
        ours = isinstance(server, Nginx) or body["image"].startswith(OURS)
        for port in body.get("ports", ()):
            match = _PUBLISHED.fullmatch(port)
            if match is None:
                raise Broken(f"{name}: {port} is not 127.0.0.1:${{PORT_...:-number}}:port")
            same, variable, number, target = match.groups()
            found[variable] = int(number)
            if ours and target != same:
                raise Broken(f"{name}: inside it listens on {target}, not on {same}")
    for port in UNPUBLISHED:
        wanted.pop(port_variable(port), None)
    if found != wanted:
        differ = sorted({*found.items()} ^ {*wanted.items()})
        raise Broken(f"published ports differ from lab.py's: {differ}")


def images_are_pinned(model: Model, topology: Topology) -> None:
    """Upstream's images by a whole version, ours by a tag that only a build here makes."""
    for name, body in services(model):
        image, _, tag = body["image"].rpartition(":")
        if not image:
            raise Broken(f"{name}: {body['image']} has no tag")
        if body["image"].startswith(OURS):
            if body.get("pull_policy") != "never":
                raise Broken(f"{name}: somebody else's image of our name would be pulled")
            if tag != "local":
                raise Broken(f"{name}: our image is built here, under the tag `local`, not {tag}")
        elif not re.fullmatch(r"\d+(\.\d+)+(-[a-z0-9.-]+)?", tag):
            raise Broken(f"{name}: {tag} is no whole version: it may be another image tomorrow")


def nobody_is_privileged(model: Model, topology: Topology) -> None:
    """No capability, no way to gain one, no root, nothing of the host but files of the week."""
    for name, body in services(model):
        for key in (
            "privileged",
            "cap_add",
            "devices",
            "pid",
            "ipc",
            "network_mode",
            "userns_mode",
        ):
            if body.get(key):
                raise Broken(f"{name}: {key} is not for a service of a lab")
        if body.get("cap_drop") != ["ALL"]:
            raise Broken(f"{name}: keeps capabilities: cap_drop: [ALL]")
        if "no-new-privileges:true" not in body.get("security_opt", ()):
            raise Broken(f"{name}: may gain privileges: no-new-privileges:true")
        if str(body.get("user", "")).split(":")[0] in ("0", "root"):
            raise Broken(f"{name}: runs as root")
        for mount in body.get("volumes", ()):
            source = mount.split(":")[0]
            of_week = re.match(r"\./|\.\./infra/images/", source)
            if not of_week and source not in model.get("volumes", {}):
                raise Broken(f"{name}: mounts {source}, which is neither the week's nor a volume")
            if of_week and not mount.endswith(":ro"):
                raise Broken(f"{name}: may write to {source}")


def everything_is_limited(model: Model, topology: Topology) -> None:
    """Memory, processors, processes, log; a root file system that nobody writes to."""
    for name, body in services(model):
        limits = body.get("deploy", {}).get("resources", {}).get("limits", {})
        for key in ("memory", "cpus", "pids"):
            if not limits.get(key):
                raise Broken(f"{name}: has no limit on {key}")
        options = body.get("logging", {}).get("options", {})
        if not options.get("max-size") or not options.get("max-file"):
            raise Broken(f"{name}: its log has no limit")
        if name not in NOT_READ_ONLY and body.get("read_only") is not True:
            raise Broken(f"{name}: its root file system can be written to")


def everything_comes_back(model: Model, topology: Topology) -> None:
    """A health check, an init and a restart policy each; one-shots run once."""
    for name, body in services(model):
        if body.get("init") is not True:
            raise Broken(f"{name}: init is missing: from inside, its process could not be killed")
        if is_one_shot(name, topology):
            if body.get("restart") != "no":
                raise Broken(f"{name}: runs once, and would be started again")
            continue
        if body.get("restart") != "unless-stopped":
            raise Broken(f"{name}: nothing brings it back after a crash: restart: unless-stopped")
        check = body.get("healthcheck", {})
        if not check.get("test") or not {"interval", "timeout", "retries"} <= check.keys():
            raise Broken(f"{name}: has no whole health check")


def starts_in_the_topologys_order(model: Model, topology: Topology) -> None:
    """Each waits for what lab.py says that it needs, until that answers or has ended well."""
    for name, body in services(model):
        waits = body.get("depends_on", {})
        for needed in topology.server(name).needs if name in topology.names else ():
            once = is_one_shot(needed, topology)
            wanted = "service_completed_successfully" if once else "service_healthy"
            if waits.get(needed, {}).get("condition") != wanted:
                raise Broken(f"{name}: does not wait for {needed} ({wanted})")


def secrets_are_brought(model: Model, topology: Topology, sample: str) -> None:
    """Every secret is a variable that has to be set, none has a value in the file or the sample."""
    known = {name.upper() for name in topology.all_secrets}
    used: set[str] = set()
    for name, body in services(model):
        for key, value in body.get("environment", {}).items():
            secret = _SECRET_IN_URL.search(value)
            if secret or _SECRET_NAME.search(key):
                inner = secret[1] if secret else value
                found = _VARIABLE.fullmatch(inner)
                if found is None or found[2] != "?" or found[1] not in known:
                    raise Broken(f"{name}: {key} holds a secret that is no required variable")
                used.add(found[1])
    if used != known:
        raise Broken(f"secrets differ from lab.py's: {sorted(used ^ known)}")
    for line in sample.splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            if value:
                raise Broken(f".env.sample gives {key} a value")
            known.discard(key)
    if known:
        raise Broken(f".env.sample lacks {sorted(known)}")


def variables_are_known(model: Model, topology: Topology, sample: str) -> None:
    """No variable that nothing explains: ports, secrets, SUBNET and VIA_... of the links."""
    whole = topology.with_faults() if topology.faults else topology
    links = topology.faults.links if topology.faults else ()
    known = {port_variable(name) for name in whole.ports({})}
    known |= {name.upper() for name in topology.all_secrets} | {"SUBNET"}
    known |= {f"VIA_{link.to.upper()}" for link in links}
    for text in _strings(model):
        for found in _VARIABLE.finditer(text):
            if found[1] not in known:
                raise Broken(f"{found[0]} is a variable that nothing explains")


def standins_replace_upstreams_images(
    model: Model, override: Model, known: Mapping[str, plan.StandIn]
) -> None:
    """One for each image of upstream's, of its version; nothing else is changed."""
    changed = override["services"]
    by_image = {standin.image: standin for standin in known.values()}
    for name, body in services(model):
        given = changed.get(name, {})
        image, _, tag = body["image"].rpartition(":")
        if "build" in body:
            if given != {"build": {"args": {"PYTHON": f"{plan.PREFIX}python:3.13"}}}:
                raise Broken(f"{name}: its image is not built on the stand-in of Python alone")
        elif body["image"].startswith(OURS):
            if given:
                raise Broken(f"{name}: is changed, though its image is ours")
        elif given.keys() != {"image", "pull_policy"} or given["image"] not in by_image:
            raise Broken(f"{name}: no stand-in for {body['image']}, or more than one changes")
        elif given["pull_policy"] != "never":
            raise Broken(f"{name}: a stand-in would be pulled; it is made here or not at all")
        elif by_image[given["image"]].version != tag:
            raise Broken(f"{name}: {given['image']} stands for {body['image']}, another version")
        elif by_image[given["image"]].server not in image:
            raise Broken(f"{name}: {given['image']} stands for {body['image']}, another server")
    if more := changed.keys() - model["services"].keys():
        raise Broken(f"the override has services of its own: {sorted(more)}")


def processes(topology: Topology) -> list[PythonProcess]:
    """The week's own processes."""
    return [server for server in topology.servers if isinstance(server, PythonProcess)]


def week_files(clone: Path, package: str) -> dict[str, str]:
    """The texts of a week's files for compose, by their names in its folder."""
    names = ("compose.yaml", "compose.offline.yaml", ".env.sample")
    return {name: (clone / package / name).read_text(encoding="utf-8") for name in names}
