"""What Docker really says, and the one line that a person is told."""

from __future__ import annotations

import pytest

from infra.lab.engines.compose import messages
from infra.lab.engines.compose.messages import RefusedError, explain

PULL = (
    " a Pulling \n"
    ' a Error Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io on '
    "10.0.0.1:53: no such host\n"
    'Error response from daemon: Get "https://registry-1.docker.io/v2/": dial tcp: lookup '
    "registry-1.docker.io on 10.0.0.1:53: no such host\n"
)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. "
            "Is the docker daemon running?",
            messages.NO_DAEMON,
        ),
        (
            "permission denied while trying to connect to the Docker daemon socket at "
            'unix:///var/run/docker.sock: Get "http://%2Fvar%2Frun%2Fdocker.sock/v1.50/json": '
            "dial unix /var/run/docker.sock: connect: permission denied",
            messages.NOT_ALLOWED,
        ),
        ("docker: 'compose' is not a docker command.\nSee 'docker --help'", messages.NO_PLUGIN),
        ("docker: unknown command: docker compose\n\nRun 'docker --help'", messages.NO_PLUGIN),
        ("unknown shorthand flag: 'p' in -p\n\nUsage:  docker [OPTIONS]", messages.NO_PLUGIN),
        (PULL, "OFFLINE=1"),
        (
            "pull access denied for nosuch, repository does not exist or may require "
            "'docker login': denied",
            "pull access denied for nosuch",
        ),
        ("manifest for postgres:99 not found: manifest unknown: manifest unknown", "postgres:99"),
        (
            "Error response from daemon: driver failed programming external connectivity on "
            "endpoint x (1a): Bind for 127.0.0.1:8405 failed: port is already allocated",
            "port 8405 is taken by another container",
        ),
        (
            "Error starting userland proxy: listen tcp4 127.0.0.1:8401: bind: address already in "
            "use",
            "port 8401 is taken by another program",
        ),
        (
            "Error response from daemon: Pool overlaps with other one on this address space",
            "SUBNET=",
        ),
        ("write /var/lib/docker/tmp/x: no space left on device", "the disk is full"),
    ],
)
def test_what_has_a_line_of_its_own(said: str, told: str) -> None:
    error = explain("creating containers", said)
    assert told in str(error)
    assert "\n" not in str(error)
    assert not isinstance(error, RefusedError)


def test_anything_else_is_told_as_docker_says_it() -> None:
    error = explain("starting kafka", "\nfirst\nError response from daemon: no such thing\n\n")
    assert isinstance(error, RefusedError)
    assert str(error) == "starting kafka: no such thing"
    assert str(explain("starting kafka", "")) == "starting kafka: Docker says nothing"


def test_only_an_overlap_is_an_overlap() -> None:
    assert messages.is_overlap(explain("x", "Pool overlaps with other one on this address space"))
    assert not messages.is_overlap(explain("x", PULL))
