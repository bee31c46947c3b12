import json
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from week01_http_server.access_log import LINE_MAX_BYTES, AccessLog, LineWriter
from week01_http_server.exchange import Peer
from week01_http_server.journal import BATCH_MAX, Entry, Journal
from week01_http_server.messages import Headers, Request
from week01_http_server.transport.forwarded import Trust

PEER = Peer(("192.0.2.1", 4711), ("127.0.0.1", 80), False)
WHEN = 1_700_000_000.25


def request(method: str = "GET", target: bytes = b"/a?b=c", headers: Headers = ()) -> Request:
    return Request(
        method, target, target, b"", b"a", "1.1", list(headers), True, False, None, False, None
    )


def lines(*entries: Entry, trust: tuple[str, ...] = ()) -> list[str]:
    written: list[str] = []
    AccessLog(written.extend, Trust(trust))(entries)
    return written


def logged(*entries: Entry, trust: tuple[str, ...] = ()) -> list[dict[str, object]]:
    return [json.loads(line) for line in lines(*entries, trust=trust)]


def test_a_line_says_who_asked_for_what_and_what_came_of_it() -> None:
    sent = request(headers=[(b"user-agent", b"curl/8"), (b"x-request-id", b"abc")])
    [line] = logged((sent, PEER, 200, 1234, 0.0015, WHEN))
    assert line == {
        "time": "2023-11-14T22:13:20.250Z",
        "client": "192.0.2.1",
        "method": "GET",
        "target": "/a?b=c",
        "status": 200,
        "bytes": 1234,
        "duration_ms": 1.5,
        "request_id": "abc",
        "user_agent": "curl/8",
    }


def test_what_is_not_known_is_null() -> None:
    [unix, refused] = logged(
        (request(), Peer(None, None, False), 204, 1, 0.0, WHEN), (None, PEER, 400, 9, 0.0, WHEN)
    )
    assert [unix["client"], unix["request_id"], unix["user_agent"]] == [None] * 3
    assert [refused[name] for name in ("method", "target", "request_id", "user_agent")] == (
        [None] * 4
    )
    assert list(unix) == list(refused)


def test_the_client_behind_a_trusted_proxy_is_logged() -> None:
    sent = request(headers=[(b"x-forwarded-for", b"203.0.113.9")])
    entry = (sent, PEER, 200, 1, 0.0, WHEN)
    assert logged(entry, trust=("192.0.2.1",))[0]["client"] == "203.0.113.9"
    assert logged(entry, trust=("10.0.0.1",))[0]["client"] == "192.0.2.1"


@given(
    method=st.text(max_size=200),
    target=st.binary(max_size=9000),
    agent=st.binary(max_size=9000),
    request_id=st.binary(max_size=50),
    host=st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
)
def test_no_request_can_forge_a_line_or_tear_one_apart(
    method: str, target: bytes, agent: bytes, request_id: bytes, host: str
) -> None:
    sent = request(method, target, [(b"user-agent", agent), (b"x-request-id", request_id)])
    [text] = lines((sent, Peer((host, 1), None, False), 200, 1, 0.1, WHEN))
    assert text.endswith("\n")
    assert text.count("\n") == 1
    assert len(text) <= LINE_MAX_BYTES
    assert text.isascii()
    assert text[:-1].isprintable()
    line = json.loads(text)
    assert line["status"] == 200
    if "cut" not in line:
        assert line["target"].encode("latin-1") == target
        assert line["user_agent"].encode("latin-1") == agent
        assert line["request_id"].encode("latin-1") == request_id
        assert line["method"] == method
    else:
        assert target.startswith(line["target"].encode("latin-1"))


def test_the_stamp_moves_with_time() -> None:
    moments = [WHEN, WHEN, WHEN + 0.001, WHEN + 1, WHEN + 86_400]
    stamps = [line["time"] for line in logged(*((None, PEER, 400, 1, 0.0, at) for at in moments))]
    assert stamps == [
        "2023-11-14T22:13:20.250Z",
        "2023-11-14T22:13:20.250Z",
        "2023-11-14T22:13:20.251Z",
        "2023-11-14T22:13:21.250Z",
        "2023-11-15T22:13:20.250Z",
    ]


# ---- The writer


def test_lines_reach_a_file_in_order(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb") as file:
        writer = LineWriter(file.fileno())
        for number in range(100):
            writer.write([f"{number}\n", f"{number}b\n"])
        writer.close()
    assert path.read_text().split() == [
        text for number in range(100) for text in (str(number), f"{number}b")
    ]
    assert writer.lost_lines == 0


def test_to_a_pipe_lines_are_written_whole_and_small_enough_not_to_be_torn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reading, writing = os.pipe()
    pieces: list[bytes] = []
    real = os.write

    def write(fd: int, data: bytes) -> int:
        pieces.append(bytes(data))
        return real(fd, data)

    monkeypatch.setattr(os, "write", write)
    writer = LineWriter(writing)
    writer.write([f"{number:0300d}\n" for number in range(50)])
    writer.close()
    os.close(writing)
    assert len(pieces) > 1
    for piece in pieces:
        assert len(piece) <= LINE_MAX_BYTES
        assert piece.endswith(b"\n")
    with os.fdopen(reading, "rb") as whole:
        assert [int(line) for line in whole] == list(range(50))


def test_a_reader_that_does_not_read_costs_lines_and_no_time() -> None:
    reading, writing = os.pipe()
    writer = LineWriter(writing)
    line = "x" * 999 + "\n"
    for _ in range(100):
        writer.write([line] * 100)
    assert 0 < writer.lost_lines < 10_000
    written = 10_000 - writer.lost_lines
    received = 0
    while received < written * len(line):
        received += len(os.read(reading, 1 << 20))
    writer.close()
    assert received == written * len(line)
    os.close(reading)
    os.close(writing)


def test_a_reader_that_is_gone_costs_lines_and_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    writer = LineWriter(writing)
    writer.write(["a\n", "b\n"])
    writer.close()
    assert writer.lost_lines == 2
    os.close(writing)


def test_a_descriptor_that_somebody_made_non_blocking_is_waited_for() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    writer = LineWriter(writing)
    writer.write(["x" * 999 + "\n"] * 500)
    received: list[bytes] = []

    def read() -> None:
        while data := os.read(reading, 4096):
            received.append(data)

    reader = threading.Thread(target=read)
    reader.start()
    writer.close()
    os.close(writing)
    reader.join()
    os.close(reading)
    assert len(b"".join(received)) == 500_000
    assert writer.lost_lines == 0


# ---- The journal


def test_a_full_batch_is_handed_on_at_once_and_the_rest_by_flush() -> None:
    batches: list[int] = []
    journal = Journal([lambda batch: batches.append(len(batch))])
    for _ in range(BATCH_MAX + 3):
        journal(None, PEER, 400, 1, 0.0)
    assert batches == [BATCH_MAX]
    journal.flush()
    journal.flush()
    assert batches == [BATCH_MAX, 3]


def test_it_retires_once_after_so_many_answers() -> None:
    retired: list[bool] = []
    journal = Journal([], retire_after=10, retire=lambda: retired.append(True))
    for _ in range(9):
        journal(request(), PEER, 200, 1, 0.0)
    journal.flush()
    assert retired == []
    journal(request(), PEER, 200, 1, 0.0)
    journal.flush()
    assert retired == [True]
    for _ in range(30):
        journal(request(), PEER, 200, 1, 0.0)
    journal.flush()
    assert retired == [True]
