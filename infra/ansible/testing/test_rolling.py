"""A new release while clients ask, and back: no request fails. The control: it does without care.

The replicas run week 1's small app. Its releases are commits of a clone made for the test.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from benchmarks.client import Plan, Request, Result, Target, run
from infra.ansible.testing.docker import docker, usable
from infra.ansible.testing.hosts import Run, hosts
from infra.ansible.testing.playbooks import Played, play, play_beside
from infra.bootstrap import clone_root

pytestmark = [pytest.mark.ansible, pytest.mark.timeout(1500)]

T = TypeVar("T")

PLAYBOOKS = Path(__file__).parent / "rolling"
PORT = 9000
RATE_PER_S = 60.0
MOST_S = 600.0
ALONE_S = 1.0
UNITS = ("replica1", "replica2")
DEMO = Path("week01_http_server", "demo.py")
FIRST_CASE = '        case "/":\n'
NEW_CASE = '        case "/release":\n            await _answer(send, 200, "{name}")\n'
# Each kind a deploy could break: one that is short, one that takes its time and is in flight while
# its replica is told to stop, and one that nginx may not ask of another replica.
REQUESTS = (
    Request(path="/"),
    Request(path="/slow?s=0.3"),
    Request(method="POST", path="/length", body=b"x" * 500),
)
REPEATABLE = tuple(request for request in REQUESTS if request.may_repeat)


@dataclass(frozen=True)
class Deployed:
    """Two replicas behind nginx on the first release, and a clone with those that follow.

    Attributes:
        clone: its commits are tagged first, second and broken.
        words: options that every playbook gets.
    """

    made: Run
    clone: Path
    words: tuple[str, ...]

    @property
    def target(self) -> Target:
        address = self.made.host("edge1").address
        return Target(address, PORT, f"{address}:{PORT}")

    async def play(self, name: str, *words: str) -> Played:
        playbook = PLAYBOOKS / f"{name}.yml"
        return await play_beside(playbook, self.made.inventory, *self.words, *words)

    async def restart_at_once(self) -> None:
        """What a deploy does without taking out, waiting and going one by one."""
        for host, unit in zip(self.made.hosts, UNITS, strict=True):
            await asyncio.to_thread(docker, "exec", host.container, "systemctl", "restart", unit)

    def releases(self) -> set[str]:
        """What the replicas say they are; the first release has no word for it."""
        ask = "import urllib.request; print(urllib.request.urlopen('{}').read().decode())"
        said = set()
        for host, port in zip(self.made.hosts, (9001, 9002), strict=True):
            url = f"http://127.0.0.1:{port}/release"
            command = ("exec", host.container, "python3", "-c", ask.format(url))
            try:
                said.add(docker(*command))
            except RuntimeError as error:
                assert "urllib" in str(error) or "Traceback" in str(error), error
                said.add("first")
        return said


def commit(clone: Path, tag: str) -> None:
    git = ("git", "-C", str(clone), "-c", "user.name=test", "-c", "user.email=test@example.org")
    subprocess.run([*git, "commit", "--quiet", "--all", "-m", tag], check=True)
    subprocess.run([*git, "tag", tag], check=True)


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    why_not = usable()
    if why_not:
        pytest.skip(why_not)
    clone = tmp_path_factory.mktemp("releases") / "clone"
    subprocess.run(["git", "clone", "--quiet", str(clone_root()), str(clone)], check=True)
    subprocess.run(["git", "-C", str(clone), "tag", "first"], check=True)
    demo, committed = clone / DEMO, (clone / DEMO).read_text(encoding="utf-8")
    assert FIRST_CASE in committed
    second = committed.replace(FIRST_CASE, NEW_CASE.format(name="second") + FIRST_CASE)
    demo.write_text(second, encoding="utf-8")
    commit(clone, "second")
    demo.write_text(committed + "raise RuntimeError('this release cannot start')\n", "utf-8")
    commit(clone, "broken")
    with hosts("rolling", "edge+app=1", "app=1") as made:
        words = ("-e", f"python_service_clone={clone}")
        first = (*words, "-e", "python_service_version=first")
        play(PLAYBOOKS / "site.yml", made.inventory, *first).succeeded()
        yield Deployed(made, clone, words)


async def under_load(
    deployed: Deployed, work: Callable[[], Awaitable[T]], *, keep_alive: bool
) -> tuple[Result, T]:
    """What clients saw of `work`, and a second before and after it."""
    stop = asyncio.Event()
    # nginx closes idle connections of clients when it reloads, perhaps just as one sends its next
    # request. The standard has a client ask again then, but for a POST (RFC 9112, section 9.3.1).
    retries, requests = (1, REPEATABLE) if keep_alive else (0, REQUESTS)
    plan = Plan(rate_per_s=RATE_PER_S, seconds=MOST_S, keep_alive=keep_alive, retries=retries)
    asked = asyncio.create_task(
        run(deployed.target, lambda number: requests[number % len(requests)], plan, stop=stop)
    )
    try:
        await asyncio.sleep(ALONE_S)
        done = await work()
        await asyncio.sleep(ALONE_S)
    finally:
        stop.set()
        result = await asked
    assert result.due >= RATE_PER_S * ALONE_S * 2
    print(f"{result.due} requests, outcomes {result.outcomes}, {result.resets_on_reused} on reused")
    return result, done


def test_a_release_is_deployed_and_rolled_back_without_a_failed_request(
    deployed: Deployed,
) -> None:
    assert deployed.releases() == {"first"}
    result, played = asyncio.run(
        under_load(
            deployed, lambda: deployed.play("deploy", "-e", "version=second"), keep_alive=False
        )
    )
    played.succeeded()
    assert deployed.releases() == {"second"}
    assert result.ok == result.due

    result, played = asyncio.run(
        under_load(deployed, lambda: deployed.play("rollback"), keep_alive=True)
    )
    played.succeeded()
    assert deployed.releases() == {"first"}
    assert result.ok == result.due


def test_a_release_that_does_not_start_is_taken_back_without_a_failed_request(
    deployed: Deployed,
) -> None:
    words = ("-e", "version=broken", "-e", "python_service_ready_timeout_s=5")
    result, played = asyncio.run(
        under_load(deployed, lambda: deployed.play("deploy", *words), keep_alive=False)
    )
    assert played.status != 0
    assert "replica1 is not ready after 5 s" in played.output
    assert deployed.releases() == {"first"}
    assert result.ok == result.due


def test_restarting_the_replicas_without_all_that_does_fail_requests(deployed: Deployed) -> None:
    result, _ = asyncio.run(under_load(deployed, deployed.restart_at_once, keep_alive=False))
    assert result.ok < result.due
    assert result.faults > 0
