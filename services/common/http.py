"""The HTTP side that every service has: health, metrics, and errors as codes in one place."""

from collections.abc import Callable

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest
from pydantic import BaseModel

from services import __version__
from services.common import errors

STATUS_OF: dict[type[errors.PrimitivesError], int] = {
    errors.InvalidInput: 422,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.NotSignedIn: 401,
    errors.Forbidden: 403,
    errors.Unavailable: 503,
}


class Problem(BaseModel):
    """The body of every answer that is an error."""

    error: str
    message: str


def status_of(error: errors.PrimitivesError) -> int:
    """The HTTP code of an error; 500 for what no caller can mend."""
    return next((code for kind, code in STATUS_OF.items() if isinstance(error, kind)), 500)


def create_app(service: str, ready: Callable[[], bool]) -> FastAPI:
    """A FastAPI application with `/healthz`, `/readyz`, `/metrics` and the table of errors."""
    app = FastAPI(
        title=f"Visual Primitives: {service.replace('_', ' ')}",
        version=__version__,
        responses={"default": {"model": Problem, "description": "What went wrong."}},
    )

    @app.exception_handler(errors.PrimitivesError)
    def problem(_: Request, error: errors.PrimitivesError) -> JSONResponse:
        body = Problem(error=type(error).__name__, message=str(error))
        return JSONResponse(body.model_dump(), status_code=status_of(error))

    @app.get("/healthz", tags=["health"])
    def healthz() -> dict[str, str]:
        """The process answers."""
        return {"status": "alive", "service": service, "version": __version__}

    @app.get("/readyz", tags=["health"], responses={503: {"description": "Not ready to take work."}})
    def readyz() -> Response:
        """The service takes work."""
        return PlainTextResponse("ready") if ready() else PlainTextResponse("not ready", status_code=503)

    @app.get("/metrics", tags=["health"], include_in_schema=False)
    def metrics() -> Response:
        """Prometheus metrics of this process."""
        return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)

    return app
