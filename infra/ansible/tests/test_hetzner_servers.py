"""The playbooks that make and remove servers, against a stand-in of the API."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from infra.ansible import environment
from infra.ansible.tests.hetzner_api import TOKEN, Project, serving
from infra.bootstrap import clone_root

pytestmark = [pytest.mark.ansible, pytest.mark.timeout(300)]

PLAYBOOKS = clone_root() / "infra" / "ansible" / "hetzner"
CREATE, DESTROY = PLAYBOOKS / "create.yml", PLAYBOOKS / "destroy.yml"
PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJmAbZhBnpBvFQ3mFaNs3cJ4Qm8bUY4J4dEwPIyzTvLn me"
YES = {"week": "week04", "yes": 1}
SERVERS = ["week04-app", "week04-data", "week04-edge"]


@pytest.fixture(scope="session")
def collections(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where a collection lies that understands the API: '' where Ansible itself brings it.

    The newest Ansible for Python 3.11 does not. The lock has the newer one, too, by hash.
    """
    environment.ensure()
    if sys.version_info >= (3, 12):
        return ""
    root = tmp_path_factory.mktemp("collections")
    lock = (clone_root() / "locks" / "ansible.txt").read_text()
    [entry] = [
        entry
        for entry in lock.replace("\\\n", " ").splitlines()
        if entry.startswith("ansible==") and ">= '3.12'" in entry
    ]
    pinned, _, hashes = entry.partition(";")
    wanted = root / "wanted.txt"
    wanted.write_text(f"{pinned} {hashes[hashes.index('--hash') :]}\n")
    command = [str(environment.folder() / "bin" / "python"), "-m", "pip", "download", "--quiet"]
    command += ["--require-hashes", "--no-deps", "--only-binary", ":all:"]
    command += ["--python-version", "3.12", "--dest", str(root), "-r", str(wanted)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"the collection cannot be fetched: {done.stderr.strip()[-200:]}")
    [wheel] = root.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        mine = [n for n in archive.namelist() if n.startswith("ansible_collections/hetzner/")]
        archive.extractall(root, mine)
    wheel.unlink()
    return str(root)


class Ansible:
    """Runs playbooks against one project."""

    def __init__(self, project: Project, environ: Mapping[str, str], key: Path) -> None:
        self.project, self.environ, self._key = project, environ, key

    def run(self, playbook: Path, *words: str, **extra: object) -> subprocess.CompletedProcess[str]:
        given = {
            "hetzner_ssh_sources": ["203.0.113.7/32"],
            "hetzner_ssh_public_key_file": str(self._key),
            # The servers' address is loopback's: the stand-in itself takes the place of sshd.
            "hetzner_ssh_port": self.environ["HCLOUD_ENDPOINT"].split(":")[2].split("/")[0],
            **extra,
        }
        command = ["ansible-playbook", str(playbook), "-e", json.dumps(given), *words]
        return subprocess.run(
            command, env=dict(self.environ), capture_output=True, text=True, check=False
        )

    def inventory(self) -> dict[str, Any]:
        """What the API tells of week 4's servers, as Ansible reads it."""
        words = ["ansible-inventory", "-i", str(PLAYBOOKS / "week04" / "hcloud.yml"), "--list"]
        done = subprocess.run(words, env=dict(self.environ), capture_output=True, check=True)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def changes(self) -> list[tuple[str, str]]:
        return [request for request in self.project.requests if request[0] != "GET"]


@pytest.fixture
def ansible(collections: str, tmp_path: Path) -> Iterator[Ansible]:
    key = tmp_path / "key.pub"
    key.write_text(PUBLIC_KEY + "\n")
    project = Project()
    with serving(project) as endpoint:
        environ = environment.variables(environment.folder() / "bin") | {
            "HCLOUD_TOKEN": TOKEN,
            "HCLOUD_ENDPOINT": endpoint,
            "ANSIBLE_COLLECTIONS_PATH": collections,
            "ANSIBLE_HOME": str(tmp_path / "home"),
            "ANSIBLE_CONFIG": str(PLAYBOOKS / "ansible.cfg"),
        }
        environ = {name: value for name, value in environ.items() if value}
        yield Ansible(project, environ, key)


def said(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join((done.stdout + done.stderr).split())


def test_a_check_says_what_would_be_made_and_its_price_and_makes_nothing(ansible: Ansible) -> None:
    done = ansible.run(CREATE, "--check", week="week04")
    assert done.returncode == 0, said(done)
    assert "server week04-edge (edge): cx23 in fsn1 with an IPv4 address, 0.0120 EUR" in said(done)
    assert "in all: 0.0360 EUR per hour, VAT included" in said(done)
    assert "SSH in from 203.0.113.7/32 and port 8400 of the edge from everywhere" in said(done)
    assert ansible.project.requests and ansible.changes() == []


def test_nothing_is_made_without_a_yes(ansible: Ansible) -> None:
    done = ansible.run(CREATE, week="week04")
    assert done.returncode != 0 and "Nothing was created: repeat it with -e yes=1" in said(done)
    assert "in all: 0.0360 EUR per hour" in said(done)
    assert ansible.changes() == []


def test_what_is_made_is_found_by_the_inventory_and_removed_again(ansible: Ansible) -> None:
    project = ansible.project
    project.make_network({"name": "somebody-elses", "ip_range": "10.0.0.0/8"})
    other = {"managed_by": "scaling-lab", "week": "week01", "groups": "edge"}
    project.make_server({"name": "week01-web", "labels": other})

    done = ansible.run(CREATE, **YES)
    assert done.returncode == 0, said(done)
    assert project.names("servers") == ["week01-web", *SERVERS]
    walls = {wall["id"]: wall["name"] for wall in project.held["firewalls"].values()}
    behind = {
        server["name"]: sorted(walls[w["id"]] for w in server["public_net"]["firewalls"])
        for server in project.held["servers"].values()
    }
    assert behind["week04-edge"] == ["scaling-lab-week04", "scaling-lab-week04-public"]
    assert behind["week04-data"] == ["scaling-lab-week04"]

    found = ansible.inventory()
    assert found["edge"]["hosts"] == ["week04-edge"] and found["db"]["hosts"] == ["week04-data"]
    assert found["hcloud"]["hosts"] == ["week04-data", "week04-app", "week04-edge"]
    address = found["_meta"]["hostvars"]["week04-data"]["private_address"]
    assert address in ("10.84.1.2", {"__ansible_unsafe": "10.84.1.2"})

    made = ansible.changes()
    again = ansible.run(CREATE, **YES)
    assert again.returncode == 0 and "changed=0" in said(again), said(again)
    asked = ansible.run(DESTROY, week="week04")
    assert asked.returncode != 0 and "nothing was removed" in said(asked)
    assert "server: week04-data, week04-app, week04-edge" in said(asked)
    assert ansible.changes() == made

    done = ansible.run(DESTROY, **YES)
    assert done.returncode == 0, said(done)
    assert project.names("servers") == ["week01-web"]
    assert project.names("networks") == ["somebody-elses"]
    assert not project.held["firewalls"] and not project.held["ssh_keys"]


@pytest.mark.parametrize(
    ("environ", "extra", "line"),
    [
        ({"HCLOUD_TOKEN": ""}, {"week": "week04"}, "HCLOUD_TOKEN is not set: make a token"),
        ({"HCLOUD_TOKEN": "old"}, {"week": "week04"}, "refuses the token in HCLOUD_TOKEN"),
        ({}, {}, "which week? -e week=NAME (make: WEEK=NAME), where"),
        ({}, {"week": "week04", "hetzner_ssh_sources": []}, "nobody could log in"),
    ],
)
def test_what_is_missing_is_one_clear_line(
    ansible: Ansible, environ: dict[str, str], extra: dict[str, object], line: str
) -> None:
    ansible.environ = {**ansible.environ, **environ}
    done = ansible.run(CREATE, **extra)
    assert done.returncode != 0 and line in said(done)
    assert ansible.changes() == []
