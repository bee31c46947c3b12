"""The block list: what a line means, and what happens when the file changes."""

import asyncio
import os
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from infra.service.lifecycle import CannotStart
from week04_shortener.targets import blocklist
from week04_shortener.targets.blocklist import BlockList, normal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "blocked.txt"


def write(path: Path, text: str) -> None:
    """Replace the file as an editor does: a new file under the old name."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)


def listed(path: Path, text: str) -> BlockList:
    write(path, text)
    return BlockList(path, CollectorRegistry())


def test_a_name_stands_for_its_subdomains_and_nothing_else(path: Path) -> None:
    blocked = listed(path, "evil.example\n\n# a comment\n  Sub.Other.Example.  # and another\n")
    for host in ("evil.example", "www.evil.example", "a.b.evil.example", "sub.other.example"):
        assert blocked.has(host), host
    for host in ("notevil.example", "example", "evil.example.org", "other.example", "evil"):
        assert not blocked.has(host), host


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("straße.example", "xn--strae-oqa.example"),  # not strasse: another name since IDNA2008
        ("\uff25\uff36\uff29\uff2c.example", "evil.example"),  # fullwidth letters
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("my_host.example.", "my_host.example"),
        ("93.184.216.34", "93.184.216.34"),
        ("0x5db8d822", "93.184.216.34"),
        ("[2001:DB8::1]", "2001:db8::1"),
        ("::ffff:93.184.216.34", "93.184.216.34"),
    ],
)
def test_lines_are_normalised_as_targets_are(line: str, kept: str) -> None:
    assert normal(line) == kept


@pytest.mark.parametrize(
    "line",
    [
        "http://evil.example",
        "evil.example/path",
        "two names.example",
        "a..b",
        "*.evil.example",
        "-",
        "1.2.3.4.5",
        "::zz",
        "☃☃.\u0301example",
        "a" * 64 + ".example",
        "a." * 130 + "example",
        ".",
    ],
)
def test_a_bad_line_is_named(path: Path, line: str) -> None:
    with pytest.raises(CannotStart, match="line 2: ") as caught:
        listed(path, f"good.example\n{line}\n")
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_file_or_one_that_is_no_text_keeps_the_service_from_starting(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CannotStart, match="No such file"):
        BlockList(path, CollectorRegistry())
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(CannotStart, match="UTF-8"):
        BlockList(path, CollectorRegistry())
    monkeypatch.setattr(blocklist, "MAX_BYTES", 1)
    with pytest.raises(CannotStart, match="larger"):
        BlockList(path, CollectorRegistry())


def test_a_byte_order_mark_is_no_part_of_a_name(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbfevil.example\r\n")
    assert BlockList(path, CollectorRegistry()).has("evil.example")


def test_a_change_is_taken_over(path: Path) -> None:
    registry = CollectorRegistry()
    write(path, "one.example\n")
    blocked = BlockList(path, registry)
    write(path, "two.example\nthree.example\n")
    assert not blocked.has("two.example")
    blocked.refresh()
    assert blocked.has("two.example") and not blocked.has("one.example")
    assert registry.get_sample_value("shortener_block_list_names") == 2


def test_a_change_in_place_is_seen_by_its_time(path: Path) -> None:
    blocked = listed(path, "one.example\n")
    path.write_text("two.example\n", encoding="utf-8")
    os.utime(path, ns=(1, 1))
    blocked.refresh()
    assert blocked.has("two.example")


def test_what_cannot_be_read_leaves_the_list_before_and_is_said_once(path: Path) -> None:
    blocked = listed(path, "one.example\n")
    with capture_logs() as logs:
        write(path, "two.example\nhttp://three.example\n")
        for _ in range(3):
            blocked.refresh()
        assert blocked.has("one.example") and not blocked.has("two.example")
        assert [line["log_level"] for line in logs] == ["warning"]
        assert "line 2" in logs[0]["error"]
        path.unlink()
        for _ in range(3):
            blocked.refresh()
        assert blocked.has("one.example")
        assert [line["log_level"] for line in logs] == ["warning", "warning"]
        write(path, "two.example\n")
        blocked.refresh()
        assert blocked.has("two.example") and not blocked.has("one.example")
        assert [line["event"] for line in logs[2:]] == ["block list read"]


@pytest.mark.anyio
async def test_the_file_is_looked_at_again_and_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocklist, "CHECK_S", 0.005)
    blocked = listed(path, "one.example\n")
    watching = asyncio.create_task(blocked.keep_current())
    try:
        for host in ("two.example", "three.example"):
            write(path, f"{host}\n")
            for _ in range(6000):
                if blocked.has(host):
                    break
                await asyncio.sleep(0.005)
            assert blocked.has(host)
    finally:
        watching.cancel()


def test_an_unchanged_file_is_not_read_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = listed(path, "one.example\n")
    monkeypatch.setattr(blocklist, "read", lambda _path: pytest.fail("was read"))
    blocked.refresh()
