"""All the plumbing of an HTTP service, joined to an application in the right order."""

from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.exceptions import HTTPException

from infra.service.health import Check, health_routes
from infra.service.limits import BodyLimitMiddleware
from infra.service.metrics import HttpMetrics
from infra.service.problems import (
    CrashMiddleware,
    Problem,
    answer_http_exception,
    answer_problem,
)
from infra.service.requests import Network, RequestMiddleware


def install(
    app: Starlette,
    *,
    registry: CollectorRegistry,
    checks: Sequence[Check] = (),
    trusted_proxies: Sequence[Network] = (),
    response_headers: Mapping[str, str] | None = None,
    max_body_bytes: int = 64 * 1024,
    body_limits: Mapping[str, int] | None = None,
    metrics: HttpMetrics | None = None,
) -> None:
    """Give `app` request ids, logs, metrics, problems, health routes and a body limit.

    `body_limits` are of single paths, in bytes, instead of `max_body_bytes`.

    Call it before the application's own routes are added: a router takes the first that matches,
    and ``/metrics`` must not be taken for a parameter. `metrics` are given where others count in
    them as well.
    """
    app.router.routes.extend(health_routes(checks, registry))
    app.add_exception_handler(Problem, answer_problem)
    app.add_exception_handler(HTTPException, answer_http_exception)
    # Starlette wraps in reverse: the last one added is the first to see a request, so that the
    # answers of the inner two are named, logged and counted as well.
    app.add_middleware(BodyLimitMiddleware, max_bytes=max_body_bytes, paths=body_limits)
    app.add_middleware(CrashMiddleware)
    app.add_middleware(
        RequestMiddleware,
        metrics=metrics or HttpMetrics(registry),
        trusted_proxies=trusted_proxies,
        response_headers=response_headers,
    )
