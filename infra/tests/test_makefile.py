"""The Makefile: what it passes on to ./lab, and what it refuses without running anything."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from infra.bootstrap import clone_root

# Prints what it was called with, and leaves a mark that it was called.
FAKE_LAB = """#!/bin/sh
for argument in "$@"; do printf '[%s]' "$argument"; done
printf ' engine=%s port=%s/%s seed=%s\\n' "$LAB_ENGINE" "$PORT" "$PORT_API1" "$SEED"
exit "${FAKE_STATUS:-0}"
"""


class Make:
    """GNU make in a folder with this project's Makefile, two weeks and a stand-in for ./lab."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for week in ("week03_replication", "week04_shortener"):
            (folder / week).mkdir(parents=True)
            (folder / week / "lab.py").touch()
        (folder / "week04_shortener" / "README.md").write_text("# Week 4: a title\n\n# other\n")
        (folder / "week09_idea").mkdir()  # without a lab.py it is no week yet
        for file in ("up", "test"):  # files with the name of a verb must not matter
            (folder / file).touch()
        shutil.copy(clone_root() / "Makefile", folder / "Makefile")
        (folder / "lab").write_text(FAKE_LAB)
        (folder / "lab").chmod(0o755)

    def __call__(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        # Inside `make test`, MAKEFLAGS and MAKELEVEL would make this a make of that make.
        inherited = {"PATH": os.environ["PATH"]}
        return subprocess.run(
            ["make", *words],
            cwd=self.folder,
            env=inherited | environ,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def make(tmp_path: Path) -> Make:
    return Make(tmp_path / "a clone")


@pytest.mark.parametrize(
    ("words", "called"),
    [
        ("week04", "[week04][up]"),
        ("week04 up", "[week04][up]"),
        ("up week04", "[week04][up]"),
        ("-j8 week03 down", "[week03][down]"),
        ("week04 test", "[week04][test]"),
        ("week04 kill SERVICE=api1", "[week04][kill][api1]"),
        ("week04 up FAULTS=1", "[week04][up][--faults]"),
        ("week04 fault FAULTS=1", "[week04][fault]"),
        ("week04 logs", "[week04][logs]"),
        ("week04 logs FOLLOW=1 SERVICE=api1", "[week04][logs][--follow][api1]"),
        ("week04 logs FOLLOW=0", "[week04][logs]"),
        ("week04 up FOLLOW=1 YES=1 DEEP=1", "[week04][up]"),
        ("week04 check DEEP=1", "[week04][check][--deep]"),
        ("week04 bench", "[week04][bench]"),
        ("week04 bench ARGS=--quick", "[week04][bench][--quick]"),
        ("week04 run", "[week04][run]"),
        ("week04 starter ARGS=../mine", "[week04][starter][../mine]"),
        ("week04 clean YES=1", "[week04][clean][--yes]"),
        ("doctor", "[doctor]"),
        ("test", "[--dev][pytest]"),
    ],
)
def test_words_become_a_call_of_lab(make: Make, words: str, called: str) -> None:
    done = make(*words.split())
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{called} engine= port=/ seed=\n"


def test_settings_reach_the_lab(make: Make) -> None:
    done = make("week04", "up", "ENGINE=compose", "PORT=1", "PORT_API1=2", "SEED=7")
    assert done.stdout == "[week04][up] engine=compose port=1/2 seed=7\n"
    done = make("week04", "up", ENGINE="compose", PORT="1")
    assert done.stdout == "[week04][up] engine=compose port=1/ seed=\n"


def test_a_service_name_is_never_run_by_the_shell(make: Make) -> None:
    done = make("week04", "kill", "SERVICE=api1; touch pwned; `touch pwned` api2")
    assert done.stdout.startswith("[week04][kill][api1;][touch][pwned;]")
    assert not (make.folder / "pwned").exists()


def test_arguments_of_pytest_are_passed_on(make: Make) -> None:
    done = make("test", "ARGS=-k 'one or two' --timeout=5")
    assert done.stdout.startswith("[--dev][pytest][-k][one or two][--timeout=5]")


def test_a_command_of_the_weeks_own_gets_its_words(make: Make) -> None:
    done = make("week04", "run", "ARGS=dead-letters list --limit 5")
    assert done.stdout.startswith("[week04][run][dead-letters][list][--limit][5]")


def test_a_fault_is_put_on_the_link_to_a_service(make: Make) -> None:
    done = make("week04", "fault", "SERVICE=postgres", "ARGS=latency 200ms --for 5s")
    assert done.stdout.startswith("[week04][fault][postgres][latency][200ms][--for][5s]")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("week05", "no such week: week05;"),
        ("week05 clean", "no such week: week05;"),
        ("week4 up", "no such week: week4;"),
        ("week09 up", "no such week: week09;"),
        ("week04_shortener up", "no such week: week04_shortener;"),
        ("week04 week03 down", "one week at a time, not week04 week03"),
        ("week04 week05 down", "no such week: week05;"),
        ("week04 upp", "no such verb: upp;"),
        ("week04 lint", "no such verb: lint;"),
        ("week04 up down", "one verb at a time, not up down"),
        ("up", "of which week? make weekNN up;"),
        ("clean", "of which week? make weekNN clean;"),
        ("test down", "of which week? make weekNN down;"),
        ("kill SERVICE=api1", "of which week? make weekNN kill;"),
        ("frobnicate", "no such target: frobnicate;"),
        ("week04 up ENGIN=local", "no such setting: ENGIN;"),
        ("week04 up port=8500", "no such setting: port;"),
    ],
)
@pytest.mark.parametrize("jobs", ["-j1", "-j8"])
def test_a_wrong_word_is_refused_in_one_line_and_nothing_runs(
    make: Make, words: str, complaint: str, jobs: str
) -> None:
    done = make(jobs, *words.split())
    assert done.returncode == 2
    assert done.stdout == ""
    assert complaint in done.stderr
    assert done.stderr.count("\n") == 1
    if "one " not in complaint:
        assert ("weeks: week03 week04; verbs: up" in done.stderr) or ("ENGINE" in done.stderr)


def test_a_failing_verb_fails_make(make: Make) -> None:
    done = make("week04", "up", FAKE_STATUS="3")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "Error 3" in done.stderr


def test_make_alone_lists_everything(make: Make) -> None:
    done = make()
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert "week04   Week 4: a title" in lines
    assert "week03   week03_replication" in lines
    assert "week09" not in done.stdout
    makefile = (make.folder / "Makefile").read_text()
    verbs = makefile.split("VERBS := ")[1].splitlines()[0].split()
    others = makefile.split("OTHERS := ")[1].splitlines()[0].split()
    assert "kill" in verbs and "doctor" in others
    for verb in verbs:
        assert any(verb in line.split("  ")[0].split() for line in lines), verb
    for target in others:
        assert any(line.startswith(f"make {target} ") for line in lines), target
    assert make("help").stdout == done.stdout
