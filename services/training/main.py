"""The training service: wiring, and its own process."""

from pathlib import Path

from primitives.training.v1 import training_pb2, training_pb2_grpc

from services.common.access.edge import open_edge
from services.common.bus import Bus
from services.common.grpc import GrpcServer
from services.common.http.app import create_app
from services.common.http.parked_routes import add_parked_routes
from services.common.http.streams import Streams
from services.common.records import WorkColumns
from services.common.runtime.bootstrap import open_ports
from services.common.runtime.idle import IdleEnd
from services.common.runtime.roles import check_role, run_in_role
from services.common.runtime.service import HttpServer, Service
from services.common.runtime.status import Monitor, add_status_routes
from services.common.work.parked import ParkedMessages
from services.common.work.ports import Ports
from services.common.work.reconciler import Reconciler
from services.common.work.runner import JobRunner
from services.training.api import add_routes
from services.training.consumer import create_consumers
from services.training.evaluation.api import add_evaluation_routes
from services.training.evaluation.comparisons import Comparisons
from services.training.evaluation.tables import EvaluationRow
from services.training.evaluation.workflow import Evaluations
from services.training.imports.api import add_import_routes
from services.training.imports.tables import ImportRow
from services.training.imports.workflow import RawImports
from services.training.names import BUCKET
from services.training.raw.source.dicomweb.servers import read_servers
from services.training.rpc import TrainingServicer
from services.training.settings import TrainingSettings
from services.training.tables import Base, BuildRow, RunRow
from services.training.workflow.datasets import Datasets
from services.training.workflow.plans import Plans
from services.training.workflow.runs import Runs

MIGRATIONS = Path(__file__).parent / "migrations"
TASKS: dict[str, type[WorkColumns]] = {
    "build": BuildRow,
    "import": ImportRow,
    "run": RunRow,
    "evaluation": EvaluationRow,
}


def open_training_ports(settings: TrainingSettings, bus: Bus) -> Ports:
    """Open the service's ports and migrate its tables."""
    return open_ports("training", settings.shared, bus, Base.metadata, MIGRATIONS, BUCKET)


def create(settings: TrainingSettings, bus: Bus, idle: IdleEnd | None = None) -> Service:
    """Build the service. It is bound to its network ports, but not started. InvalidInput if it leaves its jobs to other
    processes, although the bus connects no other processes, and for a file of DICOMweb servers that is not valid."""
    shared = settings.shared
    check_role(settings, bus)
    if settings.dicomweb_file is not None:
        read_servers(settings.dicomweb_file)  # a broken file is found now, not by the first import
    edge = open_edge("training", shared)
    ports = open_training_ports(settings, bus)
    runner = JobRunner("training-job", shared.log_format, shared.log_level, shared.job_silence_s)
    datasets = Datasets(ports, runner, settings.import_folder)
    runs = Runs(ports, runner, settings)
    plans = Plans(ports, datasets, runs)
    evaluations = Evaluations(ports, runner, settings)
    comparisons = Comparisons(ports, evaluations)
    imports = RawImports(
        ports,
        runner,
        datasets,
        settings.importable_buckets,
        settings.pseudonym_key_file,
        shared.folder("keys"),
        settings.dicomweb_file,
    )
    app = create_app("training", lambda: ports.outbox.alive, edge.tokens)
    streams = Streams()
    add_routes(app, datasets, runs, plans, streams)
    add_evaluation_routes(app, evaluations, comparisons, streams)
    add_import_routes(app, imports, streams)

    consumers = create_consumers(bus, datasets, runs, plans, evaluations, imports, shared.max_attempts)
    monitor = Monitor("training", ports, TASKS, consumers.queues)
    add_status_routes(app, monitor)
    reconciler = Reconciler(ports, [datasets, imports, runs, evaluations], consumers.queues, shared.reconcile_s)
    add_parked_routes(app, ParkedMessages(bus, consumers))
    return Service(
        name="training",
        ports=ports,
        http=HttpServer(app, edge, settings.http_port),
        grpc=GrpcServer(
            training_pb2.DESCRIPTOR.services_by_name["TrainingService"].full_name,
            lambda server: training_pb2_grpc.add_TrainingServiceServicer_to_server(
                TrainingServicer(datasets, runs, plans, evaluations, comparisons, imports, streams), server
            ),
            edge,
            settings.grpc_port,
        ),
        consumers=consumers.of(settings.role),
        runners={} if settings.role == "front" else {"services.training.job": runner},
        recoverable=[datasets, imports, runs, plans, evaluations],
        streams=streams,
        background=[monitor, reconciler],
        idle=idle,
    )


def main() -> None:
    """Run this service alone until it is stopped. A worker also ends when it has no work."""
    settings = TrainingSettings()
    run_in_role("training", settings, lambda bus, idle: create(settings, bus, idle))


if __name__ == "__main__":
    main()
