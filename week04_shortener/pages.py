"""The page at /, what it is made of, and the plain pages that a visitor may meet.

All files are read once, when the process starts: a request touches no disk, and a file that is
missing is found at the start. Each is revalidated at each use (``no-cache`` and an ETag, RFC 9111
section 5.2.2.4, RFC 9110 section 8.8.3), so no browser runs last week's script with today's API.

The page talks to this service alone and runs nothing but the scripts served here; browsers are
told so by a Content Security Policy (CSP level 3), in which not even an inline style is allowed,
and assigning markup as text is refused (trusted types). What a link leads to is shown on the page,
and whoever may make links would otherwise have the page's key in reach.
"""

import hashlib
import html
import string
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fastapi import FastAPI, Request, Response
from starlette.datastructures import Headers
from starlette.types import Scope

from infra.service.lifecycle import CannotStart
from infra.service.problems import Problem, problem_response

WEB: Final = Path(__file__).parent / "web"

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; frame-ancestors 'none'; "
)
_HEADERS: Final = {
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
PAGE_HEADERS: Final = {
    **_HEADERS,
    "Content-Security-Policy": _POLICY
    + "form-action 'self'; require-trusted-types-for 'script'; trusted-types 'none'",
}
NOTICE_HEADERS: Final = {
    **_HEADERS,
    # The answer to the form is a redirect to anywhere, and browsers hold redirects to this too.
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; "
    "base-uri 'none'; frame-ancestors 'none'; form-action http: https:",
    "Cache-Control": "no-store",
    "X-Robots-Tag": "noindex",
}
"""For pages about one link: never kept, never indexed, and no script at all."""

_MEDIA_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}


@dataclass(frozen=True, slots=True)
class File:
    """A file as it is served."""

    body: bytes
    media_type: str
    etag: str


@dataclass(frozen=True, slots=True)
class Pages:
    """All files, by what stands after ``/`` or ``/static/``, and the templates of plain pages."""

    index: File
    robots: File
    static: Mapping[str, File]
    notice: string.Template
    password: string.Template

    def notice_page(
        self, status: int, title: str, message: str, headers: Mapping[str, str] | None = None
    ) -> Response:
        """A page that tells a visitor one thing, in plain words."""
        return _plain(status, self.notice, headers, title=title, message=message)

    def refuse(
        self,
        scope: Scope,
        status: int,
        title: str,
        detail: str,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Say no in the client's own language: a page for a browser, else a problem document."""
        if wants_page(Headers(scope=scope).get("accept", "")):
            return self.notice_page(status, title, detail, headers)
        return problem_response(
            status, detail, headers={**(headers or {}), "Cache-Control": "no-store"}
        )

    def password_page(
        self, status: int, message: str, headers: Mapping[str, str] | None = None
    ) -> Response:
        """A page that asks for a link's password; `message` says what was wrong, or nothing."""
        return _plain(status, self.password, headers, message=message)


def load(directory: Path = WEB) -> Pages:
    """Read all files under `directory`; `CannotStart` when one is missing or of unknown kind."""
    try:
        return Pages(
            index=_file(directory / "index.html"),
            robots=_file(directory / "robots.txt"),
            static={path.name: _file(path) for path in sorted((directory / "static").iterdir())},
            notice=string.Template((directory / "notice.html").read_text("utf-8")),
            password=string.Template((directory / "password.html").read_text("utf-8")),
        )
    except OSError as error:
        raise CannotStart(f"the web pages cannot be read: {error}; is the clone whole?") from error


def add_pages(app: FastAPI, pages: Pages) -> None:
    """Add the routes of all files to `app`. Call it before routes that take any path."""
    methods = ["GET", "HEAD"]

    async def index(request: Request) -> Response:
        return _answer(request, pages.index, PAGE_HEADERS)

    async def robots(request: Request) -> Response:
        return _answer(request, pages.robots, _HEADERS)

    async def static(request: Request, name: str) -> Response:
        file = pages.static.get(name)
        if file is None:
            raise Problem(404, "There is no such file.")
        return _answer(request, file, _HEADERS)

    app.add_api_route("/", index, methods=methods, include_in_schema=False)
    app.add_api_route("/robots.txt", robots, methods=methods, include_in_schema=False)
    app.add_api_route("/static/{name}", static, methods=methods, include_in_schema=False)


def wants_page(accept: str) -> bool:
    """Whether an ``Accept`` header (RFC 9110 section 12.5.1) is that of a browser at a page.

    Browsers name ``text/html`` when they navigate. Who sends ``*/*``, as curl and most libraries
    do, or JSON, is better served with a problem document.
    """
    return "text/html" in accept.lower()


def _file(path: Path) -> File:
    media_type = _MEDIA_TYPES.get(path.suffix)
    if media_type is None:
        raise CannotStart(f"a web page of unknown kind: {path.name}")
    body = path.read_bytes()
    return File(body, media_type, f'"{hashlib.sha256(body).hexdigest()[:32]}"')


def _answer(request: Request, file: File, headers: Mapping[str, str]) -> Response:
    headers = {**headers, "ETag": file.etag, "Cache-Control": "no-cache"}
    if _is_known(request.headers.get("if-none-match", ""), file.etag):
        return Response(status_code=304, headers=headers)
    # Written to a HEAD as well: the server counts the bytes and sends none (RFC 9110, 9.3.2).
    return Response(file.body, headers=headers, media_type=file.media_type)


def _is_known(if_none_match: str, etag: str) -> bool:
    """RFC 9110 section 13.1.2: compared weakly, and ``*`` is any."""
    known = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return etag in known or known == ["*"]


def _plain(
    status: int, template: string.Template, headers: Mapping[str, str] | None, **texts: str
) -> Response:
    page = template.substitute({name: html.escape(text) for name, text in texts.items()})
    return Response(
        page,
        status,
        {**NOTICE_HEADERS, **(headers or {})},
        media_type=_MEDIA_TYPES[".html"],
    )
