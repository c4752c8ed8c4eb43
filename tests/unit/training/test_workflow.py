"""The workflow of the training service: plans, builds, runs and imports."""

from pathlib import Path
from typing import Any

import grpc
import pytest
import torch
from fastapi import FastAPI
from fastapi.testclient import TestClient
from primitives.training.v1 import events_pb2, training_pb2_grpc
from primitives.training.v1 import training_pb2 as pb
from sqlalchemy import event

from services.common.access.edge import Edge
from services.common.access.tokens import Tokens, add_token
from services.common.blobs import ObjectRef
from services.common.errors import Conflict, InvalidInput, JobCrashed, JobStopped, NotFound
from services.common.http.streams import Streams
from services.common.paging import Window
from services.common.work.plan_options import PlanStudy
from services.common.work.starts import CallKey
from services.imaging.architectures import build_network
from services.training.api import add_routes
from services.training.evaluation.comparisons import Comparisons
from services.training.evaluation.workflow import Evaluations
from services.training.imports.workflow import RawImports
from services.training.rpc import TrainingServicer
from services.training.schemas import (
    PlanDataset,
    PlanExtraction,
    PlanNetwork,
    RunSettings,
    StartPlanRequest,
    StartRunRequest,
)
from services.training.settings import TrainingSettings
from services.training.specs import BuiltDataset, SavedCheckpoint
from services.training.tables import Base
from services.training.weights_file import WeightsFile
from services.training.workflow.datasets import Datasets
from services.training.workflow.imports import Imports
from services.training.workflow.plans import Plans
from services.training.workflow.runs import Runs
from tests.fakes.data import store_checkpoint, store_dataset
from tests.fakes.ports import FakeRunner, World
from tests.fakes.serving import training_channel

SETTINGS = RunSettings(architecture="test_resnet", weights="none", epochs=1)


def saved(checkpoint: ObjectRef, kept: int | None = None) -> SavedCheckpoint:
    """The milestone of a checkpoint that is both the last and the best."""
    return SavedCheckpoint(
        checkpoint=checkpoint, best_checkpoint=checkpoint, last_checkpoint=checkpoint, kept=kept, epochs=[]
    )


class Training(World):
    """The service's use cases with a data set registered."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, Base.metadata)
        self.runner = FakeRunner()
        self.datasets = Datasets(self.ports, self.runner)  # type: ignore[arg-type]
        self.runs = Runs(self.ports, self.runner, TrainingSettings())  # type: ignore[arg-type]
        self.imports = Imports(self.datasets, self.runs)
        self.plans = Plans(self.ports, self.datasets, self.runs)
        self.evaluations = Evaluations(self.ports, self.runner, TrainingSettings())  # type: ignore[arg-type]
        self.comparisons = Comparisons(self.ports, self.evaluations)
        self.raw_imports = RawImports(self.ports, self.runner, self.datasets, ("raw",))  # type: ignore[arg-type]
        self.data, self.ref = store_dataset(self.blobs, folder / "ddsm", {"train": 6, "val": 3})
        self.dataset_id = self.datasets.register(self.data.manifest, self.ref).dataset_id
        self.checkpoint = self.blobs.put("training", "c", b"c")
        self.runner.answers["train_slice"] = lambda _: ([saved(self.checkpoint)], True)
        self.runner.answers["build_sample"] = lambda _: BuiltDataset(manifest=self.data.manifest, ref=self.ref)

    def servicer(self) -> TrainingServicer:
        """The methods of the service over gRPC."""
        use_cases = (self.datasets, self.runs, self.plans, self.evaluations, self.comparisons, self.raw_imports)
        return TrainingServicer(*use_cases, Streams())

    def plan(self, **changes: Any) -> StartPlanRequest:
        """A plan over the registered data set, with changes."""
        options: dict[str, Any] = {
            "plan_id": "plan-1",
            "dataset": PlanDataset(dataset_id=self.dataset_id),
            "network": PlanNetwork(train=SETTINGS),
        }
        return StartPlanRequest(**(options | changes))


@pytest.fixture
def training(tmp_path: Path) -> Training:
    return Training(tmp_path)


def test_a_plan_trains_and_publishes_the_rest_of_the_plan(training: Training) -> None:
    """A plan enqueues a run. RunCompleted has the data set, the checkpoint and the rest of the plan."""
    request = training.plan(extraction=PlanExtraction(layers=["layer4"], top_k=7))
    assert [stage.name for stage in training.plans.start(request).stages] == ["training"]
    [command] = training.sent()
    training.runs.train_slice(command)
    [event] = training.sent()
    assert isinstance(event, events_pb2.RunCompleted)
    assert event.plan.plan_id == "plan-1"
    assert (list(event.plan.extraction.layers), event.plan.extraction.top_k) == (["layer4"], 7)
    assert event.dataset.sha256 == training.ref.sha256
    assert event.checkpoint.sha256 == training.checkpoint.sha256
    assert training.plans.get("plan-1").stages[0].state == "completed"


def test_a_plan_without_a_data_set_builds_the_sample(training: Training) -> None:
    """The sample is built, then used for training. A second delivery of either message changes nothing."""
    training.plans.start(training.plan(dataset=PlanDataset()))
    [build] = training.sent()
    training.datasets.build(build)
    [built] = training.sent()
    assert isinstance(built, events_pb2.DatasetBuilt)
    training.plans.continue_with(built)
    [slice_] = training.sent()
    training.datasets.build(build)
    training.plans.continue_with(built)
    assert training.sent() == []
    assert slice_.run_id == training.runs.all().runs[0].run_id
    assert [stage.state for stage in training.plans.get("plan-1").stages] == ["completed", "queued"]


def test_the_same_plan_is_started_once(training: Training) -> None:
    """A second call with the same plan_id returns the plan as it is, and enqueues nothing."""
    first = training.plans.start(training.plan())
    assert len(training.sent()) == 1
    assert training.plans.start(training.plan()) == first
    assert training.sent() == []


def test_plans_are_listed_page_by_page(training: Training) -> None:
    """The newest plan comes first, with its stages, the title of its study and the total; the same over HTTP and
    gRPC."""
    for number in range(5):
        dataset = PlanDataset() if number == 4 else PlanDataset(dataset_id=training.dataset_id)
        training.plans.start(
            training.plan(plan_id=f"plan-{number}", dataset=dataset, study=PlanStudy(title=f"study {number}"))
        )
    page = training.plans.all(Window(offset=0, limit=2))
    assert [(plan.plan_id, plan.title) for plan in page.plans] == [("plan-4", "study 4"), ("plan-3", "study 3")]
    assert [[(stage.name, stage.state) for stage in plan.stages] for plan in page.plans] == [
        [("dataset", "queued")],
        [("training", "queued")],
    ]
    assert (page.total, page.next_offset) == (5, 2)
    assert all(plan.created for plan in page.plans)
    last = training.plans.all(Window(offset=4, limit=2))
    assert ([plan.plan_id for plan in last.plans], last.next_offset) == (["plan-0"], None)
    parts = (training.datasets, training.runs, training.plans)
    app = FastAPI()
    add_routes(app, *parts, Streams())
    assert TestClient(app).get("/v1/plans?offset=3").json()["plans"] == [
        plan.model_dump() for plan in training.plans.all(Window(offset=3)).plans
    ]
    assert TestClient(app).get("/v1/plans?limit=501").status_code == 422
    servicer = training.servicer()
    answer = servicer.ListPlans(pb.ListPlansRequest(limit=2), None)  # type: ignore[arg-type]
    assert [(plan.plan_id, plan.title, plan.stages[0].name) for plan in answer.plans] == [
        ("plan-4", "study 4", "dataset"),
        ("plan-3", "study 3", "training"),
    ]
    assert (answer.total, answer.next_offset) == (5, 2)


def test_a_list_of_plans_needs_a_constant_number_of_statements(training: Training) -> None:
    """It does not grow with the plans of a page."""
    counts = []
    for plan_ids in (("plan-1",), ("plan-2", "plan-3", "plan-4")):
        for plan_id in plan_ids:
            training.plans.start(training.plan(plan_id=plan_id))
        statements: list[str] = []

        def count(*arguments: Any, seen: list[str] = statements) -> None:
            seen.append(arguments[2])

        engine = training.ports.records.engine
        event.listen(engine, "before_cursor_execute", count)
        training.plans.all()
        event.remove(engine, "before_cursor_execute", count)
        counts.append(len(statements))
    assert counts[0] == counts[1]


def test_a_plan_can_use_a_completed_run(training: Training) -> None:
    """With a completed run nothing is trained: its checkpoint is published at once. An unfinished run is refused."""
    run = training.runs.start(StartRunRequest(dataset_id=training.dataset_id, settings=SETTINGS))
    with pytest.raises(Conflict, match="is queued; a plan needs a completed one"):
        training.plans.start(training.plan(network=PlanNetwork(run_id=run.run_id)))
    weights = training.blobs.url.removeprefix("folder://") + "/../w.pth"
    torch.save(build_network("test_resnet", 3).state_dict(), weights)
    imported = training.imports.import_checkpoint(Path(weights), training.dataset_id, WeightsFile("test_resnet", 64))
    training.sent()
    training.plans.start(training.plan(network=PlanNetwork(run_id=imported.run_id)))
    [event] = training.sent()
    assert event.run_id == imported.run_id
    assert event.plan.plan_id == "plan-1"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"extraction": PlanExtraction(layers=["layer9"])}, "has no layer 'layer9'; it has .*layer4"),
        ({"extraction": PlanExtraction(split="test")}, "has no split 'test'; it has train, val"),
        ({"network": PlanNetwork(train=SETTINGS.model_copy(update={"architecture": "nope"}))}, "'nope' is not known"),
    ],
)
def test_a_plan_that_cannot_succeed_is_refused_at_once(
    training: Training, changes: dict[str, Any], message: str
) -> None:
    """A plan that would fail minutes later raises InvalidInput, and nothing is recorded or sent."""
    with pytest.raises(InvalidInput, match=message):
        training.plans.start(training.plan(**changes))
    assert training.sent() == []
    with pytest.raises(NotFound):
        training.plans.get("plan-1")


def test_a_plan_over_an_unknown_data_set_or_run_is_not_found(training: Training) -> None:
    """NotFound names the data set or the run."""
    with pytest.raises(NotFound, match="no data set 'dataset-x'"):
        training.plans.start(training.plan(dataset=PlanDataset(dataset_id="dataset-x")))
    with pytest.raises(NotFound, match="no run 'run-x'"):
        training.plans.start(training.plan(network=PlanNetwork(run_id="run-x")))


def test_an_unfinished_slice_enqueues_the_next(training: Training) -> None:
    """The next slice begins with the checkpoint. An older slice that is delivered again does nothing."""
    training.runner.answers["train_slice"] = lambda _: ([saved(training.checkpoint)], False)
    run = training.runs.start(StartRunRequest(dataset_id=training.dataset_id, settings=SETTINGS))
    [first] = training.sent()
    training.runs.train_slice(first)
    [second] = training.sent()
    assert (second.run_id, second.slice) == (run.run_id, 1)
    training.runs.train_slice(first)
    assert training.sent() == []
    training.runs.train_slice(second)
    assert training.runner.calls[-1][1].checkpoint == training.checkpoint
    assert training.runs.get(run.run_id).state == "running"


def test_a_run_continues_after_a_crash(training: Training) -> None:
    """After a crash of the child the run stays running. When the command is parked, the run fails, and RunFailed is
    published."""

    def crash(_: Any) -> None:
        raise JobCrashed("exit code -9")

    training.runner.answers["train_slice"] = crash
    run = training.runs.start(StartRunRequest(dataset_id=training.dataset_id, settings=SETTINGS))
    [command] = training.sent()
    with pytest.raises(JobCrashed):
        training.runs.train_slice(command)
    assert training.runs.get(run.run_id).state == "running"
    training.runs.command_parked(command, "abandoned after 5 attempts: exit code -9")
    [event] = training.sent()
    assert isinstance(event, events_pb2.RunFailed)
    assert (training.runs.get(run.run_id).state, event.error) == (
        "failed",
        "abandoned after 5 attempts: exit code -9",
    )


def test_a_run_can_be_cancelled_until_it_ends(training: Training) -> None:
    """A queued or running run is cancelled at once, and its job stops. Cancelling it again is a conflict."""
    waiting = training.runs.start(StartRunRequest(dataset_id=training.dataset_id, settings=SETTINGS))
    [command] = training.sent()
    training.runs.act("cancel", waiting.run_id)
    assert training.runs.get(waiting.run_id).state == "cancelled"
    training.runs.train_slice(command)
    assert training.runner.calls == []
    with pytest.raises(Conflict, match="is cancelled"):
        training.runs.act("cancel", waiting.run_id)
    running = training.runs.start(StartRunRequest(dataset_id=training.dataset_id, settings=SETTINGS))
    command = training.sent()[-1]

    def cancel_meanwhile(_: Any) -> Any:
        training.runs.act("cancel", running.run_id)
        assert training.runs.get(running.run_id).state == "cancelled", "the cancel must survive a restart"
        raise JobStopped("noticed")

    training.runner.answers["train_slice"] = cancel_meanwhile
    training.runs.train_slice(command)
    assert training.runs.get(running.run_id).state == "cancelled"


def test_a_paused_run_waits_until_it_is_resumed(training: Training) -> None:
    """Its commands are acknowledged without work, also after a restart. Resuming it enqueues the slice again."""
    run = training.runs.start(StartRunRequest(dataset_id=training.dataset_id, settings=SETTINGS))
    [command] = training.sent()
    training.runs.act("pause", run.run_id)
    training.runs.train_slice(command)
    training.runs.recover()
    assert (training.runner.calls, training.sent()) == ([], [])
    assert training.runs.get(run.run_id).state == "paused"
    with pytest.raises(Conflict, match="is paused; only a queued or running one can be paused"):
        training.runs.act("pause", run.run_id)
    training.runs.act("resume", run.run_id)
    assert training.sent() == [command]
    with pytest.raises(Conflict, match="is queued; only a paused one can be resumed"):
        training.runs.act("resume", run.run_id)
    training.runs.train_slice(command)
    assert training.runs.get(run.run_id).state == "completed"
    for verb in ("pause", "resume", "cancel"):
        with pytest.raises(Conflict, match="is completed"):
            training.runs.act(verb, run.run_id)


@pytest.mark.parametrize("resumed_at", ["while its job stops", "after its job has stopped"])
def test_a_run_continues_once_however_soon_it_is_resumed(training: Training, resumed_at: str) -> None:
    """Exactly one of all commands for the run performs the next slice, whether or not the old job has stopped."""
    run = training.runs.start(StartRunRequest(dataset_id=training.dataset_id, settings=SETTINGS))
    commands = training.sent()

    def pause_meanwhile(_: Any) -> Any:
        training.runs.act("pause", run.run_id)
        if resumed_at == "while its job stops":
            training.runs.act("resume", run.run_id)
        return [saved(training.checkpoint)], False

    training.runner.answers["train_slice"] = pause_meanwhile
    training.runs.train_slice(commands[0])
    if resumed_at == "after its job has stopped":
        assert training.sent() == []
        training.runs.act("resume", run.run_id)
    commands += training.sent()
    training.runner.answers["train_slice"] = lambda _: ([], True)
    for command in [*commands, *commands]:
        training.runs.train_slice(command)
    assert len(training.runner.calls) == 2
    assert training.runner.calls[1][1].checkpoint == training.checkpoint
    [event] = training.sent()
    assert isinstance(event, events_pb2.RunCompleted)


def test_a_run_that_completes_while_paused_publishes_when_it_is_resumed(training: Training) -> None:
    """A paused plan does not continue, even if its run was at the last step."""
    training.plans.start(training.plan())
    [command] = training.sent()

    def pause_meanwhile(_: Any) -> Any:
        training.plans.act("pause", "plan-1")
        return [saved(training.checkpoint)], True

    training.runner.answers["train_slice"] = pause_meanwhile
    training.runs.train_slice(command)
    assert training.sent() == []
    assert training.plans.get("plan-1").stages[0].state == "paused"
    training.plans.act("resume", "plan-1")
    training.runner.answers["train_slice"] = lambda _: ([], True)
    [command] = training.sent()
    training.runs.train_slice(command)
    assert [type(event).__name__ for event in training.sent()] == ["RunCompleted"]


def test_a_plan_is_paused_where_it_is(training: Training) -> None:
    """A plan can be paused while it builds its data set, between the build and the run, and while it trains."""
    training.plans.start(training.plan(dataset=PlanDataset()))
    [build] = training.sent()
    training.plans.act("pause", "plan-1")
    training.datasets.build(build)
    assert training.runner.calls == []
    training.plans.act("resume", "plan-1")
    assert training.sent() == [build]
    training.datasets.build(build)
    [built] = training.sent()
    training.plans.act("pause", "plan-1")  # before DatasetBuilt arrives
    training.plans.continue_with(built)
    assert [stage.state for stage in training.plans.get("plan-1").stages] == ["completed", "paused"]
    [slice_] = training.sent()
    training.runs.train_slice(slice_)
    assert len(training.runner.calls) == 1
    training.plans.act("resume", "plan-1")
    assert training.sent() == [slice_]


def test_a_cancelled_plan_starts_nothing_more(training: Training) -> None:
    """A cancelled plan starts no run after its build, and ignores later messages. An unknown plan is not found."""
    training.plans.start(training.plan(dataset=PlanDataset()))
    [build] = training.sent()

    def cancel_meanwhile(_: Any) -> Any:
        training.plans.act("cancel", "plan-1")
        raise JobStopped("noticed")

    training.runner.answers["build_sample"] = cancel_meanwhile
    training.datasets.build(build)
    training.datasets.recover()
    assert training.sent() == []
    plan = training.plans.get("plan-1")
    assert [stage.state for stage in plan.stages] == ["cancelled"]
    assert training.plans.ended(plan)
    with pytest.raises(Conflict, match="is cancelled"):
        training.plans.act("resume", "plan-1")
    with pytest.raises(NotFound, match="no plan 'plan-x'"):
        training.plans.act("cancel", "plan-x")


def test_a_plan_has_ended_here_when_its_run_has(training: Training) -> None:
    """A run follows a built data set, so callers who watch the plan wait for the run."""
    training.plans.start(training.plan(dataset=PlanDataset()))
    [build] = training.sent()
    training.datasets.build(build)
    assert not training.plans.ended(training.plans.get("plan-1"))
    [built] = training.sent()
    training.plans.continue_with(built)
    assert not training.plans.ended(training.plans.get("plan-1"))
    [slice_] = training.sent()
    training.runs.train_slice(slice_)
    assert training.plans.ended(training.plans.get("plan-1"))


def test_weights_of_another_architecture_are_refused(training: Training, tmp_path: Path) -> None:
    """The error names the keys, and neither a run nor an object is stored."""
    torch.save(build_network("resnet18", 3).state_dict(), tmp_path / "w.pth")
    before = list(training.blobs.list("training"))
    with pytest.raises(InvalidInput, match=r"w\.pth does not fit a .*: it lacks"):
        training.imports.import_checkpoint(tmp_path / "w.pth", training.dataset_id, WeightsFile("test_resnet", 64))
    torch.save(build_network("test_resnet", 5).state_dict(), tmp_path / "w.pth")
    with pytest.raises(InvalidInput, match=r"another shape .*\[5\], expected \[3\]"):
        training.imports.import_checkpoint(tmp_path / "w.pth", training.dataset_id, WeightsFile("test_resnet", 64))
    assert training.runs.all().runs == []
    assert list(training.blobs.list("training")) == before


def test_a_restart_enqueues_unfinished_work_again(training: Training) -> None:
    """`recover` enqueues what an earlier process did not finish, and publishes finished work again."""
    training.plans.start(training.plan(dataset=PlanDataset(), plan_id="plan-2"))
    training.plans.start(training.plan())
    left = training.sent()
    training.datasets.recover()
    training.runs.recover()
    assert sorted(map(str, training.sent())) == sorted(map(str, left))
    for command in left:
        if isinstance(command, events_pb2.TrainSlice):
            training.runs.train_slice(command)
        else:
            training.datasets.build(command)
    training.sent()
    training.datasets.recover()
    training.runs.recover()
    published = {type(event).__name__ for event in training.sent()}
    assert published == {"DatasetBuilt", "RunCompleted"}, "an event could be lost with the process"


def test_a_plan_that_cannot_continue_shows_the_reason(training: Training) -> None:
    """If DatasetBuilt is parked, a failed run records the reason, so that callers see it in the plan."""
    training.plans.start(training.plan(dataset=PlanDataset()))
    [build] = training.sent()
    training.datasets.build(build)
    [built] = training.sent()
    training.plans.continue_failed(built, "the records are full")
    assert [(s.name, s.state, s.error) for s in training.plans.get("plan-1").stages][1] == (
        "training", "failed", "the records are full",
    )  # fmt: skip


def test_a_replayed_event_continues_the_plan(training: Training) -> None:
    """After a replay of DatasetBuilt the run of the plan begins."""
    training.plans.start(training.plan(dataset=PlanDataset()))
    [build] = training.sent()
    training.datasets.build(build)
    [built] = training.sent()
    training.plans.continue_failed(built, "the records are full")
    assert "the records are full" in training.plans.continue_replayed(built).effect
    training.plans.continue_with(built)
    assert [type(command).__name__ for command in training.sent()] == ["TrainSlice"]
    assert [stage.state for stage in training.plans.get("plan-1").stages] == ["completed", "queued"]


def stored_checkpoint(training: Training) -> ObjectRef:
    """A checkpoint whose manifest and weights are stored."""
    ref, _ = store_checkpoint(training.blobs, training.data.manifest, "test_resnet", 64)
    return ref


def test_a_replayed_slice_continues_from_the_last_checkpoint(training: Training) -> None:
    """The run is queued again with the slice that failed."""
    checkpoint = stored_checkpoint(training)
    training.runner.answers["train_slice"] = lambda _: ([saved(checkpoint)], False)
    training.plans.start(training.plan())
    [first] = training.sent()
    training.runs.train_slice(first)
    [second] = training.sent()
    training.runs.command_parked(second, "abandoned after 5 attempts: exit code -9")
    training.sent()
    assert not training.runs.command_replayed(second).needed
    assert training.sent() == [second]
    training.runs.train_slice(second)
    assert training.runner.calls[-1][1].checkpoint == checkpoint


def test_a_run_whose_checkpoints_were_removed_is_not_replayed(training: Training) -> None:
    """Conflict: the checkpoints of failed runs are garbage, and without them the run would train other weights."""
    checkpoint = stored_checkpoint(training)
    training.runner.answers["train_slice"] = lambda _: ([saved(checkpoint)], False)
    training.plans.start(training.plan())
    [first] = training.sent()
    training.runs.train_slice(first)
    [second] = training.sent()
    training.runs.command_parked(second, "broken")
    training.blobs.delete(checkpoint.bucket, checkpoint.key)
    with pytest.raises(Conflict, match="cannot continue, since a checkpoint of it was removed"):
        training.runs.command_replayed(second)
    assert training.runs.get(second.run_id).state == "failed"


def test_starts_with_a_key_are_done_once(training: Training) -> None:
    """A run and a plan. A plan that is named is found by its name too, and a key of a run cannot start a plan."""
    run, key = StartRunRequest(dataset_id=training.dataset_id, settings=SETTINGS), CallKey("ci", "key-1")
    first = training.runs.start(run, key)
    assert (training.runs.start(run, key).run_id, len(training.sent())) == (first.run_id, 1)
    with pytest.raises(InvalidInput, match=f"another request, which started {first.run_id}"):
        training.plans.start(training.plan(), key)
    unnamed = training.plan(plan_id="")
    plan = training.plans.start(unnamed, CallKey("ci", "key-2"))
    assert training.plans.start(unnamed, CallKey("ci", "key-2")).plan_id == plan.plan_id
    assert len(training.sent()) == 1
    training.plans.start(training.plan())
    assert training.plans.start(training.plan(), CallKey("ci", "key-3")).plan_id == "plan-1"
    assert len(training.sent()) == 1


def test_keys_over_grpc_belong_to_the_caller(training: Training, tmp_path: Path) -> None:
    """The metadata `idempotency-key` is the same key as the header of HTTP. Each token has keys of its own."""
    tokens = tmp_path / "tokens.json"
    ci, lab = (add_token(tokens, name, ("training:write",)) for name in ("ci", "lab"))
    servicer = training.servicer()
    request = pb.StartRunRequest(dataset_id=training.dataset_id)
    request.settings.architecture, request.settings.weights = "test_resnet", "none"

    def start(stub: training_pb2_grpc.TrainingServiceStub, token: str, epochs: int = 1) -> str:
        request.settings.epochs = epochs
        metadata = (("authorization", f"Bearer {token}"), ("idempotency-key", "key-1"))
        return str(stub.StartRun(request, metadata=metadata, timeout=30).run.run_id)

    with training_channel(servicer, Edge("training", tokens=Tokens(tokens))) as channel:
        stub = training_pb2_grpc.TrainingServiceStub(channel)
        first = start(stub, ci)
        assert (start(stub, ci), start(stub, lab) != first) == (first, True)
        with pytest.raises(grpc.RpcError) as refused:
            start(stub, ci, epochs=2)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert f"which started {first}" in refused.value.details()
    same = StartRunRequest(dataset_id=training.dataset_id, settings=SETTINGS)
    assert training.runs.start(same, CallKey("ci", "key-1")).run_id == first


def test_a_repeated_import_is_one_run(training: Training, tmp_path: Path) -> None:
    """The same file with the same data set and settings is the same run, and RunCompleted is published once. Another
    file, or other settings, are another run."""
    torch.save(build_network("test_resnet", 3).state_dict(), tmp_path / "w.pth")
    torch.save(build_network("test_resnet", 3).state_dict(), tmp_path / "v.pth")

    def imported(name: str, size: int = 64) -> str:
        return training.imports.import_checkpoint(
            tmp_path / name, training.dataset_id, WeightsFile("test_resnet", size)
        ).run_id

    first = imported("w.pth")
    objects = list(training.blobs.list("training"))
    assert (imported("w.pth"), len(training.sent())) == (first, 1)
    assert list(training.blobs.list("training")) == objects
    assert len({first, imported("v.pth"), imported("w.pth", 96)}) == 3


def test_an_imported_network_is_published(training: Training, tmp_path: Path) -> None:
    """RunCompleted is published for imported weights as for trained ones."""
    torch.save(build_network("test_resnet", 3).state_dict(), tmp_path / "w.pth")
    run = training.imports.import_checkpoint(tmp_path / "w.pth", training.dataset_id, WeightsFile("test_resnet", 64))
    [event] = training.sent()
    assert (event.run_id, event.HasField("plan")) == (run.run_id, False)


VERBS = (("Pause", "paused"), ("Resume", "queued"), ("Cancel", "cancelled"))


def test_grpc_pauses_resumes_and_cancels(training: Training) -> None:
    """Each verb returns the new state, for a run and for a plan."""
    servicer = training.servicer()
    run_id = training.runs.start(StartRunRequest(dataset_id=training.dataset_id, settings=SETTINGS)).run_id
    for verb, state in VERBS:
        options = getattr(pb, f"{verb}RunRequest")(run_id=run_id)
        assert getattr(servicer, f"{verb}Run")(options, None).run.state == state
    training.plans.start(training.plan())
    for verb, state in VERBS:
        options = getattr(pb, f"{verb}PlanRequest")(plan_id="plan-1")
        [stage] = getattr(servicer, f"{verb}Plan")(options, None).stages
        assert stage.state == state
