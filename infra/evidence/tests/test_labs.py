"""Claims on real servers: the lab they get, and what is repaired between their runs."""

from __future__ import annotations

import pytest

from infra.evidence.tests.workshop import Workshop

pytest_plugins = ["pytester"]

OF_A_SAMPLE = """
import pytest
from infra.lab.tests import sample

@pytest.fixture(scope="session")
def lab_topology():
    return sample.week(sample.web("first", port=0), sample.postgres())
"""

KILLS = """
import asyncpg, asyncio, urllib.request
engine = lab.running()
states = {row.name: str(row.state) for row in engine.status()}
assert set(states.values()) <= {"running", "starting"}, states
database = await asyncpg.connect(lab.database(), ssl=False)
one = await database.fetchval("SELECT 1")
await database.close()
await engine.kill("first")
await engine.pause("db")
return figures(lab, [one if mechanism is Mechanism.ON else 2], notes=[lab.url, str(lab.site.ports)])
"""


@pytest.mark.integration
def test_what_a_run_leaves_dead_or_paused_is_up_for_the_next(workshop: Workshop) -> None:
    (workshop.checks / "conftest.py").write_text(OF_A_SAMPLE)
    workshop.claim(measure=KILLS.strip(), declared="rows=[30], repetitions=2")
    workshop.check("--deep")
    found = workshop.result()
    [one] = found["claims"]
    assert (one["state"], one["reason"]) == ("held", "")
    assert [run["judgement"]["outcome"] for run in one["runs"]] == ["passed", "refuted"] * 2
    assert found["servers"]["db"].startswith("PostgreSQL 18")
    assert found["servers"]["first"].startswith("Python 3")
    assert one["runs"][0]["figures"]["notes"][0].startswith("http://127.0.0.1:")


@pytest.mark.integration
def test_servers_that_do_not_start_are_one_clear_line(workshop: Workshop) -> None:
    broken = OF_A_SAMPLE.replace(
        "port=0), sample.postgres()", 'port=0, environment={"EXIT_SAYING": "no way"})'
    )
    (workshop.checks / "conftest.py").write_text(broken)
    workshop.claim()
    ran = workshop.check()
    assert ran.ret == pytest.ExitCode.TESTS_FAILED
    assert "the servers did not start: first" in ran.stdout.str() + ran.stderr.str()
    assert "Traceback" not in ran.stdout.str() + ran.stderr.str()
    assert not workshop.files()
