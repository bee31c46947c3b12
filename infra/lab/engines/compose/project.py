"""The compose project of one instance: its files, its images, its containers as a whole."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.lab.engines.base import Event, Report
from infra.lab.engines.compose import docker, likeness, messages, model, networks
from infra.lab.engines.compose.containers import PROJECT_LABEL
from infra.lab.engines.compose.parts import Instance, Model
from infra.lab.errors import LabError
from infra.lab.site import Account, Site, link_to, make_dir
from infra.lab.topology import Topology, port_variable

FILE = "compose.yaml"
OFFLINE_FILE = "compose.offline.yaml"
ATTEMPTS = 3
"""To get addresses: another instance may take those that were just free."""

PRIVATE = 0o600
TOLD_MAX_CHARS = 100
STAND_INS = "OFFLINE=1: stand-ins built on this machine take the place of the images that are named"


@dataclass(frozen=True)
class ComposeSettings:
    """Where and as whom an instance runs; made by entry points only.

    Attributes:
        clone: root of the repository.
        home: the lab home.
        root: this instance's folder.
        folder: where compose.yaml lies.
        images_of: week whose images stand-ins are built for.
        account: user that the week's own containers run as when root starts them; None for an
            ordinary user, whose own number they get.
        environ: the user's variables (`PORT`, `PORT_*`, `SUBNET`, `OFFLINE`).
        owner: process whose end makes the instance a leftover (tests); None for a person's.
    """

    clone: Path
    home: Path
    root: Path
    folder: Path
    images_of: str
    account: Account | None
    environ: Mapping[str, str]
    owner: str | None = None


class Project:
    """Named after the week and the folder of the instance, so that no two clones meet."""

    def __init__(self, topology: Topology, settings: ComposeSettings, site: Site) -> None:
        self._topology = topology
        self._settings = settings
        self._site = site
        digest = hashlib.sha256(os.fsencode(settings.root.resolve())).hexdigest()[:6]
        self.name = f"{topology.week}-{digest}"

    @property
    def secrets(self) -> tuple[str, ...]:
        return self._topology.all_secrets

    @property
    def _file(self) -> Path:
        return self._settings.root / "compose.json"

    # Before anything runs

    async def prepare(self, report: Report) -> Model:
        """Write all files of the instance; the model that will run. Raises LabError."""
        offline = bool(self._settings.environ.get("OFFLINE", "").strip("0"))
        if offline:
            report(Event("", STAND_INS))
        report(Event("", "reading compose.yaml"))
        subnet = self._settings.environ.get("SUBNET", "")
        if subnet:
            subnet = networks.parse(subnet)
        elif self._settings.owner is not None:
            subnet = networks.choose(networks.taken())
        chosen = {"offline": offline, "subnet": subnet}
        return self._write(chosen)

    def _write(self, chosen: Mapping[str, Any]) -> Model:
        resolved, complete = self._models(chosen)
        make_dir(self._site.root / "data")
        for name in model.volumes_of_ours(resolved, self._topology):
            make_dir(self._site.data_dir(name), self._settings.account)
        for name, text in model.nginx_files(self._topology, resolved, self._instance).items():
            file = likeness.nginx_file(self._site, name)
            make_dir(file.parent)
            file.write_text(text)
        (self._settings.root / "engine.json").write_text(json.dumps(chosen) + "\n")
        self._file.touch(PRIVATE)  # it holds passwords
        self._file.chmod(PRIVATE)
        self._file.write_text(json.dumps(complete, indent=1) + "\n")
        return complete

    def digest(self) -> str:
        """Of what this command would run, with the choices of the last `up`."""
        try:
            chosen = json.loads((self._settings.root / "engine.json").read_text())
            chosen = {"offline": bool(chosen["offline"]), "subnet": str(chosen["subnet"])}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LabError(
                f"{self._settings.root / 'engine.json'} is damaged: "
                f"`make {self._topology.week} down` first"
            ) from error
        if asked := self._settings.environ.get("SUBNET"):
            chosen["subnet"] = networks.parse(asked)
        return model.digest_of(self._models(chosen)[1])

    def _models(self, chosen: Mapping[str, Any]) -> tuple[Model, Model]:
        """What the files say, and what runs."""
        environment = self._environment(str(chosen["subnet"]))
        resolved = self._resolved(bool(chosen["offline"]), environment)
        ways = self._ways(model.addresses(resolved, self._site))
        if ways:
            resolved = self._resolved(bool(chosen["offline"]), {**environment, **ways})
        return resolved, model.sealed(model.complete(resolved, self._instance))

    @property
    def _instance(self) -> Instance:
        return Instance(
            project=self.name,
            topology=self._topology,
            site=self._site,
            user=_user_of(self._settings.account),
            owner=self._settings.owner,
        )

    def _resolved(self, offline: bool, environment: Mapping[str, str]) -> Model:
        folder = self._settings.folder
        names = [FILE, OFFLINE_FILE] if offline else [FILE]
        for name in names:
            if not (folder / name).is_file():
                raise LabError(f"{self._topology.week} has no {name}: it runs on ENGINE=local")
        files = [word for name in names for word in ("--file", folder / name)]
        profiles: list[str | Path] = []
        if self._topology.faults is not None and self._proxied:
            profiles = ["--profile", self._topology.faults.name]
        found: Model = docker.ask_json(
            f"reading {self._topology.week}'s compose.yaml",
            *("compose", "--project-directory", folder, "--project-name", self.name),
            *files,
            *profiles,
            *("config", "--format", "json"),
            env=environment,
        )
        return found

    @property
    def _proxied(self) -> bool:
        proxy = self._topology.faults
        return proxy is not None and proxy.name in self._topology.names

    def _environment(self, subnet: str) -> dict[str, str]:
        """The variables that the files ask for."""
        ports = {port_variable(name): str(port) for name, port in self._site.ports.items()}
        secrets = {name.upper(): value for name, value in self._site.secrets.items()}
        return {**ports, **secrets, **({"SUBNET": subnet} if subnet else {})}

    def _ways(self, addresses: Mapping[str, str]) -> dict[str, str]:
        """Where services are reached by way of the fault proxy."""
        proxy = self._topology.faults
        if proxy is None or not self._proxied:
            return {}
        return {
            f"VIA_{link.to.upper().replace('-', '_')}": addresses[link_to(link.to)]
            for link in proxy.links
            if link_to(link.to) in addresses
        }

    # Images and containers

    async def build(self, report: Report) -> None:
        """The stand-ins where they are asked for, and the week's own image; from the cache where
        nothing has changed."""

        def told(text: str) -> None:
            lines = [line for line in text.splitlines() if line.strip()]
            if lines:
                words = lines[-1].removeprefix("images:").split()
                report(Event("images", " ".join(words)[:TOLD_MAX_CHARS]))

        if self._offline:
            checks = ("--checks",) if model.has_checks(self._model) else ()
            words: tuple[str, ...] = ("--week", self._settings.images_of, *checks)
            await docker.follow(
                "building the stand-ins",
                ("-m", "infra.images.offline", "build", *words),
                told,
                program=(sys.executable,),
            )
        elif built := model.built(self._model):
            words = ("build", "--progress", "plain", *built)
            await docker.follow("building the week's image", (*self._compose, *words), told)
        report(Event("images", "are there", done=True))

    async def create(self, report: Report) -> None:
        """Network, volumes and containers, none of them started; images are pulled for it."""
        report(Event("", "creating containers"))
        for attempt in range(ATTEMPTS):
            try:
                await docker.tell("creating containers", *self._compose, "create", "--no-build")
                return
            except LabError as error:
                again = messages.is_overlap(error) and self._settings.owner is not None
                if not again or "SUBNET" in self._settings.environ or attempt == ATTEMPTS - 1:
                    raise
                subnet = networks.choose(networks.taken())
                self._write({"offline": self._offline, "subnet": subnet})

    @property
    def _compose(self) -> tuple[str | Path, ...]:
        return ("compose", "--project-name", self.name, "--file", self._file)

    @property
    def _offline(self) -> bool:
        return bool(json.loads((self._settings.root / "engine.json").read_text())["offline"])

    @property
    def _model(self) -> Model:
        found: Model = json.loads(self._file.read_text())
        return found

    def container_ids(self) -> list[str]:
        """All containers of the project, running or not."""
        return _ids(self.name, "container", "ls", "--all")

    def is_there(self) -> bool:
        """Whether it has containers or a network."""
        return bool(self.container_ids() or _ids(self.name, "network", "ls"))

    async def remove_containers(self) -> None:
        """And the network; the named volumes stay."""
        if ids := self.container_ids():
            await docker.tell(
                "removing containers", "container", "rm", "--force", "--volumes", *ids
            )
        if ids := _ids(self.name, "network", "ls"):
            await docker.tell("removing the network", "network", "rm", *ids)

    def remove_volumes(self) -> None:
        """The data that containers kept to themselves."""
        if ids := _ids(self.name, "volume", "ls"):
            docker.ask("removing volumes", "volume", "rm", *ids)


def _ids(project: str, *words: str) -> list[str]:
    label = f"label={PROJECT_LABEL}={project}"
    return docker.ask("asking Docker", *words, "--quiet", "--filter", label).split()


def _user_of(account: Account | None) -> str:
    """`uid:gid` of the containers whose files this machine's user reads."""
    if account is not None:
        return f"{account.uid}:{account.gid}"
    return f"{os.getuid()}:{os.getgid()}"
