"""The image of a test host: Debian 13 as a freshly rented VM has it, systemd first of all.

Made from Debian's own packages by mmdebstrap, so no image registry is asked. It is rebuilt when its
recipe changes, which a label of the image tells.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from infra.ansible.testing.docker import IMPORT_TIMEOUT_S, HostsError, docker

IMAGE = "scaling-lab/testing-host:trixie"
LABEL = "scaling-lab.recipe"
SUITE = "trixie"
PACKAGES = (
    "ca-certificates",
    "dbus",
    "iproute2",
    "openssh-server",  # what hardening is about; nobody logs in here
    "python3",  # Ansible's modules are run by it
    "systemd",
    "systemd-sysv",
)
DROP_IN = "etc/systemd/system/service.d/no-user-namespaces.conf"
"""Some of Debian's units ask for a user namespace (Valkey's), which a container may not make."""
CERTIFICATES = Path("/usr/local/share/ca-certificates")
"""Authorities this machine trusts beside Debian's: a host behind the same proxy needs them too."""
BUILD_TIMEOUT_S = 600.0


def ensure() -> bool:
    """Build the image unless it is there, made by this recipe. Whether it was built.

    Raises HostsError when it cannot be.
    """
    recipe = _recipe()
    template = f'{{{{index .Config.Labels "{LABEL}"}}}}'
    if docker("images", "--quiet", IMAGE) and docker("inspect", "-f", template, IMAGE) == recipe:
        return False
    with tempfile.TemporaryDirectory(prefix="testing-host-") as folder:
        archive = Path(folder, "root.tar")
        _bootstrap(archive)
        change = ("--change", f"LABEL {LABEL}={recipe}", "--change", 'CMD ["/sbin/init"]')
        docker("import", *change, str(archive), IMAGE, timeout_s=IMPORT_TIMEOUT_S)
    return True


def remove() -> bool:
    """Remove the image; whether there was one."""
    if not docker("images", "--quiet", IMAGE):
        return False
    docker("rmi", IMAGE)
    return True


def _command(archive: Path) -> list[str]:
    hooks = [
        # Each host makes keys of its own when it starts.
        '--customize-hook=rm -f "$1"/etc/ssh/ssh_host_*_key*',
        f'--customize-hook=install -d "$1/{Path(DROP_IN).parent}"',
        f'--customize-hook=printf "[Service]\\nPrivateUsers=no\\n" >"$1/{DROP_IN}"',
    ]
    if any(CERTIFICATES.glob("*.crt")):
        hooks += [
            f"--customize-hook=copy-in {CERTIFICATES} {CERTIFICATES.parent}",
            '--customize-hook=chroot "$1" update-ca-certificates',
        ]
    packages = f"--include={','.join(PACKAGES)}"
    return ["mmdebstrap", "--quiet", "--variant=minbase", packages, *hooks, SUITE, str(archive)]


def _recipe() -> str:
    """Digest of all that goes into the image by our choice."""
    digest = hashlib.sha256("\0".join(_command(Path("root.tar"))).encode())
    for path in sorted(CERTIFICATES.glob("*.crt")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _bootstrap(archive: Path) -> None:
    if shutil.which("mmdebstrap") is None:
        raise HostsError("there is no mmdebstrap here: apt install mmdebstrap")
    try:
        done = subprocess.run(
            _command(archive),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=BUILD_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise HostsError(f"mmdebstrap took more than {BUILD_TIMEOUT_S:g} s") from None
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.startswith("E:")]
        raise HostsError(f"mmdebstrap: {lines[0] if lines else 'failed without a word'}")
