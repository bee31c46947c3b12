"""Accept-Encoding, media types, and what is kept in memory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.datastructures import Accept
from werkzeug.http import parse_accept_header

from week01_http_server.messages import Response
from week01_http_server.static.answers import representation
from week01_http_server.static.codings import accepted, accepted_quickly
from week01_http_server.static.media_types import compressible, media_type
from week01_http_server.static.memory import ENTRY_BYTES, Kept, Memory, unchanged


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (b"", "identity"),
        (b"gzip", "gzip identity"),
        (b"gzip, deflate, br, zstd", "br zstd gzip identity"),
        (b"gzip;q=1, br;q=0.5", "gzip br identity"),
        (b"gzip; q=0.5 ,br ; Q=0.50", "br gzip identity"),
        (b"GZIP", "gzip identity"),
        (b"x-gzip", "gzip identity"),
        (b"*", "br zstd gzip identity"),
        (b"*;q=0.5, gzip", "gzip br zstd identity"),
        (b"*, br;q=0", "zstd gzip identity"),
        (b"identity, gzip;q=0.5", "identity gzip"),
        (b"identity;q=0, gzip", "gzip"),
        (b"*;q=0", ""),
        (b"*;q=0, gzip", "gzip"),
        (b"*;q=0, identity;q=0.1", "identity"),
        (b"identity;q=0", ""),
        (b"br;q=0", "identity"),
        (b"br;q=0.000", "identity"),
        (b"deflate, compress, foo", "identity"),
        (b"br;q=1.001", "identity"),  # no weight: as if not there
        (b"br;q=0.1234, gzip", "gzip identity"),
        (b"br;q=-1, gzip;level=9", "identity"),
        (b",, ;q=1, br", "br identity"),
        (b"br;q=0, br", "identity"),  # the first word counts
    ],
)
def test_codings_are_wanted_in_this_order(value: bytes, wanted: str) -> None:
    assert [coding.decode() for coding in accepted(value)] == wanted.split()


def test_a_long_value_means_what_it_says() -> None:
    value = b"br;q=0, " + b"deflate, " * 50 + b"gzip"
    assert accepted_quickly(value) == accepted(value) == (b"gzip", b"identity")
    assert accepted_quickly(b"gzip") == (b"gzip", b"identity")


qualities = st.sampled_from(["", ";q=0", ";q=0.2", ";q=0.5", ";q=1"])


@given(
    st.dictionaries(
        st.sampled_from(["gzip", "br", "zstd", "identity", "deflate"]), qualities, min_size=1
    )
)
def test_werkzeug_gives_each_coding_the_same_place(weights: dict[str, str]) -> None:
    value = ", ".join(name + quality for name, quality in weights.items())
    theirs = parse_accept_header(value, Accept)
    ours = [coding.decode() for coding in accepted(value.encode())]
    named = [coding for coding in ours if coding in weights]
    for coding in ("gzip", "br", "zstd"):
        assert (coding in ours) == (theirs.quality(coding) > 0)
    assert [theirs.quality(coding) for coding in named] == sorted(
        (theirs.quality(coding) for coding in named), reverse=True
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.html", b"text/html; charset=utf-8"),
        ("A.HTML", b"text/html; charset=utf-8"),
        ("a.js", b"text/javascript; charset=utf-8"),
        ("a.min.css", b"text/css; charset=utf-8"),
        ("a.json", b"application/json"),
        ("a.svg", b"image/svg+xml"),
        ("a.png", b"image/png"),
        ("a.wasm", b"application/wasm"),
        ("a.tar.gz", b"application/gzip"),
        ("a.css.br", b"application/octet-stream"),
        ("a.unknown", b"application/octet-stream"),
        ("LICENSE", b"application/octet-stream"),
        ("html", b"application/octet-stream"),
        ("a.", b"application/octet-stream"),
    ],
)
def test_a_name_has_a_media_type(name: str, expected: bytes) -> None:
    assert media_type(name) == expected


def test_what_is_compressed_in_itself_has_no_codings() -> None:
    assert compressible("a.js")
    assert not compressible("a.png")
    assert not compressible("a.css.br")
    assert not compressible("css")


def kept(body: bytes, stat: os.stat_result) -> Kept:
    file = representation("a.txt", b"identity", stat, stat.st_ctime + 10)
    return Kept(((b"a.txt", stat),), file, Response(200, file.fields, body))


def test_memory_lets_go_of_what_was_used_longest_ago(tmp_path: Path) -> None:
    stat = tmp_path.stat()
    memory = Memory(2 * (ENTRY_BYTES + 100))
    memory.put(b"/1", kept(b"x" * 100, stat))
    memory.put(b"/2", kept(b"x" * 100, stat))
    assert memory.get(b"/1") is not None
    memory.put(b"/3", kept(b"x" * 100, stat))
    assert memory.get(b"/2") is None
    assert memory.get(b"/1") is not None
    assert memory.get(b"/3") is not None
    assert memory.used_bytes == memory.limit_bytes


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9000), st.booleans()), max_size=30))
def test_memory_never_holds_more_than_its_limit(steps: list[tuple[int, int, bool]]) -> None:
    stat = Path.cwd().stat()
    memory = Memory(20_000)
    for number, size, drop in steps:
        key = b"/%d" % number
        if drop:
            memory.drop(key)
            assert memory.get(key) is None
        else:
            memory.put(key, kept(b"x" * size, stat))
            assert memory.get(key) is not None
        assert 0 <= memory.used_bytes <= memory.limit_bytes
    for number in range(6):
        memory.drop(b"/%d" % number)
    assert memory.used_bytes == 0
    assert len(memory) == 0


def test_one_file_larger_than_the_memory_is_not_kept(tmp_path: Path) -> None:
    memory = Memory(1000)
    memory.put(b"/1", kept(b"x", tmp_path.stat()))
    assert len(memory) == 0
    assert memory.used_bytes == 0


def test_a_file_is_unchanged_until_it_is_written_replaced_or_linked(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"one")
    before = file.stat()
    assert unchanged(before, file.stat())
    other = tmp_path / "b"
    other.write_bytes(b"one")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(file)
    assert not unchanged(before, file.stat())
