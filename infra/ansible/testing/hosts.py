"""Test hosts: containers that boot systemd, on a network of their own, as an Ansible inventory.

    python -m infra.ansible.testing.hosts up [--run NAME] GROUP=COUNT...
    python -m infra.ansible.testing.hosts down [--run NAME]
    python -m infra.ansible.testing.hosts forget

`up app=2 edge=1` makes app1, app2 and edge1 in groups of these names and prints the inventory's
path; a host may be in several groups: `up db+cache=1` makes one host, db1, in both. Nothing is
published: the hosts are reached by the addresses of their bridge, from this machine alone. `down`
removes the containers and the network of that run, known by their label, and the inventory;
`forget` removes the image too.

In the inventory each host has `private_address`; `private_network` is the range of all of them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.ansible.testing import image
from infra.ansible.testing.docker import HostsError, docker, usable
from infra.bootstrap import lab_home

LABEL = "scaling-lab.testing-run"
BOOT_TIMEOUT_S = 60.0
POLL_S = 0.2
MAX_HOSTS = 12
_GROUPS = re.compile(r"([a-z][a-z0-9_]*(?:[+][a-z][a-z0-9_]*)*)=([0-9]{1,2})")
_RUN = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
# For systemd's mounts and its units' sandboxes, and for the firewall's rules. Docker's profile for
# AppArmor, where there is that, forbids mounts to whom the capability allows them.
RIGHTS = (
    *("--cap-add=SYS_ADMIN", "--cap-add=NET_ADMIN"),
    "--security-opt=apparmor=unconfined",
)
# PID 1 must write to its cgroups, which docker mounts read-only where there is only cgroup v2; with
# v1 the mount has another type, and systemd writes to the writable unified hierarchy beside it.
BOOT = """
[ "$(stat -f -c %T /sys/fs/cgroup)" != cgroup2fs ] || mount -o remount,rw /sys/fs/cgroup
ssh-keygen -A >/dev/null
exec /sbin/init
"""


@dataclass(frozen=True)
class Host:
    """One machine.

    Attributes:
        name: in the inventory, like app1.
        groups: of the inventory.
        container: docker's name for it.
        address: on the run's own network.
    """

    name: str
    groups: tuple[str, ...]
    container: str
    address: str


@dataclass(frozen=True)
class Run:
    """Some hosts and their network.

    Attributes:
        name: of the run; containers and network are called scaling-lab-NAME...
        network: range of the hosts' addresses, like 172.18.0.0/16.
        inventory: file for `ansible-playbook -i`.
    """

    name: str
    network: str
    hosts: tuple[Host, ...]
    inventory: Path

    def host(self, name: str) -> Host:
        """Raises KeyError for a name that no host has."""
        return {host.name: host for host in self.hosts}[name]


def parse(words: Sequence[str]) -> list[tuple[str, tuple[str, ...]]]:
    """(host name, groups) for words like app=2. Raises HostsError for other words."""
    wanted: list[tuple[str, tuple[str, ...]]] = []
    for word in words:
        found = _GROUPS.fullmatch(word)
        if not found or not int(found[2]):
            raise HostsError(f"{word!r} is not GROUP=COUNT, like app=2 or db+cache=1")
        groups = tuple(found[1].split("+"))
        wanted += [(f"{groups[0]}{number}", groups) for number in range(1, int(found[2]) + 1)]
    names = [name for name, _ in wanted]
    if len(set(names)) != len(names):
        raise HostsError("two hosts would have the same name: begin each word with another group")
    if not 1 <= len(wanted) <= MAX_HOSTS:
        raise HostsError(f"{len(wanted)} hosts: it must be 1 to {MAX_HOSTS}")
    return wanted


def up(run: str, words: Sequence[str]) -> Run:
    """Make the hosts and wait until systemd has started all of them.

    Raises HostsError, and leaves nothing behind then, when that cannot be done.
    """
    wanted = parse(words)
    if not _RUN.fullmatch(run):
        raise HostsError(f"{run!r} is no name for a run: a-z, 0-9 and -, at most 31")
    if _containers(run) or _networks(run):
        raise HostsError(f"hosts of the run {run} exist: take them down first, or choose --run")
    if image.ensure():
        _say(f"built {image.IMAGE}")
    try:
        return _make(run, wanted)
    except BaseException:
        down(run)
        raise


def down(run: str) -> bool:
    """Remove what `up` made under that name; whether there was anything."""
    containers, networks = _containers(run), _networks(run)
    if containers:
        docker("rm", "--force", "--volumes", *containers)
    if networks:
        docker("network", "rm", *networks)
    folder = _folder(run)
    shutil.rmtree(folder, ignore_errors=True)
    return bool(containers or networks)


@contextlib.contextmanager
def hosts(run: str, *words: str) -> Iterator[Run]:
    """Hosts for the time of a `with`, for example `hosts("week01", "web=1")`."""
    made = up(run, words)
    try:
        yield made
    finally:
        down(run)


def _make(run: str, wanted: list[tuple[str, tuple[str, ...]]]) -> Run:
    prefix, label = f"scaling-lab-{run}", f"{LABEL}={run}"
    docker("network", "create", "--label", label, prefix)
    network = docker("network", "inspect", "-f", "{{(index .IPAM.Config 0).Subnet}}", prefix)
    for name, _ in wanted:
        docker(
            *("run", "--detach", "--name", f"{prefix}-{name}", "--hostname", name),
            *("--label", label, "--network", prefix, "--network-alias", name, *RIGHTS),
            *("--tmpfs", "/run", "--tmpfs", "/tmp", "--stop-signal", "SIGRTMIN+3"),
            *(image.IMAGE, "sh", "-c", BOOT),
        )
    made = tuple(
        Host(name, groups, f"{prefix}-{name}", _address(f"{prefix}-{name}", prefix))
        for name, groups in wanted
    )
    for host in made:
        _wait_until_booted(host)
    folder = _folder(run)
    folder.mkdir(parents=True, exist_ok=True)
    inventory = folder / "inventory.json"
    inventory.write_text(json.dumps(_inventory(made, network), indent=2) + "\n", encoding="utf-8")
    return Run(run, network, made, inventory)


def _inventory(made: Sequence[Host], network: str) -> dict[str, object]:
    """As Ansible's YAML plugin reads it; JSON is YAML."""
    groups: dict[str, dict[str, dict[str, None]]] = {}
    for host in made:
        for group in host.groups:
            groups.setdefault(group, {"hosts": {}})["hosts"][host.name] = None
    return {
        "all": {
            "hosts": {
                host.name: {
                    "ansible_host": host.container,
                    "private_address": host.address,
                    "lab_address": host.address,  # where this machine reaches it
                }
                for host in made
            },
            "children": groups,
            "vars": {
                "ansible_connection": "community.docker.docker",
                "ansible_python_interpreter": "/usr/bin/python3",
                "private_network": network,
            },
        }
    }


def _wait_until_booted(host: Host) -> None:
    """Until systemd says that it has started everything. Raises HostsError when a unit failed."""
    deadline_s = time.monotonic() + BOOT_TIMEOUT_S
    ask = "systemctl is-system-running || true"
    while (state := docker("exec", host.container, "sh", "-c", ask)) != "running":
        if state == "degraded":
            failed = docker("exec", host.container, "systemctl", "--failed", "--plain", "-q")
            raise HostsError(f"{host.name} started without {failed.split()[0]}")
        if time.monotonic() > deadline_s:
            raise HostsError(
                f"{host.name} is {state or 'silent'} after {BOOT_TIMEOUT_S:g} s:"
                " this docker cannot run systemd in a container"
            )
        time.sleep(POLL_S)


def _address(container: str, network: str) -> str:
    template = f'{{{{(index .NetworkSettings.Networks "{network}").IPAddress}}}}'
    return docker("inspect", "-f", template, container)


def _containers(run: str) -> list[str]:
    return docker("ps", "--all", "--quiet", "--filter", f"label={LABEL}={run}").split()


def _networks(run: str) -> list[str]:
    return docker("network", "ls", "--quiet", "--filter", f"label={LABEL}={run}").split()


def _folder(run: str) -> Path:
    return lab_home() / "ansible-testing" / run


def _say(text: str) -> None:
    print(f"hosts: {text}", file=sys.stderr)


def main(arguments: Sequence[str]) -> int:
    """Entry point; returns the exit status, 2 for wrong words."""
    parser = argparse.ArgumentParser(prog="python -m infra.ansible.testing.hosts")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, help_text in (("up", "make hosts"), ("down", "remove them"), ("forget", "the image")):
        one = verbs.add_parser(verb, help=help_text)
        one.add_argument("--run", default="hosts", help="name of these hosts (default: hosts)")
        if verb == "up":
            one.add_argument("wanted", nargs="+", metavar="GROUP=COUNT")
    words = parser.parse_args(arguments)
    try:
        why_not = usable()
        if why_not:
            raise HostsError(why_not)
        if words.verb == "up":
            made = up(words.run, words.wanted)
            for host in made.hosts:
                _say(f"{host.name} at {host.address} in {', '.join(host.groups)}")
            print(made.inventory)
        elif words.verb == "down":
            _say("removed" if down(words.run) else f"there are no hosts of the run {words.run}")
        else:
            _say("removed" if image.remove() else f"there is no image {image.IMAGE}")
    except HostsError as error:
        _say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
