"""The limit on open files, in a process of its own: a limit once lowered stays lowered."""

from __future__ import annotations

import subprocess
import sys

import pytest

from week01_http_server.descriptors import SPARE

PROGRAM = """
import resource, sys
from week01_http_server.descriptors import allow
soft, hard, connections = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
print(allow(connections), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "connections", "then"),
    [
        (256, 1024, 500, 500 + SPARE),
        (256, 1024, 20_000, 1024),
        (900, 1024, 500, 900),
    ],
)
def test_the_soft_limit_is_raised_as_far_as_needed_and_allowed(
    soft: int, hard: int, connections: int, then: int
) -> None:
    words = [str(number) for number in (soft, hard, connections)]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(then), str(then), str(hard)]
