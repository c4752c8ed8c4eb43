"""Pause, resume and cancel, and progress as streams, through the APIs of the embedded form, on real jobs."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import grpc
import httpx
import pytest
from primitives.activation_extraction.v1 import activation_extraction_pb2 as extraction_pb
from primitives.activation_extraction.v1 import activation_extraction_pb2_grpc
from primitives.patch_rendering.v1 import patch_rendering_pb2 as rendering_pb
from primitives.patch_rendering.v1 import patch_rendering_pb2_grpc
from primitives.training.v1 import training_pb2, training_pb2_grpc

from services.cli.client import get, post
from services.common.blobs import FolderBlobs, ObjectRef
from services.common.blobs.port import read_verified
from services.imaging.checkpoint import open_checkpoint
from services.imaging.manifests import ExtractionManifest, RenderingManifest
from tests.fakes.ddsm import make_ddsm
from tests.integration.embedded import LIMIT_S, Embedded
from tests.integration.processes import children_work, takes_effect

COUNTS = {"train": 24, "val": 6, "test": 120}
"""Runs are validated on few patches after each epoch; extractions have many, so that they can be paused at work."""
PLAN = {
    "plan_id": "plan-1",
    "network": {
        "train": {"architecture": "resnet18", "weights": "none", "image_size": 224, "epochs": 1, "batch_size": 8}
    },
    "extraction": {"split": "test", "layers": ["layer1", "layer2"], "top_k": 32, "batch_size": 4},
}
LONG_RUN = {
    "architecture": "test_resnet", "weights": "none", "image_size": 64, "epochs": 40, "batch_size": 4,
}  # fmt: skip


@dataclass
class Kind:
    """A kind of task: the address of its service, and the options to start another task."""

    home: Embedded
    base: str
    noun: str
    options: dict[str, Any]

    @cached_property
    def undisturbed(self) -> "Watched":
        """A task that nobody disturbs, watched from its start to its end."""
        key = self.start()
        over_grpc: list[Any] = []
        watching = threading.Thread(target=lambda: over_grpc.extend(watch(self, key)))
        watching.start()
        events = self.events(key)
        watching.join(LIMIT_S)
        return Watched(key, events, over_grpc)

    def start(self) -> str:
        """Start a task and return its id."""
        return str(post(self.base, f"/v1/{self.noun}s", self.options)[f"{self.noun}_id"])

    def get(self, key: str) -> dict[str, Any]:
        """Return the view of a task."""
        found: dict[str, Any] = get(self.base, f"/v1/{self.noun}s/{key}")
        return found

    def act(self, verb: str, key: str) -> str:
        """Pause, resume or cancel a task. Return the state in the response."""
        return str(post(self.base, f"/v1/{self.noun}s/{key}/{verb}", {})["state"])

    def wait_until_at_work(self, key: str) -> None:
        """Wait until a job has reported its progress."""
        self.home.wait_for(lambda: self.get(key)["progress"]["done"] > 0)

    def wait_until_completed(self, key: str) -> dict[str, Any]:
        """Wait until a task has completed and return its view."""

        def completed() -> bool:
            view = self.get(key)
            assert view["state"] not in ("failed", "cancelled", "paused"), view
            return bool(view["state"] == "completed")

        self.home.wait_for(completed)
        return self.get(key)

    def works(self) -> bool:
        """Whether a job is working."""
        return children_work(self.home.pid)

    def events(self, key: str) -> list[dict[str, Any]]:
        """Return all server-sent events of a task until the stream ends."""
        with httpx.stream("GET", f"{self.base}/v1/{self.noun}s/{key}/events", timeout=LIMIT_S) as answer:
            return [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: ")]


@dataclass(frozen=True)
class Watched:
    """A task, and what its two streams have shown of it."""

    key: str
    events: list[dict[str, Any]]
    over_grpc: list[Any]


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Kind]]:
    """The embedded form with a completed plan, and the kinds of tasks to start."""
    folder = tmp_path_factory.mktemp("control")
    home = Embedded(folder / "home")
    home.environment |= {"PRIMITIVES_RENDERING_GROUP_UNITS": "64"}
    home.start()
    try:
        done = home.command("dataset", "import", str(make_ddsm(folder / "ddsm", COUNTS)), "--classes", "3")
        dataset_id = json.loads(done.stdout)["dataset_id"]
        post(home.services.training, "/v1/plans", PLAN | {"dataset": {"dataset_id": dataset_id}})
        stages = home.wait_for_plan("plan-1")
        extraction = PLAN["extraction"] | {"run_id": stages["training"]["id"]}  # type: ignore[operator]
        services = home.services
        yield {
            "run": Kind(home, services.training, "run", {"dataset_id": dataset_id, "settings": LONG_RUN}),
            "extraction": Kind(home, services.activation_extraction, "extraction", extraction),
            "rendering": Kind(
                home,
                services.patch_rendering,
                "rendering",
                {"extraction_id": stages["extraction"]["id"], "size": 384},
            ),
        }
    finally:
        assert home.stop() == 0


def results(kind: Kind, view: dict[str, Any]) -> list[Any]:
    """Return the results of a completed task: the hashes of its objects, and the metrics of a run."""
    blobs = FolderBlobs(kind.home.home / "objects")
    if kind.noun == "run":
        checkpoint = open_checkpoint(blobs, ObjectRef.model_validate(view["checkpoint"]))
        epochs = [{name: value for name, value in epoch.items() if name != "seconds"} for epoch in view["epochs"]]
        return [checkpoint.weights.sha256, checkpoint.step, epochs]
    content = read_verified(blobs, ObjectRef.model_validate(view["manifest"]))
    if kind.noun == "extraction":
        layers = ExtractionManifest.model_validate_json(content).layers
        return [(one.top.sha256, one.maxima[0].sha256, one.statistics.sha256, one.ranking.sha256) for one in layers]
    rendered = RenderingManifest.model_validate_json(content).layers
    return [(group.pack.sha256, group.pictures.sha256) for layer in rendered for group in layer.groups]


@pytest.mark.parametrize("noun", ["run", "extraction", "rendering"])
def test_pause_resume_and_cancel_take_effect(kinds: dict[str, Kind], noun: str) -> None:
    """Pause, resume and cancel each take effect within five seconds: the job stops, works again, and stops for good. A
    paused task gives the same bytes as an undisturbed one, and its duration excludes the pause."""
    kind = kinds[noun]
    key = kind.start()
    kind.wait_until_at_work(key)
    assert kind.act("pause", key) == "paused"
    took = {"pause": takes_effect(lambda: not kind.works())}
    at = kind.get(key)
    assert (at["state"], kind.works()) == ("paused", False)
    assert kind.get(key)["progress"] == at["progress"]
    assert kind.act("resume", key) == "queued"
    took["resume"] = takes_effect(kind.works)
    view = kind.wait_until_completed(key)
    assert results(kind, view) == results(kind, kind.wait_until_completed(kind.undisturbed.key))
    cancelled = kind.start()
    kind.wait_until_at_work(cancelled)
    assert kind.act("cancel", cancelled) == "cancelled"
    took["cancel"] = takes_effect(lambda: not kind.works())
    assert kind.get(cancelled)["state"] == "cancelled"
    print(noun, {verb: round(seconds, 2) for verb, seconds in took.items()})


@pytest.mark.parametrize("noun", ["run", "extraction", "rendering"])
def test_a_task_resumed_at_once_continues_once(kinds: dict[str, Kind], noun: str) -> None:
    """A task that is paused and resumed many times, while its job stops or before the job has noticed, completes
    once."""
    kind = kinds[noun]
    key = kind.start()
    kind.wait_until_at_work(key)
    for wait_s in (0.0, 0.3, 1.1):
        kind.act("pause", key)
        threading.Event().wait(wait_s)
        kind.act("resume", key)
        threading.Event().wait(wait_s)
    view = kind.wait_until_completed(key)
    if noun == "run":
        assert [epoch["epoch"] for epoch in view["epochs"]] == list(range(1, LONG_RUN["epochs"] + 1))  # type: ignore
    else:
        done, parts = ("shards_done", "shards") if noun == "extraction" else ("groups_done", "groups")
        assert view[done] == view[parts]


def test_a_restart_while_paused_stays_paused(kinds: dict[str, Kind]) -> None:
    """A paused task stays paused when the services are killed and started again, and completes when it is resumed."""
    kind = kinds["extraction"]
    key = kind.start()
    kind.wait_until_at_work(key)
    kind.act("pause", key)
    kind.home.kill()
    kind.home.start()
    kind.home.wait_for(lambda: not kind.works())  # the children have imported what they need
    assert kind.get(key)["state"] == "paused"
    kind.act("resume", key)
    kind.wait_until_completed(key)


@pytest.mark.parametrize("noun", ["run", "extraction", "rendering"])
def test_streams_report_progress_to_the_end(kinds: dict[str, Kind], noun: str) -> None:
    """Server-sent events and gRPC both deliver growing progress, and end with the completed view that GET returns."""
    kind = kinds[noun]
    key, events, over_grpc = kind.undisturbed.key, kind.undisturbed.events, kind.undisturbed.over_grpc
    for done in (
        [event["progress"]["done"] for event in events if event["progress"]["phase"] != "merging"],
        [view.progress.done for view in over_grpc if view.progress.phase != "merging"],
    ):
        assert len(set(done)) > 2 and done == sorted(done), done
    assert events[-1] == kind.get(key)
    assert [events[-1]["state"], over_grpc[-1].state] == ["completed", "completed"]
    assert {event["state"] for event in events[:-1]} <= {"queued", "running"}


def test_many_idle_streams_leave_the_service_responsive(kinds: dict[str, Kind]) -> None:
    """With 150 streams of a paused run every call is answered within a second. All streams end when the run is
    cancelled."""
    kind = kinds["run"]
    key = kind.start()
    kind.act("pause", key)
    with httpx.Client(limits=httpx.Limits(max_connections=None), timeout=LIMIT_S) as client:
        options = client.build_request("GET", f"{kind.base}/v1/runs/{key}/events")
        streams = [client.send(options, stream=True) for _ in range(150)]
        lines = [stream.iter_lines() for stream in streams]
        for line in lines:
            assert '"state":"paused"' in next(line)
        longest = 0.0
        for _ in range(30):
            began = time.monotonic()
            assert kind.get(key)["state"] == "paused"
            longest = max(longest, time.monotonic() - began)
        assert longest < 1.0, longest
        kind.act("cancel", key)
        for line in lines:
            assert any('"state":"cancelled"' in event for event in line)
    print(f"longest of 30 calls during 150 streams: {longest:.3f} s")


def watch(kind: Kind, key: str) -> list[Any]:
    """Return all messages of a gRPC stream until it ends."""
    prefix = {"run": "TRAINING", "extraction": "EXTRACTION", "rendering": "RENDERING"}[kind.noun]
    with grpc.insecure_channel(f"127.0.0.1:{kind.home.grpc[prefix]}") as channel:
        if kind.noun == "run":
            calls = training_pb2_grpc.TrainingServiceStub(channel)
            return [answer.run for answer in calls.WatchRun(training_pb2.WatchRunRequest(run_id=key))]
        if kind.noun == "extraction":
            calls = activation_extraction_pb2_grpc.ActivationExtractionServiceStub(channel)
            options = extraction_pb.WatchExtractionRequest(extraction_id=key)
            return [answer.extraction for answer in calls.WatchExtraction(options)]
        calls = patch_rendering_pb2_grpc.PatchRenderingServiceStub(channel)
        return [
            answer.rendering for answer in calls.WatchRendering(rendering_pb.WatchRenderingRequest(rendering_id=key))
        ]


def test_a_plan_is_watched_and_acted_on_as_one(kinds: dict[str, Kind]) -> None:
    """Each service answers for its stage. A plan that is cancelled while it trains never extracts."""
    services, dataset_id = kinds["run"].home.services, kinds["run"].options["dataset_id"]
    options = {"plan_id": "plan-2", "dataset": {"dataset_id": dataset_id}, "network": {"train": LONG_RUN}}
    post(services.training, "/v1/plans", options)
    run_id = get(services.training, "/v1/plans/plan-2")["stages"][0]["id"]
    kinds["run"].wait_until_at_work(run_id)
    views: list[dict[str, Any]] = []
    plan = Kind(kinds["run"].home, services.training, "plan", {})
    watching = threading.Thread(target=lambda: views.extend(plan.events("plan-2")))
    watching.start()
    assert post(services.training, "/v1/plans/plan-2/pause", {})["stages"][0]["state"] == "paused"
    assert httpx.post(f"{services.training}/v1/plans/plan-2/pause").status_code == 409
    assert post(services.training, "/v1/plans/plan-2/resume", {})["stages"][0]["state"] == "queued"
    assert httpx.post(f"{services.activation_extraction}/v1/plans/plan-2/cancel").status_code == 404
    assert httpx.get(f"{services.activation_extraction}/v1/plans/plan-2/events").status_code == 404
    assert post(services.training, "/v1/plans/plan-2/cancel", {})["stages"][0]["state"] == "cancelled"
    watching.join(LIMIT_S)
    assert views[-1]["stages"][0]["state"] == "cancelled"
    takes_effect(lambda: not kinds["run"].works())
    assert httpx.get(f"{services.activation_extraction}/v1/plans/plan-2").status_code == 404
    with grpc.insecure_channel(f"127.0.0.1:{kinds['run'].home.grpc['TRAINING']}") as channel:
        stub = training_pb2_grpc.TrainingServiceStub(channel)
        [answer] = stub.WatchPlan(training_pb2.WatchPlanRequest(plan_id="plan-2"))
        assert answer.stages[0].state == "cancelled"
        with pytest.raises(grpc.RpcError) as failure:
            stub.ResumePlan(training_pb2.ResumePlanRequest(plan_id="plan-2"))
        assert failure.value.code() is grpc.StatusCode.ABORTED
