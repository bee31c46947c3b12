"""Paths: what they name, and what they cannot name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from week01_http_server.static.paths import DEPTH_MAX, PathRefused, Place, place_of, with_slash


@pytest.mark.parametrize(
    ("path", "names", "directory"),
    [
        (b"/", (), True),
        (b"/a.txt", ("a.txt",), False),
        (b"/a/b/c.css", ("a", "b", "c.css"), False),
        (b"/a/", ("a",), True),
        (b"/a%20b", ("a b",), False),
        (b"/%61", ("a",), False),
        (b"/%C3%A9.txt", ("é.txt",), False),
        (b"/a+b", ("a+b",), False),
        (b"/a/./b", ("a", "b"), False),
        (b"/a/../b", ("b",), False),
        (b"/a/b/..", ("a",), True),
        (b"/a/.", ("a",), True),
        (b"/a/%2e%2E/b", ("b",), False),
        (b"/%252e%252e/x", ("%2e%2e", "x"), False),  # decoded once: an odd name, no climbing
        (b"/%25", ("%",), False),
        (b"/...", None, False),  # hidden
        (b"/a..b", ("a..b",), False),
        (b"/.well-known/acme/token", (".well-known", "acme", "token"), False),
    ],
)
def test_a_path_names_a_place(path: bytes, names: tuple[str, ...] | None, directory: bool) -> None:
    if names is None:
        with pytest.raises(PathRefused):
            place_of(path)
        return
    assert place_of(path) == Place(names, directory)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (b"", 400),
        (b"*", 400),
        (b"a", 400),
        (b"/..", 400),
        (b"/../etc/passwd", 400),
        (b"/a/../../etc/passwd", 400),
        (b"/%2e%2e/etc/passwd", 400),
        (b"/%2e./etc/passwd", 400),
        (b"/.%2E/etc/passwd", 400),
        (b"/a/%2e%2e/%2e%2e/x", 400),
        (b"/%", 400),
        (b"/%2", 400),
        (b"/%zz", 400),
        (b"/%u002e", 400),
        (b"/a%00.txt", 400),
        (b"/\x00", 400),
        (b"/a b", 400),
        (b"/\xc3\xa9", 400),
        (b"/%ff", 400),
        (b"/%c0%ae%c0%ae/x", 400),  # overlong "."
        (b"/%c0%af", 400),  # overlong "/"
        (b"/%e0%80%af", 400),
        (b"/%f0%80%80%af", 400),
        (b"/%c0%80", 400),  # overlong NUL
        (b"/%ed%a0%80", 400),  # a surrogate
        (b"/..%2fetc%2fpasswd", 404),
        (b"/%2e%2e%2fetc", 404),
        (b"/a%2fb", 404),
        (b"/a%5cb", 404),
        (b"/..\\etc", 404),
        (b"/..%5c..%5cetc", 404),
        (b"/a%0ab", 404),
        (b"/a%7f", 404),
        (b"//etc/passwd", 404),
        (b"//", 404),
        (b"/a//b", 404),
        (b"/.git/config", 404),
        (b"/a/.env", 404),
        (b"/%2ehtpasswd", 404),
        (b"/a/.well-known/x", 404),
        (b"/.well-known/.git", 404),
        (b"/" + b"a" * 256, 404),
        (b"/" + b"%C3%A9" * 128, 404),  # 256 bytes of name
        (b"/a" * (DEPTH_MAX + 1), 404),
    ],
)
def test_a_path_is_refused(path: bytes, status: int) -> None:
    with pytest.raises(PathRefused) as refused:
        place_of(path)
    assert refused.value.status == status


def test_hidden_names_are_served_where_wanted() -> None:
    assert place_of(b"/.git/config", hidden=True).names == (".git", "config")
    with pytest.raises(PathRefused):
        place_of(b"/..", hidden=True)


pieces = st.sampled_from(
    [
        *("/", "//", ".", "..", "...", "..;", "\\", "?", "#", "%", "a", "b.txt", "é", "~"),
        *("%2e", "%2E", "%252e", "%2f", "%5c", "%00", "%c0%ae", "%c0%af", "%2e%2e/"),
    ]
)
paths = st.one_of(
    st.binary(max_size=40),
    st.lists(pieces, max_size=12).map(lambda chosen: "".join(chosen).encode()),
)


@given(paths, st.booleans())
def test_no_path_yields_a_name_that_can_climb(path: bytes, hidden: bool) -> None:
    try:
        place = place_of(b"/" + path, hidden=hidden)
    except PathRefused:
        return
    for name in place.names:
        assert name not in ("", ".", "..")
        assert not set(name) & set("/\\\0")


@given(paths)
def test_the_canonical_path_names_the_same_place(path: bytes) -> None:
    try:
        place = place_of(b"/" + path)
    except PathRefused:
        return
    canonical = place.canonical
    assert place_of(canonical) == Place(place.names, place.directory)
    assert place_of(canonical).canonical == canonical


@pytest.mark.parametrize(
    ("path", "query", "location"),
    [
        (b"/docs", b"", b"./docs/"),
        (b"/a/docs", b"x=1&y=%20", b"./docs/?x=1&y=%20"),
        (b"/a:b", b"", b"./a:b/"),
        (b"/a%20b%22", b"", b"./a%20b%22/"),
        (b"/docs", b"x\r\nset-cookie: a=b", b"./docs/"),
    ],
)
def test_a_directory_is_sent_to_its_slash(path: bytes, query: bytes, location: bytes) -> None:
    assert with_slash(place_of(path), query) == location
