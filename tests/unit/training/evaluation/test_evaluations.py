"""Evaluations and comparisons: the job on real networks, and the workflow."""

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
from services.training.evaluation.comparisons import Comparisons
from services.training.evaluation.job import evaluate
from services.training.evaluation.predictions import predict, read_predictions
from services.training.evaluation.rpc import EvaluationMethods
from services.training.evaluation.schemas import CompareRequest, StartEvaluationRequest
from services.training.evaluation.workflow import Evaluations
from services.training.references import collect_references
from services.training.schemas import KeptCheckpoint
from services.training.settings import TrainingSettings
from services.training.tables import Base, RunRow
from services.training.workflow.datasets import Datasets
from tests.fakes.data import SilentJob, store_checkpoint, store_dataset
from tests.fakes.ports import FakeRunner, World
from tests.fakes.serving import DirectCall

SIZE = 64
SETTINGS = {"replicates": 50, "batch_size": 4}
FIGURES = ("roc", "precision-recall", "reliability", "confusion")


class Training(World):
    """A data set and two completed runs with random weights. Jobs run in this process."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, Base.metadata)
        self.runner = FakeRunner()
        self.runner.answers["evaluate"] = lambda spec: evaluate(SilentJob(), spec)  # type: ignore[arg-type]
        self.evaluations = Evaluations(self.ports, self.runner, TrainingSettings())  # type: ignore[arg-type]
        self.comparisons = Comparisons(self.ports, self.evaluations)
        self.data, self.ref = store_dataset(self.blobs, folder / "ddsm", {"train": 6, "val": 15, "test": 9})
        datasets = Datasets(self.ports, self.runner)  # type: ignore[arg-type]
        self.dataset_id = datasets.register(self.data.manifest, self.ref).dataset_id
        for number in (1, 2):
            ref, _ = store_checkpoint(self.blobs, self.data.manifest, "test_resnet", SIZE, seed=number)
            self.add_run(f"run-{number}", "completed", self.blobs.put("training", f"c{number}", self.bytes_of(ref)))

    def add_run(self, run_id: str, state: str, checkpoint: ObjectRef | None) -> None:
        """Record a run, with its checkpoint retained after epoch 2."""
        with self.ports.records.transaction() as session:
            values: dict[str, Any] = {"run_id": run_id, "dataset_id": self.dataset_id, "settings": {}, "state": state}
            retained = [KeptCheckpoint(epoch=2, checkpoint=checkpoint)] if checkpoint else []
            session.add(RunRow(**values, checkpoint=checkpoint, checkpoints=retained))

    def bytes_of(self, ref: ObjectRef) -> bytes:
        """The bytes of a checkpoint's manifest, with the weights copied to a key of their own."""
        manifest = open_checkpoint(self.blobs, ref)
        content = self.blobs.get(manifest.weights.bucket, manifest.weights.key)
        weights = self.blobs.put("training", f"w-{manifest.weights.sha256[:8]}", content)
        return manifest.model_copy(update={"weights": weights}).model_dump_json().encode()

    def start(self, run_id: str = "run-1", **changes: Any) -> str:
        """Enqueue an evaluation and return its id."""
        options = {"run_id": run_id, "settings": SETTINGS} | changes
        return self.evaluations.start(StartEvaluationRequest.model_validate(options)).evaluation_id

    def evaluate(self, run_id: str = "run-1", **changes: Any) -> str:
        """Perform an evaluation and return its id."""
        evaluation_id = self.start(run_id, **changes)
        self.evaluations.evaluate(self.command())
        assert self.evaluations.get(evaluation_id).state == "completed"
        return evaluation_id

    def command(self) -> events_pb2.EvaluateCheckpoint:
        """The only message that was sent."""
        [command] = self.sent()
        assert isinstance(command, events_pb2.EvaluateCheckpoint)
        return command

    def referenced(self) -> set[str]:
        """The keys to which the records refer."""
        found = References(self.blobs)
        collect_references(self.ports.records, found)
        assert found.faults == []
        return {one.key for one in found.objects}


@pytest.fixture
def training(tmp_path: Path) -> Training:
    return Training(tmp_path)


def test_an_evaluation_stores_what_its_manifest_names(training: Training) -> None:
    """The records refer to predictions, report and figures, so the collector keeps them. A second evaluation has the
    same bytes."""
    before = set(training.blobs.list("training"))
    evaluation_id = training.evaluate()
    manifest = training.evaluations.manifest(evaluation_id)
    assert (manifest.network.run_id, manifest.split, manifest.dataset_id) == ("run-1", "val", training.dataset_id)
    assert set(manifest.figures) == set(FIGURES)
    new = set(training.blobs.list("training")) - before
    assert len(new) == len(FIGURES) + 3 and new <= training.referenced()
    found = read_predictions(training.blobs, manifest.predictions)
    assert found.labels.tolist() == training.data.labels[found.ids].tolist()
    again = training.evaluations.manifest(training.evaluate(checkpoint="2"))
    assert again.predictions.sha256 == manifest.predictions.sha256


def test_predictions_equal_those_of_a_plain_forward_pass(training: Training) -> None:
    """There is a row for each patch of the split, in the order of ids. The probabilities are the softmax of a forward
    pass of single patches."""
    row = training.evaluations.get(training.start())
    trained = open_checkpoint(training.blobs, row.checkpoint)
    network = load_network(training.blobs, trained)
    found = predict(network, training.data, "val", trained.preprocessing, 4)
    [shard] = training.data.shards("val")
    assert found.ids.tolist() == list(range(shard.first, shard.last + 1))
    assert found.patients == ["val"] * 15
    for patch_id, predicted in zip(found.ids.tolist(), found.probabilities, strict=True):
        pixels = torch.tensor(trained.preprocessing.pixels(training.data.read(patch_id), "patch"))[None]
        with torch.inference_mode():
            expected = network(trained.preprocessing.normalise(pixels)).double().softmax(1)[0].numpy()
        np.testing.assert_allclose(predicted, expected, atol=1e-5)


def test_a_network_that_predicts_nan_is_refused(training: Training) -> None:
    """InvalidInput names the patch and the data set."""
    row = training.evaluations.get(training.start())
    trained = open_checkpoint(training.blobs, row.checkpoint)
    network = load_network(training.blobs, trained)
    with torch.no_grad():
        network.fc.bias[0] = float("nan")  # type: ignore[index, union-attr]
    with pytest.raises(InvalidInput, match="the prediction for patch 6 of test is not finite"):
        predict(network, training.data, "val", trained.preprocessing, 4)


def test_an_impossible_evaluation_is_refused_at_once(training: Training) -> None:
    """Nothing is recorded or sent for an unknown run, data set or split, a run without a checkpoint, a failed run, or a
    data set of other classes."""
    training.add_run("run-3", "queued", None)
    training.add_run("run-4", "failed", training.ref)
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


def test_a_second_delivery_changes_nothing(training: Training) -> None:
    """A completed evaluation is not changed by a second delivery or a restart."""
    training.start()
    command = training.command()
    training.evaluations.evaluate(command)
    training.evaluations.evaluate(command)
    training.evaluations.recover()
    assert (len(training.runner.calls), training.sent()) == (1, [])


def test_a_paused_evaluation_starts_again_and_a_cancelled_one_never(training: Training) -> None:
    """A paused evaluation is performed when it is resumed. A restart enqueues neither of the two."""
    paused, cancelled = training.start(), training.start()
    commands = {command.evaluation_id: command for command in training.sent()}
    training.evaluations.act("cancel", cancelled)

    def pause_meanwhile(_: Any) -> Any:
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


def test_a_checkpoint_is_referenced_until_its_evaluation_ends(training: Training) -> None:
    """A run may save a newer checkpoint meanwhile. The collector keeps the one that is being evaluated."""
    training.start()
    with training.ports.records.transaction() as session:
        run = session.get_one(RunRow, "run-1")
        old, run.checkpoint, run.checkpoints = run.checkpoint, None, []
    assert old is not None and old.key in training.referenced()
    training.evaluations.evaluate(training.command())
    assert old.key not in training.referenced()


def test_failure_is_recorded(training: Training) -> None:
    """If the command is parked, the evaluation fails with the reason."""
    evaluation_id = training.start()
    training.evaluations.command_parked(training.command(), "abandoned")
    view = training.evaluations.get(evaluation_id)
    assert (view.state, view.error) == ("failed", "abandoned")


def test_two_evaluations_of_a_split_are_compared_once(training: Training) -> None:
    """The differences equal those of the two reports. The same request returns the same comparison. With a and b
    exchanged, it returns another one with opposite signs."""
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


def test_an_impossible_comparison_is_refused(training: Training) -> None:
    """An evaluation cannot be compared with another split, an unfinished evaluation, itself, or an unknown one."""
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
    """Each method returns the same as HTTP. A missing figure is unset, not zero."""
    methods: Any = EvaluationMethods(training.evaluations, training.comparisons, None)  # type: ignore[arg-type]
    options = pb.StartEvaluationRequest(run_id="run-1", settings=pb.EvaluationSettings(replicates=20))
    evaluation_id = methods.StartEvaluation(options, DirectCall()).evaluation.evaluation_id
    for verb, state in (("Pause", "paused"), ("Resume", "queued")):
        request = getattr(pb, f"{verb}EvaluationRequest")(evaluation_id=evaluation_id)
        assert getattr(methods, f"{verb}Evaluation")(request, None).evaluation.state == state
    training.evaluations.evaluate(training.sent()[-1])
    [listed] = methods.ListEvaluations(pb.ListEvaluationsRequest(), None).evaluations
    got = methods.GetEvaluation(pb.GetEvaluationRequest(evaluation_id=evaluation_id), None).evaluation
    assert listed == got and got.settings.replicates == 20
    request = pb.GetEvaluationReportRequest(evaluation_id=evaluation_id)
    report, expected = methods.GetEvaluationReport(request, None).report, training.evaluations.report(evaluation_id)
    assert report.macro_auc.value == expected.macro_auc.value
    assert not report.macro_auc.HasField("low") and "one patient" in report.macro_auc.reason
    assert list(report.classes[2].roc.x) == expected.classes[2].roc.x
    figure = pb.GetEvaluationFigureRequest(evaluation_id=evaluation_id, figure="roc")
    assert methods.GetEvaluationFigure(figure, None).svg.startswith(b"<svg")
    with pytest.raises(NotFound, match="no figure 'rock'; it has roc, precision-recall"):
        training.evaluations.figure(evaluation_id, "rock")
    other = training.evaluate("run-2")
    compare = pb.CompareEvaluationsRequest(evaluation_a=evaluation_id, evaluation_b=other)
    comparison = methods.CompareEvaluations(compare, DirectCall()).comparison
    options = pb.GetComparisonRequest(comparison_id=comparison.comparison_id)
    assert methods.GetComparison(options, None).comparison == comparison
    assert list(methods.ListComparisons(pb.ListComparisonsRequest(), None).comparisons) == [comparison]
