"""What every request gets: an id, metrics, problems instead of traces, a limit on its body."""

import asyncio
import ipaddress
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from pydantic import BaseModel
from starlette.requests import ClientDisconnect, Request
from starlette.responses import StreamingResponse
from starlette.types import Message
from structlog.testing import capture_logs

from infra.service.health import Check
from infra.service.metrics import LATENCY_BUCKETS_S, HttpMetrics
from infra.service.plumbing import install
from infra.service.problems import Problem
from infra.service.validation import answer_validation_error

pytestmark = pytest.mark.anyio

ID = "0123456789abcdef0123456789abcdef"
BOUNDS = ("0.001", "0.0025", "10.0", "+Inf")


class Lamp(BaseModel):
    watts: int


def make_app(
    *, trusted: tuple[str, ...] = (), checks: tuple[Check, ...] = ()
) -> tuple[FastAPI, CollectorRegistry]:
    app, registry = FastAPI(), CollectorRegistry()
    install(
        app,
        registry=registry,
        checks=checks,
        trusted_proxies=[ipaddress.ip_network(network) for network in trusted],
        response_headers={"X-Replica": "r1"},
        max_body_bytes=100,
        body_limits={"/chests": 200},
    )
    app.add_exception_handler(RequestValidationError, answer_validation_error)

    @app.get("/lamps/{name}")
    async def lamp(name: str, request: Request) -> str:
        return str(request.state.request_id)

    @app.post("/lamps")
    async def make(lamp: Lamp) -> int:
        return lamp.watts

    @app.post("/chests")
    async def fill(lamp: Lamp) -> int:
        return lamp.watts

    @app.head("/lamps")
    async def look() -> None:
        return None

    @app.get("/dark")
    async def dark() -> None:
        raise Problem(409, "It is dark.", title="Darkness", headers={"Retry-After": "1"}, lux=0)

    @app.get("/crash")
    async def crash() -> None:
        raise RuntimeError("secret of the house")

    @app.get("/cut")
    async def cut() -> StreamingResponse:
        async def body() -> AsyncIterator[bytes]:
            yield b"half"
            raise RuntimeError("in the middle")

        return StreamingResponse(body())

    return app, registry


def client(app: FastAPI, peer: str = "192.0.2.7") -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(peer, 1234))
    return httpx.AsyncClient(transport=transport, base_url="http://lamp")


def problem(response: httpx.Response) -> dict[str, Any]:
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert document["type"] == "about:blank"
    assert document["status"] == response.status_code
    assert document["request_id"] == response.headers["x-request-id"]
    return document


async def test_id_of_a_trusted_proxy_is_kept() -> None:
    app, _ = make_app(trusted=("192.0.2.0/24",))
    async with client(app) as http:
        response = await http.get("/lamps/a", headers={"X-Request-ID": ID})
    assert response.headers["x-request-id"] == response.json() == ID
    assert response.headers["x-replica"] == "r1"


async def test_a_proxy_that_is_heard_through_ipv6_is_the_same_proxy() -> None:
    """So a socket for both families names an IPv4 peer (RFC 4291 section 2.5.5.2)."""
    app, _ = make_app(trusted=("192.0.2.0/24",))
    async with client(app, "::ffff:192.0.2.7") as http:
        response = await http.get("/lamps/a", headers={"X-Request-ID": ID})
    assert response.headers["x-request-id"] == ID


@pytest.mark.parametrize(
    ("peer", "given"),
    [
        ("198.51.100.1", ID),
        ("192.0.2.7", ID.upper()),
        ("192.0.2.7", ID[:-1]),
        ("192.0.2.7", ID + "0"),
        ("192.0.2.7", "g" * 32),
        ("192.0.2.7", ""),
        ("not an address", ID),
    ],
)
async def test_any_other_id_is_replaced(peer: str, given: str) -> None:
    app, _ = make_app(trusted=("192.0.2.0/24",))
    async with client(app, peer) as http:
        response = await http.get("/lamps/a", headers={"X-Request-ID": given})
        again = await http.get("/lamps/a", headers={"X-Request-ID": given})
    assert response.headers["x-request-id"] not in (given, again.headers["x-request-id"])
    assert len(response.headers["x-request-id"]) == 32


async def test_of_several_ids_the_nearest_proxys_counts() -> None:
    app, _ = make_app(trusted=("192.0.2.0/24",))
    async with client(app) as http:
        response = await http.get(
            "/lamps/a", headers=[("X-Request-ID", "f" * 32), ("X-Request-ID", ID)]
        )
    assert response.headers["x-request-id"] == ID


async def test_nobody_is_trusted_by_default() -> None:
    app, _ = make_app()
    async with client(app, "127.0.0.1") as http:
        response = await http.get("/lamps/a", headers={"X-Request-ID": ID})
    assert response.headers["x-request-id"] != ID


def test_a_series_counts_as_the_others_do() -> None:
    registry = CollectorRegistry()
    metrics = HttpMetrics(registry)
    series = metrics.series("GET", "/{code}", "302")
    labels = {"method": "GET", "route": "/{code}", "status": "302"}

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, labels)

    assert value("http_requests_total", **labels) is None
    series.began()
    metrics.began("GET")
    assert value("http_requests_active", method="GET") == 2
    series.ended(0.0025)
    metrics.ended("GET", "/{code}", "302", 99.0)
    assert value("http_requests_active", method="GET") == 0
    assert value("http_requests_total", **labels) == 2
    name = "http_request_duration_seconds"
    within = {bound: value(f"{name}_bucket", le=bound, **labels) for bound in BOUNDS}
    assert within == {"0.001": 0, "0.0025": 1, "10.0": 1, "+Inf": 2}
    assert value(f"{name}_sum", **labels) == 99.0025
    assert value(f"{name}_count", **labels) == 2


def test_the_page_reads_as_if_the_library_had_counted() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    metrics = HttpMetrics(ours)
    labels = ("method", "route", "status")
    requests = Counter("http_requests", "HTTP requests answered.", labels, registry=theirs)
    durations = Histogram(
        "http_request_duration_seconds",
        "From the request's head to the end of its response.",
        labels,
        buckets=LATENCY_BUCKETS_S,
        registry=theirs,
    )
    active = Gauge(
        "http_requests_active", "HTTP requests in progress.", ("method",), registry=theirs
    )
    disable_created_metrics()  # type: ignore[no-untyped-call]
    for seconds in (0.0, 0.0005, 0.00051, 3.0, 10.0, 11.0):
        for method in ("GET", "POST"):
            metrics.began(method)
            metrics.ended(method, "/", "200", seconds)
            requests.labels(method, "/", "200").inc()
            durations.labels(method, "/", "200").observe(seconds)
            active.labels(method).set(0)
    assert generate_latest(ours) == generate_latest(theirs)


def test_two_of_them_in_one_registry_are_refused() -> None:
    registry = CollectorRegistry()
    HttpMetrics(registry)
    with pytest.raises(ValueError, match="http_requests"):
        HttpMetrics(registry)


async def test_metrics_name_the_route_and_never_the_path() -> None:
    app, registry = make_app()
    async with client(app) as http:
        await http.get("/lamps/blue")
        await http.get("/lamps/green")
        await http.get("/no/such/place")
        await http.request("BREW", "/lamps/blue")
        await http.get("/crash")
        page = (await http.get("/metrics")).text

    def count(method: str, route: str, status: str) -> float | None:
        labels = {"method": method, "route": route, "status": status}
        timed = registry.get_sample_value("http_request_duration_seconds_count", labels)
        assert timed == registry.get_sample_value("http_requests_total", labels)
        return timed

    assert count("GET", "/lamps/{name}", "200") == 2
    assert count("GET", "unmatched", "404") == 1
    assert count("OTHER", "/lamps/{name}", "405") == 1
    assert count("GET", "/crash", "500") == 1
    assert registry.get_sample_value("http_requests_active", {"method": "GET"}) == 0
    assert "blue" not in page
    assert "BREW" not in page
    assert 'http_requests_total{method="GET",route="/lamps/{name}",status="200"} 2.0' in page


async def test_access_line() -> None:
    app, _ = make_app()
    with capture_logs() as logs:
        async with client(app) as http:
            await http.get("/lamps/blue?key=secret")
            await http.get("/health/live")
    access, probe = logs
    assert access["event"] == "request"
    assert (access["method"], access["path"], access["route"], access["status"]) == (
        ("GET", "/lamps/blue", "/lamps/{name}", 200)
    )
    assert access["duration_ms"] >= 0
    assert access["log_level"] == "info"
    assert "secret" not in str(access)
    assert probe["log_level"] == "debug"


async def test_problem_of_the_application() -> None:
    app, _ = make_app()
    async with client(app) as http:
        response = await http.get("/dark")
    document = problem(response)
    assert (document["title"], document["detail"], document["lux"]) == (
        "Darkness",
        "It is dark.",
        0,
    )
    assert response.headers["retry-after"] == "1"


async def test_unknown_route_and_wrong_method() -> None:
    app, _ = make_app()
    async with client(app) as http:
        assert problem(await http.get("/nowhere"))["title"] == "Not Found"
        wrong = await http.get("/lamps")
    assert problem(wrong)["status"] == 405
    assert wrong.headers["allow"] == "HEAD, POST"


async def test_validation_errors_point_into_the_body_without_echoing_it() -> None:
    app, _ = make_app()
    async with client(app) as http:
        unfit = await http.post("/lamps", json={"watts": "hunter2"})
        broken = await http.post(
            "/lamps", content=b"{", headers={"Content-Type": "application/json"}
        )
    assert problem(unfit)["status"] == 422
    (error,) = unfit.json()["errors"]
    assert error["pointer"] == "#/watts"
    assert "hunter2" not in unfit.text
    assert problem(broken)["status"] == 400


async def test_crash_tells_the_log_and_not_the_client() -> None:
    app, _ = make_app()
    with capture_logs() as logs:
        async with client(app) as http:
            response = await http.get("/crash")
    assert problem(response)["status"] == 500
    assert "secret of the house" not in response.text
    assert "Traceback" not in response.text
    assert [log["event"] for log in logs] == ["request crashed", "request"]
    assert logs[0]["exc_info"] is True


async def test_crash_in_mid_response_reaches_the_server() -> None:
    app, _ = make_app()
    transport = httpx.ASGITransport(app, raise_app_exceptions=True)
    async with httpx.AsyncClient(transport=transport, base_url="http://lamp") as http:
        with pytest.raises(RuntimeError, match="in the middle"):
            await http.get("/cut")


async def test_a_client_that_has_left_is_no_crash() -> None:
    """ASGI's HTTP format, "Disconnected Client": `send` raises an OSError then."""
    app, _ = make_app()

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(_message: Message) -> None:
        raise BrokenPipeError("the client is gone")

    for path in ("/lamps/a", "/cut"):
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"spec_version": "2.4"},
            "method": "GET",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [],
            "client": None,
        }
        with capture_logs() as logs, pytest.raises((OSError, ClientDisconnect)):
            await app(scope, receive, send)
        assert [log["event"] for log in logs] == ["request"]


@pytest.mark.parametrize("chunked", [True, False])
async def test_body_over_the_limit(chunked: bool) -> None:
    app, _ = make_app()
    body = b'{"watts": ' + b" " * 100 + b"1}"

    async def chunks() -> AsyncIterator[bytes]:
        yield body[:60]
        yield body[60:]

    headers = {"Content-Type": "application/json"}
    async with client(app) as http:
        content = chunks() if chunked else body
        response = await http.post("/lamps", content=content, headers=headers)
        fits = await http.post("/lamps", content=b'{"watts": 1}', headers=headers)
    assert problem(response)["title"] == "Content Too Large"
    assert response.headers["connection"] == "close"
    assert fits.status_code == 200


@pytest.mark.parametrize("path", ["/chests/", "/CHESTS", "/chests/../lamps", "/x/chests"])
async def test_a_path_with_a_limit_of_its_own_weakens_no_other(path: str) -> None:
    app, _ = make_app()
    headers = {"Content-Type": "application/json"}
    body, larger = (b'{"watts": ' + b" " * spaces + b"1}" for spaces in (110, 210))
    async with client(app) as http:
        there = await http.post("/chests", content=body, headers=headers)
        over = await http.post("/chests", content=larger, headers=headers)
        elsewhere = await http.post(path, content=body, headers=headers)
    assert there.status_code == 200
    assert "200 bytes" in problem(over)["detail"]
    assert problem(elsewhere)["status"] == 413


async def fine() -> None:
    return None


async def broken() -> None:
    raise ConnectionError("refused")


async def hanging() -> None:
    await asyncio.sleep(60)


async def test_ready_when_all_required_checks_pass() -> None:
    app, _ = make_app(checks=(Check("disk", fine), Check("cache", broken, required=False)))
    async with client(app) as http:
        response = await http.get("/health/ready")
    assert response.status_code == 200
    assert response.json() == {
        "status": "degraded",
        "checks": {"disk": "ok", "cache": "ConnectionError: refused"},
    }


async def test_not_ready_names_what_is_missing_and_live_all_the_same() -> None:
    slow = [Check(f"slow{number}", hanging, timeout_s=0.2) for number in range(5)]
    app, _ = make_app(checks=(Check("db", broken), Check("disk", fine), *slow))
    async with client(app) as http:
        async with asyncio.timeout(0.8):  # one after the other they would take a second
            response = await http.get("/health/ready")
        live = await http.get("/health/live")
    document = problem(response)
    assert response.status_code == 503
    assert document["detail"].startswith("Not ready: db, slow0,")
    assert document["checks"]["db"] == "ConnectionError: refused"
    assert document["checks"]["disk"] == "ok"
    assert document["checks"]["slow0"] == "no answer within 0.2 s"
    assert live.status_code == 200


async def test_lifespan_passes_through() -> None:
    """Scopes that are not HTTP pass through the middleware untouched."""
    app, _ = make_app()
    sent: list[str] = []

    async def receive() -> dict[str, Any]:
        return {"type": "lifespan.startup"} if not sent else {"type": "lifespan.shutdown"}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
