"""The page at /docs, complete without the internet.

Swagger UI comes from a wheel and is served from here, so that nothing on the page is somebody
else's to change; its content security policy says so to the browser.
"""

from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse
from swagger_ui_bundle import swagger_ui_path  # type: ignore[import-untyped]

from week04_shortener.api.openapi30 import to_openapi_30

PAGE: Final = Path(__file__).with_name("docs_page")
BUNDLE: Final = Path(swagger_ui_path)

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""CSP Level 3. Pictures in Swagger UI's stylesheet are data: addresses."""

_ASSETS: Final = {
    "start.js": PAGE,
    "swagger-ui-bundle.js": BUNDLE,
    "swagger-ui.css": BUNDLE,
    "favicon-32x32.png": BUNDLE,
}
_DAY: Final = {"Cache-Control": "public, max-age=86400", "X-Content-Type-Options": "nosniff"}

router = APIRouter(include_in_schema=False)


@router.get("/docs")
async def page() -> FileResponse:
    """The API, to read and to try."""
    return FileResponse(
        PAGE / "index.html",
        headers={
            "Content-Security-Policy": POLICY,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-cache",
        },
    )


@router.get("/docs/openapi.json")
async def document(request: Request) -> Any:
    """``/openapi.json`` in the words of OpenAPI 3.0, which this Swagger UI reads."""
    return to_openapi_30(request.app.openapi())


def _add_asset(name: str, folder: Path) -> None:
    # A route for each file, and no path of the client's in any of them.
    @router.get(f"/docs/{name}", name=name)
    async def asset() -> FileResponse:
        return FileResponse(folder / name, headers=_DAY)


for _name, _folder in _ASSETS.items():
    _add_asset(_name, _folder)
