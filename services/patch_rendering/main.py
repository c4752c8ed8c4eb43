"""The patch rendering service: wiring, and its own process."""

from pathlib import Path

from primitives.patch_rendering.v1 import patch_rendering_pb2, patch_rendering_pb2_grpc

from services.common.access.edge import open_edge
from services.common.bus import Bus
from services.common.grpc import GrpcServer
from services.common.http.app import create_app
from services.common.http.parked_routes import add_parked_routes
from services.common.http.streams import Streams
from services.common.runtime.bootstrap import open_ports
from services.common.runtime.service import HttpServer, Service, run_alone
from services.common.runtime.status import Monitor, add_status_routes
from services.common.work.parked import ParkedMessages
from services.common.work.reconciler import Reconciler
from services.common.work.runner import JobRunner
from services.patch_rendering.api import add_routes
from services.patch_rendering.consumer import create_consumers
from services.patch_rendering.names import BUCKET
from services.patch_rendering.rpc import RenderingServicer
from services.patch_rendering.settings import RenderingSettings
from services.patch_rendering.tables import Base, RenderingRow
from services.patch_rendering.workflow.pictures import UnitPictures
from services.patch_rendering.workflow.queries import Queries
from services.patch_rendering.workflow.renderings import Renderings

MIGRATIONS = Path(__file__).parent / "migrations"


def create(settings: RenderingSettings, bus: Bus) -> Service:
    """Create the service, bound to its ports and not yet started."""
    shared = settings.shared
    edge = open_edge("patch_rendering", shared)
    ports = open_ports("patch_rendering", shared, bus, Base.metadata, MIGRATIONS, BUCKET)
    runner = JobRunner("rendering-job", shared.log_format, shared.log_level, shared.job_silence_s)
    renderings, queries = Renderings(ports, runner, settings), Queries(ports)
    pictures = UnitPictures(ports, settings.quality)
    app = create_app("patch_rendering", lambda: ports.outbox.alive, edge.tokens)
    streams = Streams()
    add_routes(app, renderings, queries, pictures, streams)
    consumers = create_consumers(bus, renderings, shared.max_attempts)
    monitor = Monitor("patch_rendering", ports, {"rendering": RenderingRow}, [one.queue for one in consumers])
    add_status_routes(app, monitor)
    reconciler = Reconciler(ports, [renderings], [one.queue for one in consumers], shared.reconcile_s)
    add_parked_routes(app, ParkedMessages(bus, consumers))
    return Service(
        name="patch_rendering",
        ports=ports,
        http=HttpServer(app, edge, settings.http_port),
        grpc=GrpcServer(
            patch_rendering_pb2.DESCRIPTOR.services_by_name["PatchRenderingService"].full_name,
            lambda server: patch_rendering_pb2_grpc.add_PatchRenderingServiceServicer_to_server(
                RenderingServicer(renderings, queries, pictures, streams), server
            ),
            edge,
            settings.grpc_port,
        ),
        consumers=consumers,
        runners={"services.patch_rendering.job": runner},
        recoverable=[renderings],
        streams=streams,
        background=[monitor, reconciler],
    )


def main() -> None:
    """Run this service alone until it is stopped."""
    settings = RenderingSettings()
    run_alone("patch_rendering", settings, lambda bus: create(settings, bus))


if __name__ == "__main__":
    main()
