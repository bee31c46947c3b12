"""Somebody's own service: only the claims that need no more, without controls."""

from __future__ import annotations

import pytest

from infra.evidence.labs import without_secrets
from infra.evidence.tests.workshop import Workshop

pytest_plugins = ["pytester"]

URL = "http://127.0.0.1:9"
DSN = "postgresql://reader:s3cret-word@127.0.0.1:9/links"
MEASURE = "return figures(lab, [1], notes=[lab.url, str(lab.dsn)[:10], str(lab.engine)])"


def _target(workshop: Workshop) -> None:
    (workshop.checks / "conftest.py").unlink()  # the plugin's own lab
    for name in ("url", "dsn", "engine"):
        needs = {"url", name} if name == "dsn" else {name}
        workshop.claim(MEASURE, declared=f"rows=[30], needs={needs}", id=f"w04.{name}")


def _states(workshop: Workshop) -> dict[str, str]:
    return {one["id"]: one["state"] for one in workshop.result()["claims"]}


def test_an_address_is_enough_for_claims_that_need_only_that(workshop: Workshop) -> None:
    _target(workshop)
    ran = workshop.check("--target", URL)
    assert ran.ret == pytest.ExitCode.OK
    assert _states(workshop) == {
        "w04.url": "held, no control",
        "w04.dsn": "not run",
        "w04.engine": "not run",
    }
    ran.stdout.fnmatch_lines(
        [
            "w04.url *none: a target keeps its mechanism *held, no control*",
            "w04.dsn not run: the target gives no dsn",
            "w04.engine not run: the target gives no engine",
            f"target {URL}: *without controls",
        ]
    )
    [run] = workshop.result()["claims"][0]["runs"]
    assert (run["step"], run["figures"]["notes"]) == ("on", [URL, "None", "None"])


def test_with_a_dsn_more_of_them_run_and_it_is_written_nowhere(workshop: Workshop) -> None:
    _target(workshop)
    ran = workshop.check("--target", URL, "--target-dsn", DSN)
    assert _states(workshop)["w04.dsn"] == "held, no control"
    assert _states(workshop)["w04.engine"] == "not run"
    [path] = workshop.files()
    assert "s3cret" not in path.read_text() + ran.stdout.str()


def test_a_target_that_fails_the_claim_fails_the_run(workshop: Workshop) -> None:
    (workshop.checks / "conftest.py").unlink()
    workshop.claim("return figures(lab, [5])", declared="rows=[30], needs={'url'}")
    assert workshop.check("--target", URL).ret == pytest.ExitCode.TESTS_FAILED
    assert workshop.outcome() == (
        "FAILED",
        "on (seed 1, repetition 1): assert figures.value == 1 (5 queries)",
    )


def test_a_target_on_which_no_claim_can_run_is_no_success(workshop: Workshop) -> None:
    workshop.claim(declared="rows=[30], needs={'engine'}")
    ran = workshop.check("--target", URL)
    assert ran.ret == pytest.ExitCode.TESTS_FAILED
    ran.stdout.fnmatch_lines(["no claim could be judged*"])


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--target", "127.0.0.1:8400"), "127.0.0.1:8400 is no target: write http://HOST:PORT"),
        (("--target-dsn", DSN), "--target-dsn goes with --target"),
        (("--target", URL, "--target-dsn", "mysql://x:s3cret@y"), "the target's dsn is none"),
    ],
)
def test_what_is_no_target_is_refused_in_one_line(
    words: tuple[str, ...], line: str, workshop: Workshop
) -> None:
    workshop.claim()
    ran = workshop.check(*words)
    assert ran.ret == pytest.ExitCode.USAGE_ERROR
    assert line in ran.stderr.str()
    assert "s3cret" not in ran.stderr.str()


def test_an_address_is_shown_without_its_password() -> None:
    assert without_secrets("http://me:s3cret@host:1/x?token=s3cret#s3cret") == "http://host:1/x"
