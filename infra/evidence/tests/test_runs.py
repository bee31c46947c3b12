"""Which runs a check makes: seeds, repetitions, ladders; and what it leaves alone."""

from __future__ import annotations

import pytest

from infra.evidence.tests.workshop import HEAD, Workshop

pytest_plugins = ["pytester"]

LADDER = """
class Flight(StrEnum):
    OFF = "off"
    IN_PROCESS = "in-process"
    LEASE = "lease"

QUERIES = {Flight.OFF: 100, Flight.IN_PROCESS: 2, Flight.LEASE: 1}
"""
CLIMB = "return figures(lab, [QUERIES[mechanism]])"
STEPS = "rows=[30], passes=[Flight.LEASE], controls=[Flight.OFF, Flight.IN_PROCESS]"
DEEP = "rows=[30], seeds=[1, 2], repetitions=2"


def _runs(workshop: Workshop) -> list[tuple[str, str, int, int]]:
    [one] = workshop.result()["claims"]
    return [(run["step"], run["role"], run["seed"], run["repetition"]) for run in one["runs"]]


def test_by_default_the_first_seed_is_run_once_with_and_without(workshop: Workshop) -> None:
    workshop.claim(declared=DEEP)
    ran = workshop.check()
    assert _runs(workshop) == [("on", "claim", 1, 1), ("off", "control", 1, 1)]
    ran.stdout.fnmatch_lines(["1 of 1 claims held; seed 1 (*", "raw samples: *-check.json"])


def test_deep_runs_every_repetition_of_every_seed_beside_its_control(workshop: Workshop) -> None:
    workshop.claim(declared=DEEP)
    ran = workshop.check("--deep")
    each = [(seed, repetition) for seed in (1, 2) for repetition in (1, 2)]
    steps = [("on", "claim"), ("off", "control")]
    assert _runs(workshop) == [(*step, *one) for one in each for step in steps]
    ran.stdout.fnmatch_lines(["1 of 1 claims held; seeds 1, 2 (deep*", "raw samples: *-deep.json"])


def test_a_seed_that_is_asked_for_takes_the_place_of_the_others(workshop: Workshop) -> None:
    workshop.claim(declared=DEEP)
    workshop.check("--seed", "77")
    assert _runs(workshop) == [("on", "claim", 77, 1), ("off", "control", 77, 1)]
    assert workshop.result()["seed"] == 77
    assert workshop.result()["claims"][0]["runs"][0]["figures"]["seed"] == 77


def test_one_bad_repetition_in_a_deep_run_is_enough(workshop: Workshop) -> None:
    worse = "[1 + (lab.seed == 2)] if mechanism is Mechanism.ON else [100]"
    workshop.claim(measure=f"return figures(lab, {worse})", declared=DEEP)
    assert workshop.check("--deep").ret == pytest.ExitCode.TESTS_FAILED
    assert workshop.outcome()[0] == "FAILED"
    assert workshop.check().ret == pytest.ExitCode.OK


def test_every_declared_control_of_a_ladder_must_fail(workshop: Workshop) -> None:
    workshop.claim(before=LADDER, measure=CLIMB, declared=STEPS)
    ran = workshop.check()
    assert ran.ret == pytest.ExitCode.OK
    assert [run[:2] for run in _runs(workshop)] == [
        ("lease", "claim"),
        ("off", "control"),
        ("in-process", "control"),
    ]
    ran.stdout.fnmatch_lines(["w04.herd *1 queries *off: 100, in-process: 2 *held*"])


def test_a_green_step_between_is_a_green_control(workshop: Workshop) -> None:
    workshop.claim(before=LADDER, measure=CLIMB, declared=STEPS, judge="assert figures.value <= 2")
    assert workshop.check().ret == pytest.ExitCode.TESTS_FAILED
    state, reason = workshop.outcome()
    assert state == "BROKEN CHECK"
    assert reason.startswith("in-process (seed 1, repetition 1): the control is green")


def test_every_declared_pass_of_a_ladder_must_pass(workshop: Workshop) -> None:
    steps = "rows=[30], passes=[Flight.LEASE, Flight.IN_PROCESS], controls=[Flight.OFF]"
    workshop.claim(before=LADDER, measure=CLIMB, declared=steps)
    assert workshop.check().ret == pytest.ExitCode.TESTS_FAILED
    assert workshop.outcome()[0] == "FAILED"


def test_a_step_of_a_ladder_that_nobody_placed_is_refused(workshop: Workshop) -> None:
    steps = "rows=[30], passes=[Flight.LEASE], controls=[Flight.OFF]"
    workshop.claim(before=LADDER, measure=CLIMB, declared=steps)
    assert workshop.check().ret == pytest.ExitCode.TESTS_FAILED
    assert workshop.outcome()[1] == "in-process: declare it as pass or as control"


def test_progress_names_the_claim_the_step_and_what_the_claim_says(workshop: Workshop) -> None:
    measure = "import asyncio\nlab.say('counting')\nawait asyncio.sleep(0)\n"
    workshop.claim(measure=measure + "return figures(lab, [1 if mechanism == 'on' else 2])")
    ran = workshop.check()
    ran.stdout.fnmatch_lines(["w04.herd  on (1 of 2, seed 1)  0 s*", "w04.herd  off (2 of 2*"])


def test_ordinary_tests_are_left_alone(workshop: Workshop) -> None:
    workshop.claim()
    (workshop.checks / "test_helpers.py").write_text(
        "class Plain: pass\ndef test_ordinary(): assert 1 + 1 == 2\n"
    )
    (workshop.pytester.path / "test_more.py").write_text("def test_more(): assert not []\n")
    (workshop.pytester.path / "herd.py").write_text(HEAD + "raise RuntimeError('not collected')")
    ran = workshop.check("test_more.py")
    ran.stdout.fnmatch_lines(["*2 passed*1 held*"])


def test_without_claims_nothing_is_written_or_shown(workshop: Workshop) -> None:
    (workshop.checks / "test_helpers.py").write_text("def test_ordinary(): assert True\n")
    ran = workshop.check()
    ran.assert_outcomes(passed=1)
    assert not workshop.results.exists()
    assert "verdict" not in ran.stdout.str()


def test_a_file_that_cannot_be_imported_fails_the_run(workshop: Workshop) -> None:
    workshop.claim()
    (workshop.checks / "torn.py").write_text("import nowhere_to_be_found\n")
    ran = workshop.check()
    assert ran.ret != pytest.ExitCode.OK
    ran.stdout.fnmatch_lines(["*ModuleNotFoundError*nowhere_to_be_found*"])


def test_an_imported_claim_is_collected_once(workshop: Workshop) -> None:
    workshop.claim()
    (workshop.checks / "all.py").write_text("from herd import Herd\n")
    workshop.pytester.syspathinsert(workshop.checks)
    assert workshop.check().ret == pytest.ExitCode.OK
    assert workshop.outcome()[0] == "held"
