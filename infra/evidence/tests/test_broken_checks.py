"""A check that can show nothing is told from a claim that failed, and fails the run."""

from __future__ import annotations

import pytest

from infra.evidence.tests.workshop import MEASURE, Workshop

pytest_plugins = ["pytester"]

BROKEN = {
    "a green control": ({"measure": "return figures(lab, [1])"}, "the control is green"),
    "a control that crashes": (
        {"judge": "if figures.value > 1: raise RuntimeError('boom')\nassert figures.value"},
        "off (seed 1, repetition 1): judge failed by something else than its assert: RuntimeError",
    ),
    "an assertion out of a library": (
        {
            "before": "import random\ndef library(x): assert x == 1\n",
            "judge": "assert figures.value\nlibrary(figures.value)",
        },
        "something else than its assert: AssertionError",
    ),
    "a judge that asserts nothing": (
        {"judge": "figures.value"},
        "on (seed 1, repetition 1): judge reached none of its own asserts",
    ),
    "a judge whose asserts are never reached": (
        {"judge": "for sample in ():\n    assert sample == 1"},
        "judge reached none of its own asserts",
    ),
    "a judge that skips": (
        {"judge": "import pytest\npytest.skip('no')"},
        "judge failed by something else than its assert: Skipped",
    ),
    "no attempts": (
        {"measure": "return figures(lab, [1], attempts=0)"},
        "on (seed 1, repetition 1): it counted 0 attempts",
    ),
    "no attempts in the control": (
        {
            "measure": "return figures(lab, [1 if mechanism == 'on' else 9], "
            "attempts=mechanism == 'on')"
        },
        "off (seed 1, repetition 1): it counted",
    ),
    "no samples": ({"measure": "return figures(lab, [])"}, "'queries' has no samples"),
    "no samples in the control": (
        {"measure": "return figures(lab, [1] if mechanism == 'on' else [])"},
        "off (seed 1, repetition 1): 'queries' has no samples",
    ),
    "samples that are no numbers": (
        {"measure": "return figures(lab, [float('nan')])"},
        "no finite numbers",
    ),
    "an unnamed headline": (
        {"measure": "return figures(lab, [1], headline='p99')"},
        "no samples of its headline 'p99'",
    ),
    "another unit": (
        {"measure": "return figures(lab, [1], unit='ms')"},
        "the figures are in 'ms', the claim in 'queries'",
    ),
    "no unit": ({"measure": "return figures(lab, [1], unit='')"}, "the figures are in 'no unit'"),
    "another seed": ({"measure": "return figures(lab, [1], seed=7)"}, "it used the seed 7"),
    "measure raises": (
        {"measure": "raise OSError('no route')"},
        "measure failed: OSError: no route",
    ),
    "measure asserts": (
        {"measure": "assert mechanism is Mechanism.ON\nreturn figures(lab, [1])"},
        "off (seed 1, repetition 1): measure failed: AssertionError",
    ),
    "measure skips": (
        {"measure": "import pytest\npytest.skip('no')"},
        "measure failed: Skipped: no",
    ),
    "measure returns nothing": ({"measure": "pass"}, "measure returned NoneType, not Figures"),
    "measure takes too long": (
        {
            "measure": "import asyncio\nawait asyncio.sleep(60)",
            "declared": "rows=[30], limit_s=0.1",
        },
        "measure failed: TimeoutError: it took more than its 0.1 s",
    ),
    "no rows": ({"declared": "rows=[]"}, "it names no rows of the inventory"),
    "rows not named at all": ({"declared": ""}, "it names no rows of the inventory"),
    "no control": ({"declared": "rows=[30], controls=[]"}, "a step that passes and a control"),
    "a step that is neither": (
        {"declared": "rows=[30], controls=[Mechanism.ON], passes=[Mechanism.ON]"},
        "a step is named twice",
    ),
    "an unknown need": ({"declared": "rows=[30], needs={'disk'}"}, "it needs disk"),
    "an id of another week": ({"id": "w05.herd"}, "its id is of another week than week04"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_check_fails_the_run_in_one_line(case: str, workshop: Workshop) -> None:
    claim, reason = BROKEN[case]
    workshop.claim(**claim)
    ran = workshop.check()
    assert ran.ret == pytest.ExitCode.TESTS_FAILED
    state, why = workshop.outcome()
    assert (state, "\n" in why) == ("BROKEN CHECK", False)
    assert reason in why
    [line] = [
        line
        for line in ran.outlines
        if line.startswith("w04.herd BROKEN CHECK") or line.startswith("w05.herd BROKEN CHECK")
    ]
    assert why in line
    assert "Traceback" not in ran.stdout.str()


def test_the_same_claim_without_any_of_that_holds(workshop: Workshop) -> None:
    """The control of all the above."""
    workshop.claim()
    assert workshop.check().ret == pytest.ExitCode.OK
    assert workshop.outcome() == ("held", "")


def test_two_claims_with_one_id_are_both_broken(workshop: Workshop) -> None:
    workshop.claim()
    workshop.claim(file="again.py")
    assert workshop.check().ret == pytest.ExitCode.TESTS_FAILED
    reasons = [(one["state"], one["reason"]) for one in workshop.result()["claims"]]
    assert reasons == [
        ("BROKEN CHECK", "another claim has this id: herd.py:Herd"),
        ("BROKEN CHECK", "another claim has this id: again.py:Herd"),
    ]


def test_a_claim_that_hides_another_is_broken(workshop: Workshop) -> None:
    workshop.claim(name="Herd", id="w04.first")
    workshop.claim(name="Herd", id="w04.second")
    assert workshop.check().ret == pytest.ExitCode.TESTS_FAILED
    reason = "it hides the claim above it, which is named Herd too"
    assert workshop.outcome() == ("BROKEN CHECK", reason)


def test_a_class_without_the_two_methods_is_broken(workshop: Workshop) -> None:
    (workshop.checks / "bad.py").write_text(
        "from infra.evidence import claim\n"
        "@claim('w04.bad', rows=[1], mechanism='m', unit='u')\n"
        "class Bad:\n"
        "    def measure(self, lab, mechanism): ...\n"
    )
    assert workshop.check().ret == pytest.ExitCode.TESTS_FAILED
    assert workshop.outcome() == (
        "BROKEN CHECK",
        "it has no `async def measure(self, lab, mechanism)`",
    )


def test_a_broken_run_is_the_last_of_its_claim(workshop: Workshop) -> None:
    workshop.claim(measure="return figures(lab, [])")
    workshop.check()
    [one] = workshop.result()["claims"]
    assert [run["step"] for run in one["runs"]] == ["on"]


def test_what_measure_raised_is_kept_whole_on_disk(workshop: Workshop) -> None:
    workshop.claim(measure="raise OSError('no route')")
    workshop.check()
    [one] = workshop.result()["claims"]
    assert "herd.py" in one["runs"][0]["traceback"]


def test_a_failed_claim_is_no_broken_check(workshop: Workshop) -> None:
    workshop.claim(measure=MEASURE.replace("[1]", "[2]"))
    ran = workshop.check()
    assert ran.ret == pytest.ExitCode.TESTS_FAILED
    assert workshop.outcome() == (
        "FAILED",
        "on (seed 1, repetition 1): assert figures.value == 1 (2 queries)",
    )
    [one] = workshop.result()["claims"]
    assert [run["step"] for run in one["runs"]] == ["on", "off"]


def test_a_green_control_outweighs_a_failed_claim(workshop: Workshop) -> None:
    workshop.claim(measure="return figures(lab, [2] if mechanism is Mechanism.ON else [1])")
    workshop.check()
    assert workshop.outcome()[0] == "BROKEN CHECK"
