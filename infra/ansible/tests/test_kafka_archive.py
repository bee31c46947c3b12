"""Kafka's archive: one folder, owned by root, its mark last; the same bytes whoever made it."""

from __future__ import annotations

import tarfile
from pathlib import Path

from infra.ansible import kafka_archive
from infra.bootstrap import clone_root


def made(folder: Path, *names: str) -> Path:
    files = [folder / name for name in names]
    for file in files:
        file.write_bytes(file.name.encode())
    archive = folder / "kafka.tar"
    kafka_archive.pack("kafka-1", [str(file) for file in files], archive)
    return archive


def test_the_mark_comes_last_so_that_half_an_archive_is_known(tmp_path: Path) -> None:
    with tarfile.open(made(tmp_path, "b.jar", "a.jar")) as archive:
        members = archive.getmembers()
        assert [one.name for one in members] == [
            "kafka-1/a.jar",
            "kafka-1/b.jar",
            f"kafka-1/{kafka_archive.MARK}",
        ]
        assert {(one.uid, one.uname, one.mode) for one in members[:2]} == {(0, "root", 0o644)}


def test_it_does_not_tell_when_and_in_which_order_jars_came(tmp_path: Path) -> None:
    for name, order in (("one", ("a.jar", "b.jar")), ("two", ("b.jar", "a.jar"))):
        (tmp_path / name).mkdir()
        made(tmp_path / name, *order)
    assert (tmp_path / "one/kafka.tar").read_bytes() == (tmp_path / "two/kafka.tar").read_bytes()


def test_a_release_is_called_after_version_and_lock() -> None:
    name, version, digest = kafka_archive.release(clone_root()).split("-")
    assert name == "kafka"
    assert version[0].isdigit()
    assert len(digest) == kafka_archive.DIGEST_CHARS
