"""What an app is told about a request."""

from typing import Any

import pytest

from week01_http_server.asgi.scope import ScopeBuilder
from week01_http_server.messages import Request


def request(path: bytes = b"/", query: bytes = b"", version: str = "1.1") -> Request:
    return Request(
        method="GET",
        target=path,
        path=path,
        query=query,
        authority=b"lab",
        version=version,
        headers=[(b"host", b"lab"), (b"x", b"1"), (b"x", b"2")],
        keep_alive=True,
        has_body=False,
        content_length=None,
        expects_continue=False,
        upgrade=None,
    )


def scope_of(asked: Request, root_path: str = "", **state: Any) -> dict[str, Any]:
    builder = ScopeBuilder(root_path, state)
    return builder.http(asked, "http", ("10.0.0.1", 5), ("10.0.0.2", 80))


def test_all_that_the_specification_names_is_there() -> None:
    scope = scope_of(request(b"/a", b"q=%20"), answer=42)
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/a",
        "raw_path": b"/a",
        "query_string": b"q=%20",
        "root_path": "",
        "headers": [(b"host", b"lab"), (b"x", b"1"), (b"x", b"2")],
        "client": ("10.0.0.1", 5),
        "server": ("10.0.0.2", 80),
        "state": {"answer": 42},
        "extensions": {"http.response.pathsend": {}, "http.response.trailers": {}},
    }


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"/a%20b", "/a b"),
        (b"/%E2%82%AC", "/€"),
        ("/€".encode(), "/€"),
        (b"/a%2Fb", "/a/b"),
        (b"/100%", "/100%"),
        (b"/%zz", "/%zz"),
        (b"/%ff", "/\ufffd"),
        (b"*", "*"),
    ],
)
def test_the_path_is_decoded_and_the_raw_one_kept(raw: bytes, text: str) -> None:
    scope = scope_of(request(raw))
    assert (scope["path"], scope["raw_path"]) == (text, raw)


def test_the_root_path_stands_before_the_path() -> None:
    scope = scope_of(request(b"/x%20y"), root_path="/ä/")
    assert scope["root_path"] == "/ä"
    assert scope["path"] == "/ä/x y"
    assert scope["raw_path"] == b"/%C3%A4/x%20y"
    assert scope_of(request(b"*"), root_path="/ä")["path"] == "*"


def test_each_scope_has_its_own_state_and_extensions() -> None:
    shared = object()
    builder = ScopeBuilder("", {"shared": shared})
    first, second = (builder.http(request(), "http", None, None) for _ in range(2))
    first["state"]["mine"] = 1
    first["extensions"]["http.response.pathsend"]["changed"] = 1
    first["asgi"]["changed"] = 1
    assert second["state"] == {"shared": shared}
    assert second["extensions"]["http.response.pathsend"] == {}
    assert "changed" not in second["asgi"]


@pytest.mark.parametrize(("scheme", "expected"), [("http", "ws"), ("https", "wss")])
def test_a_websocket_scope(scheme: str, expected: str) -> None:
    scope = ScopeBuilder("", {}).websocket(request(b"/chat"), scheme, None, None, ["v2", "v1"])
    assert scope["type"] == "websocket"
    assert scope["scheme"] == expected
    assert scope["subprotocols"] == ["v2", "v1"]
    assert scope["extensions"] == {"websocket.http.response": {}}
    assert "method" not in scope
