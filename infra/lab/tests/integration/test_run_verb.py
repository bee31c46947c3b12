"""A week's own command on a running instance: its words, its environment, its exit status."""

from __future__ import annotations

from dataclasses import replace

import pytest

from infra.lab.errors import LabError
from infra.lab.handing_over import run_own
from infra.lab.servers.python import PythonProcess
from infra.lab.tests.integration.conftest import Make, down, up
from infra.lab.tests.sample import light_week

pytestmark = pytest.mark.integration

_SAYS_WHAT_IT_GOT = """
import os, sys
print(sys.argv[1:], os.environ["SAMPLE_AT"])
sys.exit(7)
"""

with_command = replace(
    light_week(),
    command=PythonProcess(
        name="command",
        arguments=lambda site: ("-c", _SAYS_WHAT_IT_GOT),
        environment=lambda site: {"SAMPLE_AT": str(site.ports["first"])},
    ),
)


def test_a_command_gets_its_words_and_the_weeks_environment(
    make: Make, capfd: pytest.CaptureFixture[str]
) -> None:
    engine = make(with_command)
    with pytest.raises(LabError, match="is not up"):
        run_own(with_command, engine, ["list"])
    up(engine)
    capfd.readouterr()
    assert run_own(with_command, engine, ["list", "--limit", "a b"]) == 7
    said = capfd.readouterr().out
    assert said == f"['list', '--limit', 'a b'] {engine.site.ports['first']}\n"
    assert run_own(with_command, engine, []) == 7
    assert capfd.readouterr().out.startswith("['--help'] "), "alone it tells what there is"
    down(engine)
    with pytest.raises(LabError, match="is not up"):
        run_own(with_command, engine, ["list"])
