"""The web pages of the annotation service."""

from fastapi import FastAPI
from starlette.responses import FileResponse, Response

from services.annotation.pages import (
    home,
    overview,
    pictures,
    problems,
    protocols,
    reading,
    reference,
    runs,
    signing,
    status,
    survey,
    units,
)
from services.annotation.pages.frame import STATIC, Frame


def add_pages(app: FastAPI, frame: Frame) -> None:
    """Add all pages, their pictures and static files, and the error pages."""
    reference.remove_foreign_docs(app)
    for module in (signing, home, overview, survey, reading, protocols, pictures, runs, units, status):
        app.include_router(module.routes(frame))
    app.include_router(reference.routes(app, frame))
    frame.serve_static(app)
    problems.add_problem_pages(app, frame)

    @app.get("/favicon.ico", include_in_schema=False)
    def favicon() -> Response:
        return FileResponse(STATIC / "icon.svg", media_type="image/svg+xml")
