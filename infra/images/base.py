"""The image under all stand-ins: Debian 13 with Python, made by mmdebstrap from Debian's archive.

It stands for python:3.13-slim-trixie, and holds what the other stand-ins need of Debian: one run of
apt, one layer for all. This host's own certificate authorities come along, because what the builds
fetch comes through the same network as on this host.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from infra.images import docker
from infra.lab.servers.base import Progress

IMAGE = "scaling-lab/standin-python:3.13"
SUITE = "trixie"
PACKAGES = (
    "ca-certificates",
    "curl",  # in upstream's nginx: its health check asks by it
    "libnss-wrapper",  # a name for PostgreSQL's user, whichever it is
    "python3",
    "python3-venv",
    "valkey-tools",  # valkey-cli
)
AUTHORITIES = Path("/usr/local/share/ca-certificates")
"""Where an administrator puts more of them (update-ca-certificates(8))."""

# Slim as Debian's own slim images are, but for the licences.
_LEFT_OUT = (
    *("path-exclude=/usr/share/doc/*", "path-include=/usr/share/doc/*/copyright"),
    *("path-exclude=/usr/share/man/*", "path-exclude=/usr/share/info/*"),
    "path-exclude=/usr/share/locale/*",
)
_CHANGES = ("ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt", 'CMD ["python3"]')


def command(target: Path, authorities: list[Path]) -> list[str]:
    """The words of mmdebstrap(1) that write the root file system to `target`."""
    hooks = [f"copy-in {path} {AUTHORITIES}" for path in authorities]
    hooks += ['chroot "$1" update-ca-certificates'] if authorities else []
    # Of valkey-tools; upstream's images have their users under other numbers.
    hooks += ['chroot "$1" userdel valkey']
    hooks += ['rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/*']
    return [
        *("mmdebstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}"),
        *(f"--dpkgopt={option}" for option in _LEFT_OUT),
        *(f"--customize-hook={hook}" for hook in hooks),
        *(SUITE, str(target)),
    ]


def inputs(authorities: list[Path]) -> str:
    """Digest of all that the image is made from, Debian's archive aside."""
    digest = hashlib.sha256(repr((command(Path("x"), authorities), _CHANGES)).encode())
    for path in authorities:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def make(log: Path, report: Progress) -> None:
    """Make it, unless the one that is there was made from the same. Raises LabError."""
    authorities = sorted(AUTHORITIES.glob("*.crt"))
    made_from = inputs(authorities)
    if docker.image_label(IMAGE, docker.INPUTS_LABEL) == made_from:
        return
    docker.require("mmdebstrap", "mmdebstrap")
    report(f"Debian {SUITE} with Python from Debian's archive, about half a minute")
    with tempfile.TemporaryDirectory(prefix="scaling-lab-") as folder:
        target = Path(folder) / "base.tar"
        docker.run(command(target, authorities), "mmdebstrap", log, report, os.environ)
        labels = (f"LABEL {docker.MADE_BY}", f"LABEL {docker.INPUTS_LABEL}={made_from}")
        changes = [word for change in (*_CHANGES, *labels) for word in ("--change", change)]
        importing = ["docker", "import", *changes, str(target), IMAGE]
        docker.run(importing, f"importing {IMAGE}", log, report, os.environ)
