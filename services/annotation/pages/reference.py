"""The reference of the HTTP API as a plain page, because FastAPI's own page loads scripts from another site."""

from typing import Any

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import Response

from services.annotation.pages.frame import Frame

FOREIGN_PAGES = ("/docs", "/docs/oauth2-redirect", "/redoc")
METHODS = ("get", "post", "put", "delete", "patch")


def remove_foreign_docs(app: FastAPI) -> None:
    """Remove FastAPI's pages that need the internet."""
    app.router.routes[:] = [route for route in app.router.routes if getattr(route, "path", "") not in FOREIGN_PAGES]


def routes(app: FastAPI, frame: Frame) -> APIRouter:
    """The route of the reference."""
    router = APIRouter(include_in_schema=False)

    @router.get("/docs")
    def docs(request: Request) -> Response:
        reader = frame.auth.session_reader(request) if frame.auth.tokens is None else frame.auth.page_reader(request)
        schema = app.openapi()
        return frame.page("reference.html", request, reader, title=schema["info"]["title"], calls=calls(schema))

    return router


def calls(schema: dict[str, Any]) -> list[dict[str, str]]:
    """Method, path and description of every call of an OpenAPI schema."""
    return [
        {"method": method.upper(), "path": path, "about": call.get("description", call.get("summary", ""))}
        for path, methods in schema["paths"].items()
        for method, call in methods.items()
        if method in METHODS
    ]
