"""The activation extraction service: wiring, and its own process."""

from pathlib import Path

from primitives.activation_extraction.v1 import activation_extraction_pb2, activation_extraction_pb2_grpc

from services.activation_extraction.analyses.api import add_analysis_routes
from services.activation_extraction.analyses.queries import AnalysisQueries
from services.activation_extraction.analyses.workflow import Analyses
from services.activation_extraction.api import add_routes
from services.activation_extraction.consumer import create_consumers
from services.activation_extraction.explanations.api import UPLOAD_PATH, add_explanation_routes
from services.activation_extraction.explanations.workflow import LARGEST_UPLOAD, Explanations
from services.activation_extraction.names import BUCKET
from services.activation_extraction.rpc import ExtractionServicer
from services.activation_extraction.settings import ExtractionSettings
from services.activation_extraction.tables import AnalysisRow, Base, ExplanationRow, ExtractionRow
from services.activation_extraction.workflow.extractions import Extractions
from services.activation_extraction.workflow.queries import Queries
from services.activation_extraction.workflow.units import Units
from services.common.access.edge import open_edge
from services.common.bus import Bus
from services.common.grpc import GrpcServer
from services.common.http.app import LARGEST_BODY, create_app
from services.common.http.parked_routes import add_parked_routes
from services.common.http.streams import Streams
from services.common.records import WorkColumns
from services.common.runtime.bootstrap import open_ports
from services.common.runtime.idle import IdleEnd
from services.common.runtime.roles import check_role, run_in_role
from services.common.runtime.service import HttpServer, Service
from services.common.runtime.status import Monitor, add_status_routes
from services.common.work.parked import ParkedMessages
from services.common.work.reconciler import Reconciler
from services.common.work.runner import JobRunner

MIGRATIONS = Path(__file__).parent / "migrations"


def create(settings: ExtractionSettings, bus: Bus, idle: IdleEnd | None = None) -> Service:
    """The service, bound to its ports and not yet started. InvalidInput if it leaves its jobs to other processes,
    although the bus connects no other processes."""
    shared = settings.shared
    check_role(settings, bus)
    edge = open_edge("activation_extraction", shared)
    ports = open_ports("activation_extraction", shared, bus, Base.metadata, MIGRATIONS, BUCKET)
    runner = JobRunner("extraction-job", shared.log_format, shared.log_level, shared.job_silence_s)
    extractions, queries = Extractions(ports, runner, settings), Queries(ports)
    analyses, analysis_queries = Analyses(ports, runner, settings), AnalysisQueries(ports)
    explanations = Explanations(ports, runner, settings)
    app = create_app(
        "activation_extraction",
        lambda: ports.outbox.alive,
        edge.tokens,
        largest_body_of=lambda path: LARGEST_UPLOAD if path == UPLOAD_PATH else LARGEST_BODY,
    )
    units, streams = Units(queries, analysis_queries), Streams()
    add_analysis_routes(app, analyses, analysis_queries, streams)
    add_explanation_routes(app, explanations, streams)
    add_routes(app, extractions, queries, units, streams)

    consumers = create_consumers(bus, extractions, analyses, explanations, shared.max_attempts)
    tables: dict[str, type[WorkColumns]] = {
        "extraction": ExtractionRow,
        "analysis": AnalysisRow,
        "explanation": ExplanationRow,
    }
    monitor = Monitor("activation_extraction", ports, tables, consumers.queues)
    add_status_routes(app, monitor)
    reconciler = Reconciler(ports, [extractions, analyses, explanations], consumers.queues, shared.reconcile_s)
    add_parked_routes(app, ParkedMessages(bus, consumers))
    servicer = ExtractionServicer(extractions, queries, units, analyses, analysis_queries, explanations, streams)
    return Service(
        name="activation_extraction",
        ports=ports,
        http=HttpServer(app, edge, settings.http_port),
        grpc=GrpcServer(
            activation_extraction_pb2.DESCRIPTOR.services_by_name["ActivationExtractionService"].full_name,
            lambda server: activation_extraction_pb2_grpc.add_ActivationExtractionServiceServicer_to_server(
                servicer,
                server,
            ),
            edge,
            settings.grpc_port,
        ),
        consumers=consumers.of(settings.role),
        runners={} if settings.role == "front" else {"services.activation_extraction.job": runner},
        recoverable=[extractions, analyses, explanations],
        streams=streams,
        background=[monitor, reconciler],
        idle=idle,
    )


def main() -> None:
    """Run this service alone until it is stopped. A worker also ends when it has no work."""
    settings = ExtractionSettings()
    run_in_role("activation_extraction", settings, lambda bus, idle: create(settings, bus, idle))


if __name__ == "__main__":
    main()
