"""The instance's records: kept, made, damaged; and the lock on it."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import anyio
import pytest

from infra.lab import instance
from infra.lab.errors import LabError
from infra.lab.tests.sample import light_week

CLEAN = "make week99 clean"
PORTS = {"first": 25000, "second": 25001}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_secrets_are_made_once_and_kept(tmp_path: Path) -> None:
    instance.make_secrets(tmp_path, ("a", "b"), CLEAN)
    first = instance.kept_secrets(tmp_path)
    instance.make_secrets(tmp_path, ("b", "c"), CLEAN)
    second = instance.kept_secrets(tmp_path)
    assert first.keys() == {"a", "b"}
    assert second == {**first, "c": second["c"]}
    assert len(set(second.values())) == 3
    assert all(len(value) >= 32 for value in second.values())


def test_secrets_are_for_their_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        instance.make_secrets(tmp_path, ("a",), CLEAN)
    finally:
        os.umask(before)
    assert mode(tmp_path / "secrets.json") == 0o600


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"[]", b"null", b'"a"', b'{"a": null}', b'{"a": ""}', b'{"a": 1}', b"\xff\xfe"],
)
def test_damaged_secrets_are_never_replaced(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "secrets.json"
    path.write_bytes(damage)
    with pytest.raises(LabError) as caught:
        instance.make_secrets(tmp_path, ("a",), CLEAN)
    assert str(path) in str(caught.value)
    assert CLEAN in str(caught.value)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == damage
    assert instance.kept_secrets(tmp_path) == {}


def test_ports_come_back_as_they_were_saved(tmp_path: Path) -> None:
    instance.save_ports(tmp_path, light_week(), PORTS)
    assert instance.load_ports(tmp_path, light_week()) == PORTS


def test_there_are_no_ports_before_the_first_up(tmp_path: Path) -> None:
    assert instance.load_ports(tmp_path, light_week()) is None


@pytest.mark.parametrize(
    "record",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"ports": null}',
        '{"ports": {"first": 25000}}',
        '{"ports": {"first": 25000, "second": 25001, "third": 25002}}',
        '{"ports": {"first": 25000, "second": 25000}}',
        '{"ports": {"first": 25000, "second": 80}}',
        '{"ports": {"first": 25000, "second": 70000}}',
        '{"ports": {"first": 25000, "second": "x"}}',
        "[" * 100_000,
    ],
)
def test_a_damaged_record_of_ports_counts_as_none(tmp_path: Path, record: str) -> None:
    (tmp_path / "instance.json").write_text(record)
    assert instance.load_ports(tmp_path, light_week()) is None


def test_an_interrupted_write_leaves_the_old_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance.save_ports(tmp_path, light_week(), PORTS)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        instance.save_ports(tmp_path, light_week(), {"first": 1, "second": 2})
    assert instance.load_ports(tmp_path, light_week()) == PORTS


def test_a_leftover_of_an_interrupted_write_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "secrets.json.new").write_text("x" * 10_000)
    instance.make_secrets(tmp_path, ("a",), CLEAN)
    assert json.loads((tmp_path / "secrets.json").read_text()).keys() == {"a"}


def test_the_second_holder_waits_and_is_told_once(tmp_path: Path) -> None:
    told: list[str] = []
    order: list[str] = []

    async def second(waits: anyio.Event) -> None:
        def wait() -> None:
            told.append("second")
            waits.set()

        async with instance.exclusive(tmp_path, wait):
            order.append("second is in")

    async def main() -> None:
        waits = anyio.Event()
        first = instance.exclusive(tmp_path, lambda: told.append("first"))
        async with anyio.create_task_group() as group, first:
            group.start_soon(second, waits)
            await waits.wait()
            await anyio.sleep(3 * instance.LOCK_POLL_S)  # time for it to be told twice
            order.append("first leaves")

    anyio.run(main)
    assert order == ["first leaves", "second is in"]
    assert told == ["second"]


def test_whoever_waited_while_the_folder_was_erased_locks_the_new_one(tmp_path: Path) -> None:
    root = tmp_path / "root"

    async def main() -> None:
        waits = anyio.Event()

        async def second() -> None:
            async with instance.exclusive(root, waits.set):
                with pytest.raises(LabError, match="another lab command"):
                    instance.erase(root)  # a third one sees that somebody holds the new lock

        first = instance.exclusive(root, lambda: None)
        async with anyio.create_task_group() as group, first:
            group.start_soon(second)
            await waits.wait()
            for file in root.iterdir():
                file.unlink()
            root.rmdir()

    anyio.run(main)


def test_an_instance_at_work_is_not_erased(tmp_path: Path) -> None:
    root = tmp_path / "root"

    async def main() -> None:
        async with instance.exclusive(root, lambda: None):
            with pytest.raises(LabError, match="another lab command"):
                instance.erase(root)

    anyio.run(main)
    assert root.exists()
    instance.erase(root)
    assert not root.exists()
