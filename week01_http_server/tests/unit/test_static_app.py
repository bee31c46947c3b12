"""The application on a real directory with a secret beside it, without sockets."""

from __future__ import annotations

import asyncio
import email.parser
import gzip
import os
import re
import time
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from week01_http_server.exchange import Exchange, Wire
from week01_http_server.http1 import responses
from week01_http_server.messages import Headers, Request
from week01_http_server.static import pages
from week01_http_server.static.app import DirectoryUnusable, FilesApplication

SECRET = b"THE-SECRET-BESIDE-THE-ROOT"
LARGE = bytes(range(256)) * 1024  # 256 KiB


@dataclass
class Said:
    """An answer, and whether the plain handler gave it."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes
    plain: bool


class FakeWire:
    """A connection that remembers what is written to it."""

    blocked = False

    def __init__(self) -> None:
        self.status = 0
        self.headers: Headers = ()
        self.framing = 0
        self.body = b""
        self.broken = ""

    def ready_answer(
        self, request: Request, status: int, headers: Headers, body: bytes
    ) -> bytes | None:
        return None

    def open_answer(
        self, exchange: Exchange, status: int, headers: Headers, length: int | None
    ) -> tuple[bytes, int]:
        method = exchange.request.method
        self.framing, _keep_alive = responses.plan(
            status,
            headers,
            method=method,
            request_version="1.1",
            keep_alive=True,
            body_length=length,
        )
        self.status, self.headers = status, headers
        bodiless = responses.is_bodiless(method, status)
        return b"", responses.NO_BODY if bodiless else self.framing

    def write(self, data: bytes) -> None:
        self.body += data

    def fail(self, exchange: Exchange) -> None:
        self.broken = "500"

    def cut(self, exchange: Exchange) -> None:
        self.broken = "cut"

    def __getattr__(self, name: str) -> Any:
        return lambda *args: None


def request(target: str, method: str = "GET", **fields: str) -> Request:
    path, _mark, query = target.encode().partition(b"?")
    headers = [(k.replace("_", "-").encode(), v.encode()) for k, v in fields.items()]
    return Request(
        method=method,
        target=target.encode(),
        path=path,
        query=query,
        authority=b"x",
        version="1.1",
        headers=[(b"host", b"x"), *headers],
        keep_alive=True,
        has_body=False,
        content_length=None,
        expects_continue=False,
        upgrade=None,
    )


def ask(app: FilesApplication, asked: Request) -> Said:
    """What a server would answer."""
    response = app.plain(asked)
    if response is not None:
        framing, _keep_alive = responses.plan(
            response.status,
            response.headers,
            method=asked.method,
            request_version="1.1",
            keep_alive=True,
            body_length=len(response.body),
        )
        body = b"" if responses.is_bodiless(asked.method, response.status) else response.body
        return said(response.status, response.headers, framing, body, plain=True)
    wire = FakeWire()
    exchange = Exchange(asked, cast(Wire, wire))
    asyncio.run(_run(exchange.run(app.stream)))
    assert not wire.broken, wire.broken
    return said(wire.status, wire.headers, wire.framing, wire.body, plain=False)


async def _run(running: Awaitable[None]) -> None:
    await running


def said(status: int, headers: Headers, framing: int, body: bytes, *, plain: bool) -> Said:
    fields = dict(headers)
    names = [name for name, _value in headers]
    assert len(names) == len(set(names)), names
    if framing >= 0:
        fields[b"content-length"] = b"%d" % framing
    return Said(status, fields, body, plain)


class Later:
    """A clock by which everything that was just written has settled."""

    ahead_s = 3600.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make(tmp_path)


def make(tmp_path: Path) -> Path:
    (tmp_path / "secret.txt").write_bytes(SECRET)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "passwd").write_bytes(SECRET)
    root = tmp_path / "root"
    (root / "docs" / "empty").mkdir(parents=True)
    (root / ".git").mkdir()
    (root / ".git" / "config").write_bytes(SECRET)
    (root / ".well-known").mkdir()
    (root / ".well-known" / "security.txt").write_bytes(b"contact")
    (root / "index.html").write_bytes(b"<p>index")
    (root / "docs" / "index.html").write_bytes(b"<p>docs")
    (root / "a.txt").write_bytes(b"0123456789")
    (root / "empty.txt").write_bytes(b"")
    (root / "large.bin").write_bytes(LARGE)
    (root / "a b.png").write_bytes(b"png")
    (root / "site.css").write_bytes(b"body {}" * 20)
    (root / "site.css.gz").write_bytes(gzip.compress(b"body {}" * 20))
    (root / "site.css.br").write_bytes(b"as if brotli")
    (root / "out.txt").symlink_to("../secret.txt")
    (root / "up").symlink_to("..")
    (root / "etc").symlink_to("/etc")
    (root / "inside.txt").symlink_to("a.txt")
    (root / "linked.css").write_bytes(b"plain")
    (root / "linked.css.gz").symlink_to("../secret.txt")
    return root


@pytest.fixture
def app(root: Path) -> Iterator[FilesApplication]:
    app = FilesApplication(root, clock=Later())
    yield app
    asyncio.run(app.shutdown())


# ---- Files


def test_a_small_file_is_answered_from_memory_the_second_time(app: FilesApplication) -> None:
    first = ask(app, request("/a.txt"))
    second = ask(app, request("/a.txt"))
    assert (first.plain, second.plain) == (False, True)
    assert replace(first, plain=True) == second
    assert second.status == 200
    assert second.body == b"0123456789"
    assert second.headers[b"content-length"] == b"10"
    assert second.headers[b"content-type"] == b"text/plain; charset=utf-8"
    assert second.headers[b"x-content-type-options"] == b"nosniff"
    assert second.headers[b"accept-ranges"] == b"bytes"
    assert re.fullmatch(rb'"[0-9a-f-]+"', second.headers[b"etag"])


def test_a_large_file_is_sent_from_its_descriptor(app: FilesApplication) -> None:
    for _ in range(2):
        answer = ask(app, request("/large.bin"))
        assert (answer.status, answer.body, answer.plain) == (200, LARGE, False)


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/", 200, b"<p>index"),
        ("/index.html", 200, b"<p>index"),
        ("/docs/", 200, b"<p>docs"),
        ("/docs/../docs/./", 200, b"<p>docs"),
        ("/a%20b.png", 200, b"png"),
        ("/%61.txt", 200, b"0123456789"),
        ("/inside.txt", 200, b"0123456789"),
        ("/empty.txt", 200, b""),
        ("/.well-known/security.txt", 200, b"contact"),
        ("/a.txt/", 404, None),
        ("/a.txt/b", 404, None),
        ("/absent", 404, None),
        ("/docs/empty/", 404, None),
        ("/out.txt", 404, None),
        ("/up/secret.txt", 404, None),
        ("/etc/passwd", 404, None),
        ("/.git/config", 404, None),
        ("/../secret.txt", 400, None),
        ("/docs/%2e%2e/%2e%2e/secret.txt", 400, None),
        ("/..%2fsecret.txt", 404, None),
        ("/" + "n" * 255, 404, None),
    ],
)
def test_a_path_is_answered(
    app: FilesApplication, path: str, status: int, body: bytes | None
) -> None:
    for _ in range(2):
        answer = ask(app, request(path))
        assert answer.status == status
        if body is not None:
            assert answer.body == body


def test_a_directory_redirects_to_its_slash(app: FilesApplication) -> None:
    answer = ask(app, request("/docs?q=1"))
    assert (answer.status, answer.headers[b"location"]) == (301, b"./docs/?q=1")


def test_what_is_neither_file_nor_directory_is_not_there(app: FilesApplication, root: Path) -> None:
    os.mkfifo(root / "fifo")
    assert ask(app, request("/fifo")).status == 404


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_forbidden(app: FilesApplication, root: Path) -> None:
    (root / "a.txt").chmod(0)
    assert ask(app, request("/a.txt")).status == 403


def test_a_directory_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DirectoryUnusable, match=r"cannot serve .*/absent: No such file"):
        FilesApplication(tmp_path / "absent")


# ---- Methods


@pytest.mark.parametrize("path", ["/a.txt", "/absent", "*"])
def test_options_tells_what_is_allowed(app: FilesApplication, path: str) -> None:
    answer = ask(app, request(path, "OPTIONS"))
    assert (answer.status, answer.headers[b"allow"]) == (204, b"GET, HEAD, OPTIONS")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE", "get"])
def test_other_methods_are_not_allowed(app: FilesApplication, method: str) -> None:
    answer = ask(app, request("/a.txt", method))
    assert (answer.status, answer.headers[b"allow"]) == (405, b"GET, HEAD, OPTIONS")


@pytest.mark.parametrize("path", ["/a.txt", "/large.bin", "/absent", "/docs", "/site.css"])
@pytest.mark.parametrize("warm", [False, True])
def test_head_is_get_without_its_body(app: FilesApplication, path: str, warm: bool) -> None:
    if warm:
        ask(app, request(path))
    head = ask(app, request(path, "HEAD"))
    get = ask(app, request(path))
    assert head.body == b""
    assert (head.status, head.headers) == (get.status, get.headers)


def test_head_has_no_ranges(app: FilesApplication) -> None:
    answer = ask(app, request("/a.txt", "HEAD", range="bytes=0-1"))
    assert (answer.status, answer.headers[b"content-length"]) == (200, b"10")


# ---- Conditions and ranges, out of memory and from the descriptor alike


@pytest.fixture(params=["/a.txt", "/large.bin"])
def path(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_file_is_not_sent_again(app: FilesApplication, path: str) -> None:
    got = ask(app, request(path))
    etag = got.headers[b"etag"].decode()
    date = got.headers[b"last-modified"].decode()
    for fields in ({"if_none_match": etag}, {"if_modified_since": date}):
        answer = ask(app, request(path, **fields))
        assert (answer.status, answer.body) == (304, b"")
        assert answer.headers[b"etag"] == got.headers[b"etag"]
        assert b"content-type" not in answer.headers
    assert ask(app, request(path, if_match='"other"')).status == 412
    assert ask(app, request(path, if_match=etag)).status == 200


def test_a_part_of_a_file(app: FilesApplication, path: str) -> None:
    whole = ask(app, request(path))
    size = len(whole.body)
    for _ in range(2):
        answer = ask(app, request(path, range="bytes=2-4"))
        assert (answer.status, answer.body) == (206, whole.body[2:5])
        assert answer.headers[b"content-range"] == b"bytes 2-4/%d" % size
        assert answer.headers[b"content-length"] == b"3"
    beyond = ask(app, request(path, range=f"bytes={size}-"))
    assert beyond.status == 416
    assert beyond.headers[b"content-range"] == b"bytes */%d" % size
    assert ask(app, request(path, range="bytes=4-2")).body == whole.body
    assert ask(app, request(path, range="bytes=0-1", if_range='"other"')).body == whole.body
    etag = whole.headers[b"etag"].decode()
    assert ask(app, request(path, range="bytes=0-1", if_range=etag)).body == whole.body[:2]


def test_several_parts_of_a_file(app: FilesApplication, path: str) -> None:
    whole = ask(app, request(path))
    size = len(whole.body)
    answer = ask(app, request(path, range="bytes=5-6,0-1,-1"))
    assert answer.status == 206
    assert answer.headers[b"content-length"] == b"%d" % len(answer.body)
    kind = answer.headers[b"content-type"]
    message = email.parser.BytesParser().parsebytes(
        b"content-type: " + kind + b"\r\n\r\n" + answer.body
    )
    parts = [
        (part["content-range"], cast(bytes, part.get_payload(decode=True)))
        for part in cast(list[email.message.Message], message.get_payload())
    ]
    assert parts == [
        (f"bytes 5-6/{size}", whole.body[5:7]),
        (f"bytes 0-1/{size}", whole.body[0:2]),
        (f"bytes {size - 1}-{size - 1}/{size}", whole.body[-1:]),
    ]
    assert {part["content-type"] for part in cast(Any, message.get_payload())} == {
        whole.headers[b"content-type"].decode()
    }


# ---- Codings


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        ("gzip", b"gzip"),
        ("gzip, br", b"br"),
        ("zstd, gzip;q=0.1", b"gzip"),
        ("gzip;q=0.5, br;q=0.4", b"gzip"),
        ("identity", None),
        ("deflate", None),
        ("", None),
    ],
)
def test_a_stored_coding_is_chosen(
    app: FilesApplication, root: Path, accept: str, coding: bytes | None
) -> None:
    ending = {b"gzip": ".gz", b"br": ".br", None: ""}[coding]
    for plain in (False, True):
        answer = ask(app, request("/site.css", accept_encoding=accept))
        assert answer.plain is plain
        assert answer.status == 200
        assert answer.headers.get(b"content-encoding") == coding
        assert answer.headers[b"vary"] == b"accept-encoding"
        assert answer.headers[b"content-type"] == b"text/css; charset=utf-8"
        assert answer.body == (root / f"site.css{ending}").read_bytes()


def test_each_coding_has_its_own_tag(app: FilesApplication) -> None:
    tags = {
        ask(app, request("/site.css", accept_encoding=accept)).headers[b"etag"]
        for accept in ("br", "gzip", "identity")
    }
    assert len(tags) == 3


def test_a_range_is_one_of_the_coding(app: FilesApplication, root: Path) -> None:
    answer = ask(app, request("/site.css", accept_encoding="gzip", range="bytes=0-1"))
    assert (answer.status, answer.body) == (206, b"\x1f\x8b")
    assert answer.headers[b"content-encoding"] == b"gzip"


def test_nothing_acceptable_is_406(app: FilesApplication) -> None:
    assert ask(app, request("/site.css", accept_encoding="identity;q=0")).status == 406
    assert ask(app, request("/site.css", accept_encoding="*;q=0")).status == 406
    assert ask(app, request("/a%20b.png", accept_encoding="gzip, *;q=0")).status == 406


def test_a_coding_older_than_its_file_is_left_alone(app: FilesApplication, root: Path) -> None:
    os.utime(root / "site.css.br", (1, 1))
    answer = ask(app, request("/site.css", accept_encoding="br"))
    assert b"content-encoding" not in answer.headers


def test_a_coding_that_appears_or_goes_is_noticed(app: FilesApplication, root: Path) -> None:
    def coding() -> bytes | None:
        answers = [ask(app, request("/site.css", accept_encoding="zstd, br")) for _ in range(2)]
        assert [answer.plain for answer in answers] == [False, True]
        return answers[1].headers.get(b"content-encoding")

    assert coding() == b"br"
    (root / "site.css.br").unlink()
    assert coding() is None
    (root / "site.css.zst").write_bytes(b"as if zstd")
    assert coding() == b"zstd"


def test_a_coding_behind_a_link_that_leads_out_is_not_there(app: FilesApplication) -> None:
    for _ in range(2):
        answer = ask(app, request("/linked.css", accept_encoding="gzip"))
        assert (answer.status, answer.body) == (200, b"plain")


# ---- Changes


def test_a_changed_file_is_sent_as_it_is_now(app: FilesApplication, root: Path) -> None:
    before = ask(app, request("/a.txt"))
    (root / "a.txt").write_bytes(b"9876543210")
    after = ask(app, request("/a.txt"))
    assert after.body == b"9876543210"
    assert after.headers[b"etag"] != before.headers[b"etag"]
    (root / "a.txt").unlink()
    assert ask(app, request("/a.txt")).status == 404
    (root / "a.txt").symlink_to("../secret.txt")
    assert ask(app, request("/a.txt")).status == 404


def test_a_file_that_changed_a_moment_ago_is_not_kept_and_has_a_weak_tag(root: Path) -> None:
    clock = Later()
    clock.ahead_s = 0
    app = FilesApplication(root, clock=clock)
    (root / "young.txt").write_bytes(b"one")
    for _ in range(2):
        answer = ask(app, request("/young.txt"))
        assert not answer.plain
        assert answer.headers[b"etag"].startswith(b"W/")
    clock.ahead_s = 10
    assert not ask(app, request("/young.txt")).headers[b"etag"].startswith(b"W/")
    assert ask(app, request("/young.txt")).plain
    asyncio.run(app.shutdown())


def test_a_file_that_changes_at_every_reading_is_answered_503(
    app: FilesApplication, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = pages.read

    async def changing(fd: int, count: int) -> bytes:
        (root / "a.txt").write_bytes(b"x" * (count + 1))
        return await read(fd, count)

    monkeypatch.setattr(pages, "read", changing)
    answer = ask(app, request("/a.txt"))
    assert (answer.status, answer.headers[b"retry-after"]) == (503, b"1")


def test_a_large_file_that_becomes_shorter_cuts_the_answer(root: Path) -> None:
    app = FilesApplication(root)
    wire = FakeWire()
    sent = wire.write

    def shortening(data: bytes) -> None:
        sent(data)
        os.truncate(root / "large.bin", 10)

    wire.write = shortening  # type: ignore[method-assign]
    exchange = Exchange(request("/large.bin"), cast(Wire, wire))
    asyncio.run(_run(exchange.run(app.stream)))
    assert wire.broken == "cut"
    asyncio.run(app.shutdown())


def test_no_descriptor_is_left_behind(app: FilesApplication) -> None:
    def count() -> int:
        return len(os.listdir("/dev/fd"))  # noqa: PTH208 - the names are wanted, not paths

    before = count()
    for path in ("/a.txt", "/large.bin", "/docs", "/docs/", "/docs/empty/", "/out.txt"):
        for accept in ("br, gzip", "identity", "*;q=0"):
            for method in ("GET", "HEAD"):
                ask(app, request(path, method, accept_encoding=accept))
    for path in ("/site.css", "/linked.css"):
        ask(app, request(path, accept_encoding="gzip"))
    assert count() == before


def test_too_many_open_files_are_answered_503(
    app: FilesApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*args: object, **kwargs: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "open", exhausted)
    answer = ask(app, request("/a.txt"))
    assert (answer.status, answer.headers[b"retry-after"]) == (503, b"1")


# ---- The property


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FilesApplication]:
    app = FilesApplication(make(tmp_path_factory.mktemp("property")), clock=Later())
    yield app
    asyncio.run(app.shutdown())


words = st.sampled_from(
    [
        *("/", "//", "..", ".", "%2e%2e", "%2E.", "..%2f", "%2f", "\\", "%5c", "%252e%252e", "%00"),
        *("%c0%ae%c0%ae", "%c0%af", "..%c0%af", "%e0%80%ae", "..;", "secret.txt", "secret", "root"),
        *("up", "etc", "passwd", "out.txt", ".git", "config", "docs", "a.txt", "site.css"),
        *("linked.css", ".gz", "large.bin", "inside.txt", "proc/self/cwd", "%ff", "?", "#"),
    ]
)
ranges = st.sampled_from(["bytes=0-", "bytes=-5", "bytes=0-0,-1", "bytes=99999-", "bytes=5-1", "x"])


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.lists(words, max_size=9),
    st.sampled_from(["GET", "HEAD"]),
    st.dictionaries(st.sampled_from(["range"]), ranges),
    st.dictionaries(st.just("accept_encoding"), st.sampled_from(["gzip", "br, zstd", "*;q=0"])),
)
def test_no_request_yields_a_byte_from_outside_the_root(
    shared: FilesApplication,
    path: list[str],
    method: str,
    fields: dict[str, str],
    accept: dict[str, str],
) -> None:
    asked = "/" + "/".join(path) if len(path) % 2 else "/" + "".join(path)
    answer = ask(shared, request(asked, method, **fields, **accept))
    assert SECRET not in answer.body
    assert b"root:" not in answer.body
    if answer.status in (200, 206) and b"content-range" not in answer.headers:
        known = {b"", b"<p>index", b"<p>docs", b"0123456789", b"as if brotli", b"plain", LARGE}
        known |= {b"body {}" * 20, gzip.compress(b"body {}" * 20, mtime=0)}
        kind = answer.headers[b"content-type"]
        encoded = answer.headers.get(b"content-encoding")
        assert answer.body in known or encoded == b"gzip" or kind.startswith(b"multipart/")
