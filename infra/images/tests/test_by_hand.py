"""`docker compose up` in a week's folder, as people type it, and the images that it runs on."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from infra.bootstrap import clone_root, lab_home
from infra.images import docker, offline, plan
from infra.lab import weeks
from infra.lab.engines.compose import networks
from infra.lab.engines.local.ports import free_ports
from infra.lab.errors import LabError
from infra.lab.topology import port_variable

pytestmark = [pytest.mark.compose, pytest.mark.slow, pytest.mark.timeout(900)]

CLONE = clone_root()
BUILT = ("week01", "week04")
UP_TIMEOUT_S = 300
COUNTED_WITHIN_S = 30
SERVICE_MAX_BYTES = 300 * 1024 * 1024


@pytest.fixture(scope="module", autouse=True)
def images() -> None:
    """All of them, from Docker's cache where nothing has changed."""
    try:
        docker.check_builder()
    except LabError as error:
        pytest.skip(str(error))
    offline.build(CLONE, lab_home(), BUILT, lambda text: None)


def _docker(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=False)


class ByHand:
    """A week's folder under a project name, ports and secrets of its own."""

    def __init__(self, week: str, folder: Path, more: str, profile: str) -> None:
        topology = weeks.topology(CLONE, week)
        whole = topology.with_faults() if topology.faults else topology
        names = sorted(whole.ports({}))
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        lines = [f"{port_variable(name)}={port}" for name, port in self.ports.items()]
        lines += [f"{name.upper()}={secrets.token_hex(24)}" for name in topology.all_secrets]
        lines += [f"SUBNET={networks.choose(networks.taken())}", more]
        (folder / "env").write_text("\n".join(lines))
        self.project = f"byhand-{uuid.uuid4().hex[:8]}"
        self._profile = ("--profile", profile) if profile else ()
        self._env = str(folder / "env")
        self._week = CLONE / weeks.packages(CLONE)[week]

    def compose(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`docker compose WORDS` in the week's folder."""
        command = [
            *("docker", "compose", "-p", self.project, "--env-file", self._env, *self._profile),
            *("-f", "compose.yaml", "-f", "compose.offline.yaml", *words),
        ]
        # As from a fresh shell: nothing of the lab's, but whichever Docker this user has.
        environ = {
            name: value
            for name, value in os.environ.items()
            if name in ("PATH", "HOME") or name.startswith("DOCKER_")
        }
        return subprocess.run(
            command,
            cwd=self._week,
            env=environ,
            capture_output=True,
            text=True,
            timeout=UP_TIMEOUT_S,
            check=False,
        )

    def up(self) -> None:
        done = self.compose("up", "--detach", "--wait", "--no-build")
        assert done.returncode == 0, f"{done.stderr}\n{self.compose('logs', '--tail=20').stdout}"

    def states(self) -> dict[str, tuple[str, int]]:
        """By service: healthy, or how it ended; and how often it was started again."""
        ids = _docker("ps", "-aq", "--filter", f"label=com.docker.compose.project={self.project}")
        found = json.loads(_docker("inspect", *ids.stdout.split()).stdout or "[]")
        return {
            one["Config"]["Labels"]["com.docker.compose.service"]: (
                str((one["State"].get("Health") or {}).get("Status"))
                if one["State"]["Status"] == "running"
                else f"exited {one['State']['ExitCode']}",
                one["RestartCount"],
            )
            for one in found
        }

    def down(self) -> None:
        done = self.compose("down", "--volumes", "--timeout", "10")
        assert done.returncode == 0, done.stderr
        for kind in ("container", "volume", "network"):
            left = _docker(
                *(kind, "ls", *(("--all",) if kind == "container" else ()), "--quiet"),
                *("--filter", f"label=com.docker.compose.project={self.project}"),
            )
            assert left.stdout == "", f"{kind} left: {left.stdout}"


def _ask(url: str, body: Mapping[str, object] | None = None) -> tuple[int, str, str]:
    """Status, body and Location of one request; redirects are not followed."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = HTTPConnection(parts.hostname, parts.port, timeout=20)
    try:
        if body is None:
            connection.request("GET", parts.path)
        else:
            told = {"content-type": "application/json"}
            connection.request("POST", parts.path, json.dumps(body), told)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer.getheader("Location", "")
    finally:
        connection.close()


@pytest.fixture
def hand(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ByHand]:
    week, more, profile = request.param
    found = ByHand(week, tmp_path, more, profile)
    try:
        found.up()
        yield found
    finally:
        found.down()


VIA = "VIA_POSTGRES=faults:8411\nVIA_VALKEY=faults:8412\nVIA_KAFKA=faults:8413\n"


@pytest.mark.parametrize(
    "hand",
    [("week04", "", ""), ("week04", VIA, "faults")],
    indirect=True,
    ids=["direct", "through faults"],
)
def test_week_4_makes_a_link_follows_it_and_counts_the_click(hand: ByHand) -> None:
    front = f"http://127.0.0.1:{hand.ports['nginx']}"
    status, answer, _ = _ask(f"{front}/shorten", {"url": "https://example.org/a"})
    assert status == 201
    code = json.loads(answer)["code"]
    assert _ask(f"{front}/{code}")[::2] == (302, "https://example.org/a")
    clicks = 0
    deadline_s = time.monotonic() + COUNTED_WITHIN_S
    while clicks == 0 and time.monotonic() < deadline_s:
        clicks = json.loads(_ask(f"{front}/stats/{code}")[1])["clicks"]
        time.sleep(0.2)
    assert clicks == 1
    states = hand.states()
    assert states.pop("setup") == ("exited 0", 0)
    assert {*states.values()} == {("healthy", 0)}
    if "faults" in states:
        proxies = json.loads(_ask(f"http://127.0.0.1:{hand.ports['faults']}/proxies")[1])
        assert set(proxies) == {"to-postgres", "to-valkey", "to-kafka"}
        # The way leads through it: without this link no link can be made.
        off = f"http://127.0.0.1:{hand.ports['faults']}/proxies/to-postgres"
        assert _ask(off, {"enabled": False})[0] == 200
        assert _ask(f"{front}/shorten", {"url": "https://example.org/b"})[0] == 503


@pytest.mark.parametrize("hand", [("week01", "", "")], indirect=True, ids=["direct"])
def test_week_1_answers_and_what_dies_inside_comes_back(hand: ByHand) -> None:
    for name in ("web", "raw", "app", "nginx"):
        assert _ask(f"http://127.0.0.1:{hand.ports[name]}/")[0] == 200
    assert "http_workers 1.0" in _ask(f"http://127.0.0.1:{hand.ports['web-metrics']}/metrics")[1]
    hand.compose("exec", "raw", "sh", "-c", "kill -9 -1")
    deadline_s = time.monotonic() + COUNTED_WITHIN_S
    while hand.states()["raw"][1] == 0 and time.monotonic() < deadline_s:
        time.sleep(0.1)
    assert hand.states()["raw"][1] == 1


@pytest.mark.parametrize("week", BUILT)
def test_a_service_image_is_small_and_holds_no_more_than_it_runs(week: str) -> None:
    image = offline.service_image(week)
    assert int(_docker("image", "inspect", "-f", "{{.Size}}", image).stdout) < SERVICE_MAX_BYTES
    look = (
        "id -u; ls -d /opt/venv/bin/pip* /opt/app/week*/tests /opt/app/week*/checks; touch /opt/x"
    )
    done = _docker("run", "--rm", "--entrypoint", "sh", image, "-c", look)
    assert done.stdout.split() == ["10001"]
    assert "touch: cannot touch" in done.stderr
    modules = "import infra.service.healthcheck, infra.lab.faults.proxy, week01_http_server.server"
    assert _docker("run", "--rm", "--read-only", image, "-c", modules).returncode == 0


@pytest.fixture
def container() -> Iterator[str]:
    name = f"byhand-{uuid.uuid4().hex[:8]}"
    yield name
    _docker("rm", "--force", "--volumes", name)


def _wait_for(name: str, *words: str) -> str:
    deadline_s = time.monotonic() + COUNTED_WITHIN_S
    while (done := _docker("exec", name, *words)).returncode != 0:
        assert time.monotonic() < deadline_s, _docker("logs", name).stderr
        time.sleep(0.2)
    return done.stdout.strip()


@pytest.mark.parametrize("user", ["0:0", "999:999", "12345:12345"])
def test_postgres_under_any_user_keeps_its_data(container: str, user: str) -> None:
    image = plan.standins(CLONE)["postgres"].image
    owner = "999" if user.startswith("0") else user.split(":")[0]
    words = ("--user", user, "-e", "POSTGRES_PASSWORD=x")
    assert _docker("run", "-d", "--name", container, *words, image).returncode == 0
    # As another container would: the image believes those who are in it themselves.
    ask = "psql -h $(hostname -i) -U postgres -Atc"
    _wait_for(container, "sh", "-c", f"PGPASSWORD=x {ask} 'CREATE TABLE kept ()'")
    asked = _docker("exec", container, "sh", "-c", f"PGPASSWORD=y {ask} 'SELECT 1'")
    assert "password authentication failed" in asked.stderr
    assert _wait_for(container, "stat", "-c", "%u", "/proc/1") == owner
    _docker("restart", container)
    counted = f"PGPASSWORD=x {ask} \"SELECT count(*) FROM pg_tables WHERE tablename = 'kept'\""
    assert _wait_for(container, "sh", "-c", counted) == "1"


@pytest.mark.parametrize(
    ("server", "words", "line"),
    [
        ("postgres", (), r"POSTGRES_PASSWORD is missing"),
        ("kafka", (), r"set KAFKA_PROCESS_ROLES"),
        ("toxiproxy", ("-proxy-metrics",), r"-proxy-metrics: it has -host"),
    ],
)
def test_a_stand_in_that_cannot_start_says_one_line(
    server: str, words: tuple[str, ...], line: str
) -> None:
    done = _docker("run", "--rm", plan.standins(CLONE)[server].image, *words)
    assert done.returncode == 1
    assert re.search(line, done.stderr) and done.stderr.count("\n") == 1
