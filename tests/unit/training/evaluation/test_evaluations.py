"""Evaluations and comparisons: the job on real networks, and what the workflow decides."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from primitives.training.v1 import evaluation_pb2 as pb
from primitives.training.v1 import events_pb2

from services.common.blobs import ObjectRef
from services.common.errors import Conflict, InvalidInput, JobStopped, NotFound
from services.common.objects.references import References
from services.imaging.checkpoint import load_network, open_checkpoint
from services.training import job
from services.training.evaluation.predictions import predict, read_predictions
from services.training.evaluation.rpc import EvaluationMethods
from services.training.evaluation.schemas import CompareRequest, StartEvaluationRequest
from services.training.evaluation.workflow import Comparisons, Evaluations
from services.training.references import reach
from services.training.settings import TrainingSettings
from services.training.tables import Base, RunRow
from services.training.workflow.datasets import Datasets
from tests.fakes.data import SilentJob, store_checkpoint, store_dataset
from tests.fakes.ports import FakeRunner, World

SIZE = 64
SETTINGS = {"replicates": 50, "batch_size": 4}
FIGURES = ("roc", "precision-recall", "reliability", "confusion")


class Training(World):
    """A data set and two completed runs with random weights; jobs are done in this process."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, Base.metadata)
        self.runner = FakeRunner()
        self.runner.answers["evaluate"] = lambda arguments: job.evaluate(SilentJob(), **arguments)  # type: ignore[arg-type]
        self.evaluations = Evaluations(self.ports, self.runner, TrainingSettings())  # type: ignore[arg-type]
        self.comparisons = Comparisons(self.ports, self.evaluations)
        self.data, self.ref = store_dataset(self.blobs, folder / "ddsm", {"train": 6, "val": 15, "test": 9})
        datasets = Datasets(self.ports, self.runner)  # type: ignore[arg-type]
        self.dataset_id = datasets.register(self.data.manifest, self.ref).dataset_id
        for number in (1, 2):
            ref, _ = store_checkpoint(self.blobs, self.data.manifest, "test_resnet", SIZE, seed=number)
            self.add_run(f"run-{number}", "completed", self.blobs.put("training", f"c{number}", self.bytes_of(ref)))

    def add_run(self, run_id: str, state: str, checkpoint: ObjectRef | None) -> None:
        with self.ports.records.transaction() as session:
            values: dict[str, Any] = {"run_id": run_id, "dataset_id": self.dataset_id, "settings": {}, "state": state}
            kept = checkpoint.model_dump() if checkpoint else None
            checkpoints = [{"epoch": 2, "checkpoint": kept}] if kept else []
            session.add(RunRow(**values, checkpoint=kept, checkpoints=checkpoints))

    def bytes_of(self, ref: ObjectRef) -> bytes:
        """A checkpoint's manifest, its weights put under a key of their own."""
        manifest = open_checkpoint(self.blobs, ref)
        content = self.blobs.get(manifest.weights.bucket, manifest.weights.key)
        weights = self.blobs.put("training", f"w-{manifest.weights.sha256[:8]}", content)
        return manifest.model_copy(update={"weights": weights}).model_dump_json().encode()

    def start(self, run_id: str = "run-1", **changes: Any) -> str:
        """Queue an evaluation; its id."""
        options = {"run_id": run_id, "settings": SETTINGS} | changes
        return self.evaluations.start(StartEvaluationRequest.model_validate(options)).evaluation_id

    def evaluate(self, run_id: str = "run-1", **changes: Any) -> str:
        """Do one; its id."""
        evaluation_id = self.start(run_id, **changes)
        self.evaluations.evaluate(self.command())
        assert self.evaluations.get(evaluation_id).state == "completed"
        return evaluation_id

    def command(self) -> events_pb2.EvaluateCheckpoint:
        """The one message that was sent."""
        [command] = self.sent()
        assert isinstance(command, events_pb2.EvaluateCheckpoint)
        return command

    def named(self) -> set[str]:
        """The keys that the records reach."""
        found = References(self.blobs)
        reach(self.ports.records, found)
        assert found.faults == []
        return {one.key for one in found.named}


@pytest.fixture
def training(tmp_path: Path) -> Training:
    return Training(tmp_path)


def test_an_evaluation_stores_what_its_manifest_names(training: Training) -> None:
    """Predictions, report and figures, all of them named and reached by the collector; done again, the same bytes."""
    before = set(training.blobs.list("training"))
    evaluation_id = training.evaluate()
    manifest = training.evaluations.manifest(evaluation_id)
    assert (manifest.network.run_id, manifest.split, manifest.dataset_id) == ("run-1", "val", training.dataset_id)
    assert set(manifest.figures) == set(FIGURES)
    new = set(training.blobs.list("training")) - before
    assert len(new) == len(FIGURES) + 3 and new <= training.named()
    found = read_predictions(training.blobs, manifest.predictions)
    assert found.labels.tolist() == training.data.labels[found.ids].tolist()
    again = training.evaluations.manifest(training.evaluate(checkpoint="2"))
    assert again.predictions.sha256 == manifest.predictions.sha256


def test_predictions_are_the_networks(training: Training) -> None:
    """A row a patch of the split in the order of ids; the probabilities are the softmax of a plain forward, one patch
    at a time."""
    row = training.evaluations.get(training.start())
    trained = open_checkpoint(training.blobs, row.checkpoint)
    network = load_network(training.blobs, trained)
    found = predict(network, training.data, "val", trained.preprocessing, 4, torch.device("cpu"))
    [shard] = training.data.shards("val")
    assert found.ids.tolist() == list(range(shard.first, shard.last + 1))
    assert found.patients == ["val"] * 15
    for patch_id, told in zip(found.ids.tolist(), found.probabilities, strict=True):
        pixels = torch.tensor(trained.preprocessing.pixels(training.data.read(patch_id), "patch"))[None]
        with torch.inference_mode():
            expected = network(trained.preprocessing.normalise(pixels)).double().softmax(1)[0].numpy()
        np.testing.assert_allclose(told, expected, atol=1e-5)


def test_a_network_without_numbers_is_refused(training: Training) -> None:
    """InvalidInput names the patch and the data set."""
    row = training.evaluations.get(training.start())
    trained = open_checkpoint(training.blobs, row.checkpoint)
    network = load_network(training.blobs, trained)
    with torch.no_grad():
        network.fc.bias[0] = float("nan")  # type: ignore[index, union-attr]
    with pytest.raises(InvalidInput, match="no numbers for patch 6 of test"):
        predict(network, training.data, "val", trained.preprocessing, 4, torch.device("cpu"))


def test_what_cannot_be_evaluated_is_refused_at_once(training: Training) -> None:
    """An unknown run or data set, a run without a checkpoint or that failed, a split that is not there, and a data set
    of other classes: nothing is recorded or sent."""
    training.add_run("run-3", "queued", None)
    training.add_run("run-4", "failed", ObjectRef.model_validate(training.ref))
    with pytest.raises(NotFound, match="no run 'run-9'"):
        training.start("run-9")
    with pytest.raises(NotFound, match="no data set 'dataset-9'"):
        training.start(dataset_id="dataset-9")
    with pytest.raises(Conflict, match="run run-3 is queued and has no checkpoint"):
        training.start("run-3")
    with pytest.raises(Conflict, match="run run-4 is failed"):
        training.start("run-4")
    with pytest.raises(NotFound, match="run run-1 has no checkpoint 'best'; it has 2"):
        training.start(checkpoint="best")
    with pytest.raises(InvalidInput, match="has no split 'dev'; it has train, val, test"):
        training.start(split="dev")
    other = training.data.manifest.model_copy(update={"dataset_id": "dataset-2", "classes": ("not cancer", "cancer")})
    ref = training.blobs.put("training", "other", other.model_dump_json().encode())
    Datasets(training.ports, training.runner).register(other, ref)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="predicts normal, benign, cancer; data set test has not cancer, cancer"):
        training.start(dataset_id="dataset-2")
    assert training.sent() == [] and training.evaluations.all().evaluations == []


def test_a_message_again_changes_nothing(training: Training) -> None:
    """The record is the inbox: a second delivery and a restart do nothing to a completed evaluation."""
    training.start()
    command = training.command()
    training.evaluations.evaluate(command)
    training.evaluations.evaluate(command)
    training.evaluations.recover()
    assert (len(training.runner.calls), training.sent()) == (1, [])


def test_a_paused_evaluation_begins_anew_and_a_cancelled_one_never(training: Training) -> None:
    """What a pause leaves undone is done when it is resumed; a restart asks only for what may work."""
    paused, cancelled = training.start(), training.start()
    commands = {command.evaluation_id: command for command in training.sent()}
    training.evaluations.act("cancel", cancelled)

    def pause_meanwhile(_: dict[str, Any]) -> Any:
        training.evaluations.act("pause", paused)
        raise JobStopped("noticed")

    done = training.runner.answers["evaluate"]
    training.runner.answers["evaluate"] = pause_meanwhile
    for command in commands.values():
        training.evaluations.evaluate(command)
    training.evaluations.recover()
    assert training.sent() == []
    assert (training.evaluations.get(paused).state, training.evaluations.get(cancelled).state) == (
        "paused",
        "cancelled",
    )
    with pytest.raises(Conflict, match="is paused; only a completed one has results"):
        training.evaluations.report(paused)
    training.runner.answers["evaluate"] = done
    training.evaluations.act("resume", paused)
    training.evaluations.evaluate(training.command())
    assert training.evaluations.report(paused).patches == 15
    assert len(training.runner.calls) == 2


def test_a_checkpoint_is_reached_until_its_evaluation_ends(training: Training) -> None:
    """A run may save a newer one meanwhile; the collector leaves the one at work."""
    training.start()
    with training.ports.records.transaction() as session:
        run = session.get_one(RunRow, "run-1")
        old, run.checkpoint, run.checkpoints = run.checkpoint, None, []
    assert old is not None and old["key"] in training.named()
    training.evaluations.evaluate(training.command())
    assert old["key"] not in training.named()


def test_failure_is_recorded(training: Training) -> None:
    """A message that was given up fails its evaluation, with the reason."""
    evaluation_id = training.start()
    training.evaluations.evaluate_failed(training.command(), "given up")
    view = training.evaluations.get(evaluation_id)
    assert (view.state, view.error) == ("failed", "given up")


def test_two_evaluations_of_a_split_are_compared_once(training: Training) -> None:
    """Differences are those of the two reports; the same request finds the same comparison, the other way round it is
    another with the opposite sign."""
    a, b = training.evaluate("run-1"), training.evaluate("run-2")
    options = CompareRequest.model_validate({"evaluation_a": a, "evaluation_b": b, "settings": {"replicates": 50}})
    found = training.comparisons.compare(options)
    ours, theirs = training.evaluations.report(a), training.evaluations.report(b)
    for one, mine, other in zip(found.classes, ours.classes, theirs.classes, strict=True):
        assert (one.a, one.b) == (mine.auc.value, other.auc.value)
        assert mine.auc.value is not None and other.auc.value is not None
        assert one.difference.value == pytest.approx(mine.auc.value - other.auc.value)
        assert one.delong.p is not None and 0 <= one.delong.p <= 1
        assert one.clustered.p is None and "two patients" in one.clustered.reason, "all of val is one patient's"
    assert (found.macro.a, found.micro.b) == (ours.macro_auc.value, theirs.micro_auc.value)
    assert training.comparisons.compare(options) == found == training.comparisons.get(found.comparison_id)
    mirrored = training.comparisons.compare(options.model_copy(update={"evaluation_a": b, "evaluation_b": a}))
    assert mirrored.macro.difference.value == pytest.approx(-(found.macro.difference.value or 0))
    assert [one.comparison_id for one in training.comparisons.all().comparisons] == [
        mirrored.comparison_id, found.comparison_id,
    ]  # fmt: skip


def test_what_cannot_be_compared_is_refused(training: Training) -> None:
    """Another split, one that is not completed, itself, and what there is not."""
    a, other = training.evaluate(), training.evaluate(split="test")
    waiting = training.start("run-2")
    for b, kind, message in (
        (other, Conflict, "only two of the same split can be compared"),
        (waiting, Conflict, "is queued; only a completed one has results"),
        (a, InvalidInput, "compared with itself"),
        ("evaluation-9", NotFound, "no evaluation 'evaluation-9'"),
    ):
        with pytest.raises(kind, match=message):
            training.comparisons.compare(CompareRequest(evaluation_a=a, evaluation_b=b))
    with pytest.raises(NotFound, match="no comparison 'comparison-9'"):
        training.comparisons.get("comparison-9")


def test_grpc_has_the_same_verbs(training: Training) -> None:
    """Each answers what HTTP does; a figure that is absent is absent, not zero."""
    methods: Any = EvaluationMethods(training.evaluations, training.comparisons, None)  # type: ignore[arg-type]
    options = pb.StartEvaluationRequest(run_id="run-1", settings=pb.EvaluationSettings(replicates=20))
    evaluation_id = methods.StartEvaluation(options, None).evaluation.evaluation_id
    for verb, state in (("Pause", "paused"), ("Resume", "queued")):
        request = getattr(pb, f"{verb}EvaluationRequest")(evaluation_id=evaluation_id)
        assert getattr(methods, f"{verb}Evaluation")(request, None).evaluation.state == state
    training.evaluations.evaluate(training.sent()[-1])
    [listed] = methods.ListEvaluations(pb.ListEvaluationsRequest(), None).evaluations
    got = methods.GetEvaluation(pb.GetEvaluationRequest(evaluation_id=evaluation_id), None).evaluation
    assert listed == got and got.settings.replicates == 20
    request = pb.GetEvaluationReportRequest(evaluation_id=evaluation_id)
    told, expected = methods.GetEvaluationReport(request, None).report, training.evaluations.report(evaluation_id)
    assert told.macro_auc.value == expected.macro_auc.value
    assert not told.macro_auc.HasField("low") and "one patient" in told.macro_auc.reason
    assert list(told.classes[2].roc.x) == expected.classes[2].roc.x
    figure = pb.GetEvaluationFigureRequest(evaluation_id=evaluation_id, figure="roc")
    assert methods.GetEvaluationFigure(figure, None).svg.startswith(b"<svg")
    with pytest.raises(NotFound, match="no figure 'rock'; it has roc, precision-recall"):
        training.evaluations.figure(evaluation_id, "rock")
    other = training.evaluate("run-2")
    compare = pb.CompareEvaluationsRequest(evaluation_a=evaluation_id, evaluation_b=other)
    comparison = methods.CompareEvaluations(compare, None).comparison
    options = pb.GetComparisonRequest(comparison_id=comparison.comparison_id)
    assert methods.GetComparison(options, None).comparison == comparison
    assert list(methods.ListComparisons(pb.ListComparisonsRequest(), None).comparisons) == [comparison]
