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
) -> None:
    """Give `app` request ids, logs, metrics, problems, health routes and a body limit.

    Call it before the application's own routes are added: a router takes the first that matches,
    and ``/metrics`` must not be taken for a parameter.
    """
    app.router.routes.extend(health_routes(checks, registry))
    app.add_exception_handler(Problem, answer_problem)
    app.add_exception_handler(HTTPException, answer_http_exception)
    # Starlette wraps in reverse: the last one added is the first to see a request, so that the
    # answers of the inner two are named, logged and counted as well.
    app.add_middleware(BodyLimitMiddleware, max_bytes=max_body_bytes)
    app.add_middleware(CrashMiddleware)
    app.add_middleware(
        RequestMiddleware,
        metrics=HttpMetrics(registry),
        trusted_proxies=trusted_proxies,
        response_headers=response_headers,
    )
