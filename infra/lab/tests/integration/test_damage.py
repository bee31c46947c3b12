"""Damaged, foreign and full: one line each, nothing half started, nobody's data erased."""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.lab.engines.local import engine as local
from infra.lab.errors import LabError
from infra.lab.tests.integration.conftest import Make, answers, down, processes_in, query, up
from infra.lab.tests.sample import light_week, postgres, web, week, whole_week

pytestmark = pytest.mark.integration

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts, other users' files")
TMPFS_MIB = 64


def refused(engine: local.LocalEngine, *words: str) -> str:
    """`up` says one line with all `words` and leaves nothing running; the line."""
    with pytest.raises((LabError, OSError)) as caught:
        up(engine)
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text
    assert processes_in(engine.site.root) == []
    return text


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_data_of_another_major_version_is_refused_and_stays(make: Make) -> None:
    engine = make(week(postgres()))
    up(engine)
    down(engine)
    data = engine.site.data_dir("db")
    (data / "PG_VERSION").write_text("17\n")
    before = contents(data)
    refused(engine, "was written by PostgreSQL 17", "make week99 clean")
    assert contents(data) == before
    (data / "PG_VERSION").write_text("18\n")
    up(engine)


def test_a_directory_that_is_no_cluster_is_refused_and_stays(make: Make) -> None:
    engine = make(week(postgres()))
    data = engine.site.data_dir("db")
    data.mkdir(parents=True)
    (data / "thesis.txt").write_text("precious")
    refused(engine, "is no PostgreSQL data directory", "make week99 clean")
    assert contents(data) == {"thesis.txt": b"precious"}


def test_an_interrupted_initdb_is_done_again(make: Make) -> None:
    engine = make(week(postgres()))
    fresh = engine.site.data_dir("db").with_name("db.new")
    (fresh / "base").mkdir(parents=True)
    (fresh / "PG_VERSION").write_text("18\n")
    up(engine)
    assert query(engine.site, "SELECT 1") == 1
    assert not fresh.exists()


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"sample_password": null}'])
def test_damaged_secrets_are_refused_and_kept(make: Make, damage: str) -> None:
    engine = make(week(postgres(), web(port=0)))
    up(engine)
    path = engine.site.root / "secrets.json"
    good = path.read_text()
    path.write_text(damage)
    with pytest.raises(LabError, match=r"secrets\.json is damaged"):
        up(engine)
    down(engine)  # which needs no secret
    refused(engine, "secrets.json is damaged", "make week99 clean")
    assert path.read_text() == damage
    path.write_text(good)
    up(engine)


def test_lost_secrets_are_told_by_the_file_to_restore(make: Make) -> None:
    engine = make(week(postgres()))
    up(engine)
    down(engine)
    path = engine.site.root / "secrets.json"
    good = path.read_text()
    path.unlink()
    refused(engine, "refuses the password", "secrets.json", "make week99 clean")
    path.write_text(good)
    up(engine)


def test_a_damaged_record_of_ports_is_made_again(make: Make) -> None:
    engine = make(light_week())
    up(engine)
    record = engine.site.root / "instance.json"
    record.write_text("{")
    with pytest.raises(LabError, match=r"instance\.json is damaged: `make week99 down` first"):
        up(engine)
    down(engine)
    up(engine)
    assert record.read_text() != "{"


def test_a_topology_that_grew_while_up_asks_for_a_down(make: Make) -> None:
    engine = make(light_week())
    up(engine)
    grown = make(week(*light_week().servers, web("third", port=2)))
    with pytest.raises(LabError, match="is up with other services"):
        up(grown)
    assert [status.name for status in grown.status() if status.pid] == ["first", "second"]
    down(grown)
    up(grown)
    assert answers(grown.site, "third") == 200


def test_a_file_where_a_folder_should_be_is_one_line(make: Make) -> None:
    engine = make(light_week())
    engine.site.root.mkdir()
    (engine.site.root / "supervisor").write_text("")
    with pytest.raises(OSError, match="supervisor"):
        up(engine)
    (engine.site.root / "supervisor").unlink()
    up(engine)


def test_too_little_disk_is_told_before_anything_starts(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make(light_week())
    monkeypatch.setattr(local, "DISK_FREE_MIN_BYTES", 2**60)
    refused(engine, "MiB are free at", str(engine.site.root))
    assert not (engine.site.root / "run").exists()


@pytest.fixture
def small_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """The instance's root on a disk of its own; the value fills it to the last byte."""
    root = folder / "root"
    root.mkdir()
    option = f"size={TMPFS_MIB}m,mode=755"
    command = ["mount", "-t", "tmpfs", "-o", option, "tmpfs", str(root)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small disk: {mounted.stderr.strip()}")
    monkeypatch.setattr(local, "DISK_FREE_MIN_BYTES", 0)

    def fill() -> None:
        with (root / "filler").open("wb", buffering=0) as file:
            for piece in (2**20, 4096, 1):
                with contextlib.suppress(OSError):
                    while file.write(b"x" * piece) == piece:
                        pass

    yield fill
    # Lazily: whatever happened, the mount goes.
    subprocess.run(["umount", "--lazy", str(root)], check=True)


@needs_root
def test_a_disk_that_fills_up_is_one_line_and_costs_no_data(
    make: Make, small_disk: Callable[[], None]
) -> None:
    settings = {"wal_level": "minimal", "max_wal_senders": "0", "min_wal_size": "32MB"}
    engine = make(week(postgres({**settings, "max_wal_size": "32MB"}), web(port=0, needs=("db",))))
    filler = engine.site.root / "filler"
    small_disk()
    with pytest.raises(OSError) as caught:
        up(engine)
    assert caught.value.errno == errno.ENOSPC
    assert processes_in(engine.site.root) == []
    filler.unlink()
    with filler.open("wb") as file:
        file.truncate(0)
        os.posix_fallocate(file.fileno(), 0, (TMPFS_MIB - 20) * 2**20)
    refused(engine, "db: initdb failed: could not ")
    filler.unlink()
    up(engine)
    query(engine.site, "CREATE TABLE kept AS SELECT 42 AS answer")
    small_disk()
    assert [status.name for status in engine.status() if status.pid] == ["db", "web"]
    down(engine)
    assert processes_in(engine.site.root) == []
    with pytest.raises((LabError, OSError)):
        up(engine)
    assert processes_in(engine.site.root) == []
    filler.unlink()
    up(engine)
    assert query(engine.site, "SELECT answer FROM kept") == 42
    down(engine)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_not_ours_is_no_permission(make: Make) -> None:
    engine = make(light_week())
    engine.site.root.mkdir(mode=0o555)
    with pytest.raises(PermissionError) as caught:
        up(engine)
    assert str(engine.site.root) in str(caught.value)
    engine.site.root.chmod(0o755)
    up(engine)


@needs_root
def test_an_ordinary_user_at_roots_instance_is_refused_by_the_system(make: Make) -> None:
    engine = make(light_week())
    up(engine)
    nobody = pwd.getpwnam("nobody")
    for verb in ("up", "down", "status"):
        code = f"""
import anyio, inspect, json
from pathlib import Path
from infra.lab.errors import LabError
from infra.lab.tests.sample import light_week
from infra.lab.wiring import local_engine
try:
    verb = local_engine(light_week(), Path({str(engine.site.root)!r}), {{}}).{verb}
    anyio.run(verb) if inspect.iscoroutinefunction(verb) else verb()
except PermissionError as error:
    print("refused:", error)
"""
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=60,
            user=nobody.pw_uid,
            group=nobody.pw_gid,
            extra_groups=[],
            cwd="/",
            check=False,
        )
        assert done.stdout.startswith("refused: "), done.stdout + done.stderr
    assert answers(engine.site, "first") == 200


def test_a_closed_umask_still_lets_the_servers_user_in(make: Make) -> None:
    before = os.umask(0o077)
    try:
        engine = make(whole_week(), "deep/er")
        up(engine)
        assert answers(engine.site, "front") == 200
    finally:
        os.umask(before)


def test_erased_data_is_made_anew(make: Make) -> None:
    engine = make(week(postgres()))
    up(engine)
    down(engine)
    shutil.rmtree(engine.site.data_dir("db"))
    up(engine)
    assert query(engine.site, "SELECT 1") == 1
