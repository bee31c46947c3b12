"""Jars are exactly those of the lock: anything else is refused, or fetched again.

The repository is a folder served on 127.0.0.1, in Maven's layout; nothing leaves the machine.
"""

from __future__ import annotations

import functools
import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.lab.errors import LabError
from infra.lab.servers import kafka_jars
from infra.lab.servers.kafka_jars import class_path, fetch, kafka_version, read_lock

JARS = {"alpha": b"alpha's classes" * 1000, "beta": b"beta's classes" * 1000}
GOOD = "a" * 64 + "  org.apache.kafka:kafka_2.13:4.3.1\n"


class _Repository(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Serves JARS; the list of what was asked for."""
    folder = tmp_path / "repository"
    for name, content in JARS.items():
        jar = folder / "org" / "example" / name / "1.0" / f"{name}-1.0.jar"
        jar.parent.mkdir(parents=True)
        jar.write_bytes(content)
        jar.with_name(jar.name + ".sha1").write_text(hashlib.sha1(content).hexdigest())
    handler = functools.partial(_Repository, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.asked = []  # type: ignore[attr-defined]
    monkeypatch.setenv("LAB_MAVEN_URL", f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.asked  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone whose lock names JARS with their true sums."""
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in JARS.items()}
    return locked(tmp_path / "clone", sums)


def locked(clone: Path, sums: dict[str, str]) -> Path:
    lock = clone / kafka_jars.LOCK
    lock.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{digest}  org.example:{name}:1.0\n" for name, digest in sums.items()]
    lock.write_text("# a comment\n" + "".join(lines))
    return clone


def jar(cache: Path, name: str) -> Path:
    return cache / "org" / "example" / name / "1.0" / f"{name}-1.0.jar"


def silent(text: str) -> None:
    """Progress is for people."""


def test_all_jars_are_fetched_once(repository: list[str], clone: Path, tmp_path: Path) -> None:
    cache, told = tmp_path / "cache", list[str]()
    fetch(clone, cache, told.append)
    assert told == ["jar 1 of 2", "jar 2 of 2"]
    assert {name: jar(cache, name).read_bytes() for name in JARS} == JARS
    assert class_path(clone, cache) == f"{jar(cache, 'alpha')}:{jar(cache, 'beta')}"
    asked = len(repository)
    fetch(clone, cache, silent)
    assert len(repository) == asked


def test_an_interrupted_download_is_done_again(
    repository: list[str], clone: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    jar(cache, "alpha").parent.mkdir(parents=True)
    jar(cache, "alpha").write_bytes(JARS["alpha"][:100])
    fetch(clone, cache, silent)
    assert jar(cache, "alpha").read_bytes() == JARS["alpha"]


def test_a_jar_that_was_removed_comes_back(
    repository: list[str], clone: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    fetch(clone, cache, silent)
    jar(cache, "beta").unlink()
    fetch(clone, cache, silent)
    assert jar(cache, "beta").read_bytes() == JARS["beta"]


def test_another_lock_means_checking_again(
    repository: list[str], clone: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    fetch(clone, cache, silent)
    locked(clone, {"alpha": "0" * 64})
    with pytest.raises(LabError, match="SHA-256"):
        fetch(clone, cache, silent)


def test_a_wrong_sum_is_refused_and_the_file_removed(
    repository: list[str], clone: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    locked(clone, {"alpha": "0" * 64})
    with pytest.raises(LabError) as caught:
        fetch(clone, cache, silent)
    assert "org.example:alpha:1.0 does not have the SHA-256" in str(caught.value)
    assert not jar(cache, "alpha").exists()
    assert not (cache / "checked.sha256").exists()


def test_no_network_is_one_line(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_MAVEN_URL", "http://127.0.0.1:9")
    with pytest.raises(LabError, match=r"cannot download org\.example:.*: check the network"):
        fetch(clone, tmp_path / "cache", silent)


def test_a_repository_that_has_no_such_jar_is_one_line(
    repository: list[str], clone: Path, tmp_path: Path
) -> None:
    locked(clone, {"gamma": "0" * 64})
    with pytest.raises(LabError, match=r"cannot download org\.example:gamma:1\.0"):
        fetch(clone, tmp_path / "cache", silent)


def test_two_weeks_that_fetch_at_once_disturb_each_other_not(
    repository: list[str], clone: Path, tmp_path: Path
) -> None:
    cache, failures = tmp_path / "cache", list[LabError]()

    def run() -> None:
        try:
            fetch(clone, cache, silent)
        except LabError as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sum(path.endswith("alpha-1.0.jar") for path in repository) == 1


@pytest.mark.parametrize("line", ["alpha", "a b c", "0123  group:artifact", "0123  a:b:c:d"])
def test_a_damaged_lock_is_one_line(tmp_path: Path, line: str) -> None:
    (tmp_path / "locks").mkdir()
    lock = tmp_path / kafka_jars.LOCK
    lock.write_text(GOOD + line + "\n")
    with pytest.raises(LabError, match="restore it with git"):
        read_lock(lock)


def test_a_missing_lock_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"cannot be read .*: restore it with git"):
        kafka_version(tmp_path)


def test_the_lock_names_the_brokers_version(tmp_path: Path) -> None:
    (tmp_path / "locks").mkdir()
    (tmp_path / kafka_jars.LOCK).write_text(GOOD)
    assert kafka_version(tmp_path) == "4.3.1"
    (tmp_path / kafka_jars.LOCK).write_text("# nothing\n")
    with pytest.raises(LabError, match="names no kafka"):
        kafka_version(tmp_path)
