"""The HTTP side of imports."""

from fastapi import APIRouter, FastAPI

from services.common.http.idempotency import StartKey
from services.common.http.streams import Streams
from services.common.http.task_routes import TaskRoutes
from services.training.imports.schemas import ImportLayouts, ImportList, ImportView, StartImportRequest
from services.training.imports.workflow import RawImports


def add_import_routes(app: FastAPI, imports: RawImports, streams: Streams) -> None:
    """Add the routes of version 1."""
    router = APIRouter(prefix="/v1")

    @router.get("/import-layouts", tags=["imports"])
    def list_import_layouts() -> ImportLayouts:
        """The layouts of raw mammograms that can be imported, and the buckets that may be."""
        return imports.layouts()

    @router.post("/imports", status_code=202, tags=["imports"])
    def start_import(request: StartImportRequest, key: StartKey) -> ImportView:
        """Import raw mammograms of a folder or a bucket: read its tables, cut patches, and register the data set."""
        return imports.start(request, key)

    routes = TaskRoutes(
        "import", "imports", ImportView, imports.get, imports.act, streams, kept="Parts that are cut are kept."
    )
    routes.add_list(router, ImportList, imports.all)
    routes.add(router)
    app.include_router(router)
