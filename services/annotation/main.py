"""Wires the annotation service, and runs it as a process of its own."""

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from fastapi import FastAPI
from primitives.annotation.v1 import annotation_pb2, annotation_pb2_grpc

from services.annotation.account_sign_in import check_sign_in, open_account_sign_in
from services.annotation.api import access_of, add_routes
from services.annotation.audit_chain import Chain
from services.annotation.auth import Auth
from services.annotation.clients.extraction import ExtractionService, RenderingService
from services.annotation.clients.training import TrainingService
from services.annotation.clients.webhook import open_webhook
from services.annotation.consumer import EVENTS_QUEUE, WEBHOOKS_QUEUE, create_consumers
from services.annotation.detection.scores import DetectionScores
from services.annotation.explanations.api import explanation_routes
from services.annotation.explanations.workflow import WordedExplanations
from services.annotation.game_api import game_routes, trial_routes
from services.annotation.guard import FOR_PROGRAMS, Guard, largest_body_of
from services.annotation.pages import add_pages
from services.annotation.pages.frame import Frame
from services.annotation.protocol_api import label_routes, protocol_routes, reading_routes
from services.annotation.reading_picture_api import reading_picture_routes
from services.annotation.record_api import record_routes
from services.annotation.rpc import MANAGING, AnnotationServicer
from services.annotation.sessions import Sessions
from services.annotation.settings import AnnotationSettings
from services.annotation.sources import GreySources
from services.annotation.tables import Base, StudyRow
from services.annotation.workflow.exports import Exports
from services.annotation.workflow.game_results import GameScores
from services.annotation.workflow.games import Games
from services.annotation.workflow.labels import Labels
from services.annotation.workflow.protocols import Protocols
from services.annotation.workflow.readers import Readers
from services.annotation.workflow.readings import Readings
from services.annotation.workflow.response_import import ResponseImport
from services.annotation.workflow.responses import Responses
from services.annotation.workflow.results import Results
from services.annotation.workflow.studies import JOBS_QUEUE, Studies
from services.annotation.workflow.trials import Trials
from services.annotation.workflow.units import Units
from services.annotation.workflow.webhooks import Webhooks
from services.common.access.audit import Audit
from services.common.access.edge import open_edge
from services.common.access.tokens import Tokens
from services.common.bus import Bus, Consumer
from services.common.grpc import GrpcServer
from services.common.http.app import create_app
from services.common.http.parked_routes import add_parked_routes
from services.common.http.streams import Streams
from services.common.records import now
from services.common.runtime.bootstrap import open_ports
from services.common.runtime.service import HttpServer, Service, run_alone
from services.common.runtime.status import Monitor, add_status_routes
from services.common.work.parked import ParkedMessages
from services.common.work.ports import Ports
from services.common.work.reconciler import Reconciler

MIGRATIONS = Path(__file__).parent / "migrations"


def open_annotation_ports(settings: AnnotationSettings, bus: Bus) -> Ports:
    """Open the service's ports and migrate its tables. The service has no bucket: it only reads objects."""
    return open_ports("annotation", settings.shared, bus, Base.metadata, MIGRATIONS, bucket=None)


def open_audit(settings: AnnotationSettings, ports: Ports) -> Audit:
    """The audit log of the service, whose events are also in the chain in its records."""
    return Audit("annotation", settings.shared.audit_file, Chain(ports.records))


def create_monitor(ports: Ports) -> Monitor:
    """The monitor of the service's tasks and queues, not started."""
    return Monitor("annotation", ports, {"study": StudyRow}, (JOBS_QUEUE, EVENTS_QUEUE, WEBHOOKS_QUEUE))


def open_consumers(settings: AnnotationSettings, ports: Ports, studies: Studies) -> list[Consumer]:
    """The consumers of the service, declared but not started. InvalidInput for a webhook without a readable secret."""
    webhooks = Webhooks(ports, open_webhook(settings.webhook_url, settings.webhook_secret_file))
    return create_consumers(ports.bus, studies, webhooks, settings.shared.max_attempts)


def create_web(
    settings: AnnotationSettings,
    ports: Ports,
    tokens: Tokens | None = None,
    clock: Callable[[], datetime] = now,
    monitor: Monitor | None = None,
    consumers: Sequence[Consumer] | None = None,
    streams: Streams | None = None,
) -> FastAPI:  # what `create` has made already is passed in; tests leave it out
    """The HTTP application: pages and JSON API. `clock` is the time by which sessions end."""
    monitor = monitor or create_monitor(ports)
    audit = open_audit(settings, ports)
    by_account = open_account_sign_in(settings, ports.records, tokens, audit, clock)
    sessions = Sessions(ports.records, settings, clock, tokens, with_accounts=by_account is not None)
    auth = Auth(Readers(ports.records), sessions, tokens, audit, by_account)
    sources = GreySources()
    studies, units, responses = Studies(ports, audit), Units(ports, sources), Responses(ports, audit)
    training = TrainingService(settings.training_url, settings.shared)
    extraction = ExtractionService(settings.extraction_url, settings.shared)
    rendering = RenderingService(settings.rendering_url, settings.shared)
    scores = DetectionScores(extraction)
    worded = WordedExplanations(ports, extraction, scores)
    app = create_app(
        "annotation",
        lambda: ports.outbox.alive,
        tokens,
        is_public=is_page,
        access_of=access_of,
        largest_body_of=largest_body_of,
    )
    protocols, readings = Protocols(ports, audit), Readings(ports, audit, sources)
    results, labels, exports = Results(ports), Labels(ports, audit, sources), Exports(ports, audit)
    add_routes(app, auth, studies, units, responses)
    app.include_router(protocol_routes(auth, protocols, results))
    app.include_router(label_routes(auth, labels))
    app.include_router(reading_routes(auth, readings, results))
    app.include_router(reading_picture_routes(auth, readings))
    games, trials, game_results = Games(ports, audit), Trials(ports), GameScores(ports)
    app.include_router(game_routes(auth, games, game_results, exports))
    app.include_router(trial_routes(auth, trials, game_results))
    app.include_router(explanation_routes(auth, worded))
    app.include_router(record_routes(auth, exports, ResponseImport(ports, audit)))
    add_status_routes(app, monitor, auth.may_read_status)
    parked = ParkedMessages(ports.bus, consumers or open_consumers(settings, ports, studies))
    add_parked_routes(app, parked)
    reader_studies = protocols, readings, results, labels, exports, games, trials, game_results
    clients = training, extraction, worded, scores, rendering
    add_pages(
        app, Frame(auth, studies, units, responses, *reader_studies, *clients, monitor, parked, streams or Streams())
    )
    app.add_middleware(Guard, public_origin=settings.public_origin, over_tls=settings.over_tls)
    return app


def create(settings: AnnotationSettings, bus: Bus) -> Service:
    """The service with its ports opened, not started."""
    shared = settings.shared
    edge = open_edge("annotation", shared)
    check_sign_in(settings, edge.tokens)
    ports = open_annotation_ports(settings, bus)
    audit = open_audit(settings, ports)
    if edge.tokens is not None:
        edge.tokens.record_to(audit)
    studies, responses, monitor = Studies(ports, audit), Responses(ports, audit), create_monitor(ports)
    consumers = open_consumers(settings, ports, studies)
    streams = Streams()
    web = create_web(settings, ports, edge.tokens, monitor=monitor, consumers=consumers, streams=streams)
    servicer = AnnotationServicer(Readers(ports.records), studies, Units(ports), responses, edge.tokens)
    reconciler = Reconciler(ports, [studies], [one.queue for one in consumers], shared.reconcile_s)
    return Service(
        name="annotation",
        ports=ports,
        http=HttpServer(web, edge, settings.http_port),
        grpc=GrpcServer(
            annotation_pb2.DESCRIPTOR.services_by_name["AnnotationService"].full_name,
            lambda server: annotation_pb2_grpc.add_AnnotationServiceServicer_to_server(servicer, server),
            edge,
            settings.grpc_port,
            MANAGING,
        ),
        consumers=consumers,
        recoverable=[studies],
        streams=streams,
        background=[monitor, reconciler],
    )


def is_page(path: str) -> bool:
    """Whether an address is a page or a part of one; pages need a session, not an access token."""
    return not path.startswith(FOR_PROGRAMS)


def main() -> None:
    """Run this service alone until it is stopped."""
    settings = AnnotationSettings()
    run_alone("annotation", settings, lambda bus: create(settings, bus))


if __name__ == "__main__":
    main()
