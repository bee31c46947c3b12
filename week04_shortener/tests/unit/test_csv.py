"""CSV files: rows as they arrive, and links as rows."""

import csv
import io
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from week04_shortener.api import csvlinks
from week04_shortener.api.csvrows import MAX_CELL_BYTES, MAX_CELLS, NotUtf8, Reader, Row
from week04_shortener.links import Link

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def read(data: bytes, piece: int = 10**9) -> list[Row]:
    reader = Reader()
    rows: list[Row] = []
    for at in range(0, len(data), piece):
        rows += reader.feed(data[at : at + piece])
    return [*rows, *reader.end()]


def cells(data: bytes) -> list[tuple[str, ...]]:
    rows = read(data)
    assert [row.fault for row in rows if row.fault] == []
    return [row.cells for row in rows]


@pytest.mark.parametrize(
    ("data", "rows"),
    [
        (b"", []),
        (b"a", [("a",)]),
        (b"a,b\r\nc,d\r\n", [("a", "b"), ("c", "d")]),
        (b"a,b\nc,d", [("a", "b"), ("c", "d")]),
        (b"a,b\rc,d\r", [("a", "b"), ("c", "d")]),
        (b"\xef\xbb\xbfa,b\n", [("a", "b")]),
        (b"\xef\xbb\xbf", []),
        (b"\n\r\n\na\n\n", [("a",)]),
        (b",\n", [("", "")]),
        (b'""\n', [("",)]),
        (b'"a,b","c""d"\n', [("a,b", 'c"d')]),
        (b'"a\nb\r\nc",d\ne\n', [("a\nb\r\nc", "d"), ("e",)]),
        ("é,\U0001f600\n".encode(), [("é", "\U0001f600")]),
    ],
)
@pytest.mark.parametrize("piece", [1, 2, 3, 10**9])
def test_rows(data: bytes, rows: list[tuple[str, ...]], piece: int) -> None:
    assert [row.cells for row in read(data, piece)] == rows


@given(
    st.lists(st.lists(st.text(max_size=5), min_size=1, max_size=4), max_size=5),
    st.sampled_from(["\r\n", "\n", "\r"]),
    st.integers(1, 9),
)
def test_what_pythons_csv_writes_is_read(table: list[list[str]], end: str, piece: int) -> None:
    table = [[cell.replace("\0", "") for cell in row] for row in table]
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator=end, quoting=csv.QUOTE_ALL).writerows(table)
    rows = read(buffer.getvalue().encode("utf-8", "surrogatepass"), piece)
    assert [row.cells for row in rows] == [tuple(row) for row in table]


@given(st.binary(max_size=60), st.integers(1, 5))
def test_any_bytes_are_read_the_same_in_any_pieces(data: bytes, piece: int) -> None:
    try:
        whole = read(data)
    except NotUtf8:
        return
    assert read(data, piece) == whole


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (b"\xff,x", "not UTF-8"), ("caf\xe9,x".encode("latin-1"), "not UTF-8"),
        (b"a\0b,x", "NUL"), (b'a"b,x', "a quote in a cell"), (b'"a"b,x', "after a closing quote"),
        (b'"a" ,x', "after a closing quote"), (b"a" * 100_000, f"more than {MAX_CELL_BYTES}"),
        (b'"' + b"a\n" * 50_000 + b'"', f"more than {MAX_CELL_BYTES}"),
        (b"," * MAX_CELLS, f"more than {MAX_CELLS} cells"), (b"," * 100_000, "cells"),
        (b'"' + b'""' * 100_000 + b'"', f"more than {MAX_CELL_BYTES}"),
        (b'a"' + b',"b\nc",d' * 20, "a quote in a cell"), (b'a"b,c"d,"e\n"', "a quote in a cell"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("piece", [7, 4096, 10**9])
def test_a_bad_row_spoils_no_other(bad: bytes, why: str, piece: int) -> None:
    first, second, third = read(b"a,b\n" + bad + b"\nc,d\n", piece)
    assert (first.cells, third.cells) == (("a", "b"), ("c", "d"))
    assert second.fault is not None and why in second.fault
    assert (second.line, second.cells) == (2, ())


def test_a_quote_left_open_says_where() -> None:
    rows = read(b'a\n"b,\nc\nd\n')
    assert [(row.line, row.fault) for row in rows] == [
        (1, None), (2, "a quote is opened here and never closed"),
    ]  # fmt: skip


def test_lines_are_counted_over_cells_of_many() -> None:
    assert [row.line for row in read(b'a\r\n"b\r\nb\nb"\r\n\r\nc\rd')] == [1, 2, 6, 7]


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-be"])
def test_utf_16_is_told_by_its_mark(codec: str) -> None:
    with pytest.raises(NotUtf8, match="UTF-16"):
        read("\ufeff".encode(codec)[:2] + "url\n".encode(codec), 1)


def test_memory_does_not_grow_with_a_cell() -> None:
    reader = Reader()
    for _ in range(200):
        assert list(reader.feed(b'"' + b"a" * 10_000 if _ == 0 else b"a" * 10_000)) == []
    assert len(reader._cell) <= MAX_CELL_BYTES


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "=", "'=1", "''=1"])
def test_no_cell_is_a_formula_and_each_comes_back(cell: str) -> None:
    guarded = csvlinks.guard(cell)
    assert guarded == "'" + cell
    assert csvlinks.unguard(guarded) == cell


@given(st.text(max_size=8))
def test_guarding_is_undone_exactly(cell: str) -> None:
    guarded = csvlinks.guard(cell)
    assert csvlinks.unguard(guarded) == cell
    assert not guarded.startswith(("=", "+", "-", "@", "\t", "\r"))


@pytest.mark.parametrize("cell", ["", "a", "'", "'a", "https://example.org/?a=b", "a=1"])
def test_other_cells_are_left_alone(cell: str) -> None:
    assert csvlinks.guard(cell) == csvlinks.unguard(cell) == cell


def test_a_link_as_a_row_and_back() -> None:
    link = Link(
        5, "spring-sale", 'https://example.org/?a="b,c"', NOW, NOW, 1, 3,
        datetime(2030, 1, 1, tzinfo=UTC), 7, 2, "hash",
    )  # fmt: skip
    text = csvlinks.line(csvlinks.COLUMNS) + csvlinks.line(csvlinks.cells_of(link))
    header, row = cells(text.encode())
    assert "hash" not in text
    assert csvlinks.fields(csvlinks.header(header), row) == {
        "url": link.url,
        "alias": "spring-sale",
        "expires_at": "2030-01-01T00:00:00Z",
        "max_visits": 7,
    }
    (plain,) = cells(csvlinks.line(csvlinks.cells_of(replace(link, code="my3NNng"))).encode())
    assert plain[1] == "", "a generated code is made anew"


@pytest.mark.parametrize("names", [("url",), (" URL ", "Alias"), ("max_visits", "url"),
                                   csvlinks.COLUMNS])  # fmt: skip
def test_headers(names: tuple[str, ...]) -> None:
    assert csvlinks.header(names) == tuple(name.strip().lower() for name in names)


@pytest.mark.parametrize("names", [("https://example.org/",), ("alias",), ("url", "url"),
                                   ("url", "password"), ("url", "")])  # fmt: skip
def test_what_is_no_header(names: tuple[str, ...]) -> None:
    with pytest.raises(csvlinks.BadHeader):
        csvlinks.header(names)


def test_rows_shorter_and_longer_than_the_header() -> None:
    names = ("url", "alias", "max_visits")
    assert csvlinks.fields(names, ("https://a.example/",)) == {"url": "https://a.example/"}
    assert csvlinks.fields(names, ("u", "", "x1")) == {"url": "u", "max_visits": "x1"}
    assert csvlinks.fields(names, ("u", "", "1", "more")) is None
