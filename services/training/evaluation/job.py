"""The job of evaluations: evaluates a checkpoint and stores predictions, report and figures. The manifest, which names
them, is written last."""

from services import __version__
from services.common.blobs import Blobs, ObjectRef, open_blobs
from services.common.work.jobs import Job
from services.imaging.checkpoint import CheckpointManifest, load_network, open_checkpoint
from services.imaging.dataset import Dataset
from services.imaging.devices import choose_device
from services.imaging.manifests import NetworkRef, put_content
from services.training.evaluation.comparison import compare
from services.training.evaluation.figures import draw_figures
from services.training.evaluation.manifest import EvaluationManifest
from services.training.evaluation.measures import Subject, measure
from services.training.evaluation.predictions import Predictions, predict, require_same_classes
from services.training.evaluation.probe import TRAIN, probe
from services.training.evaluation.schemas import BaselineReport, Report
from services.training.evaluation.specs import EVALUATE, EvaluationSpec
from services.training.names import BUCKET


@EVALUATE.implements
def evaluate(job: Job, spec: EvaluationSpec) -> ObjectRef:
    """Evaluate a checkpoint on a split. Return the reference of the evaluation's manifest."""
    blobs = open_blobs(spec.blobs_url)
    data, checkpoint = Dataset.open(blobs, spec.dataset), open_checkpoint(blobs, spec.checkpoint)
    require_same_classes(checkpoint, data)
    total = sum(shard.last - shard.first + 1 for shard in data.shards(spec.split))

    def on_patches(done: int) -> None:
        job.report(done, total, phase="predicting", unit="patches")
        job.stop_if_requested()

    network = load_network(blobs, checkpoint).to(choose_device(spec.device))
    predictions = predict(
        network,
        data,
        spec.split,
        checkpoint.preprocessing,
        spec.settings.batch_size,
        on_patches,
        checkpoint.outputs,
    )
    subject = Subject(
        evaluation_id=spec.evaluation_id,
        run_id=checkpoint.run_id,
        checkpoint_id=checkpoint.checkpoint_id,
        dataset_id=data.manifest.dataset_id,
        split=spec.split,
    )
    report = measure(predictions, data.manifest.classes, spec.settings, subject)
    if spec.settings.baseline:
        report = report.model_copy(update={"baseline": _baseline(job, spec, data, checkpoint, predictions, subject)})
    return _store(blobs, spec, checkpoint, predictions, report)


def _baseline(
    job: Job,
    spec: EvaluationSpec,
    data: Dataset,
    checkpoint: CheckpointManifest,
    predictions: Predictions,
    subject: Subject,
) -> BaselineReport:
    """Evaluate the linear probe on the same patches, and compare."""
    total = sum(data.manifest.splits[split] for split in {TRAIN, spec.split} if split in data.manifest.splits)

    def on_patches(done: int) -> None:
        job.report(done, total, phase="fitting the probe", unit="patches")
        job.stop_if_requested()

    device = choose_device(spec.device)
    found = probe(checkpoint, data, spec.split, spec.settings.batch_size, device, on_patches)
    alone = measure(found, data.manifest.classes, spec.settings, subject)
    classes, macro, micro = compare(predictions, found, data.manifest.classes, spec.settings)
    return BaselineReport(
        name=spec.settings.baseline,
        macro_auc=alone.macro_auc,
        micro_auc=alone.micro_auc,
        classes=classes,
        macro=macro,
        micro=micro,
    )


def _store(
    blobs: Blobs, spec: EvaluationSpec, checkpoint: CheckpointManifest, predictions: Predictions, report: Report
) -> ObjectRef:
    folder = f"evaluations/{report.evaluation_id}"
    figures = {
        name: put_content(blobs, BUCKET, f"{folder}/{name}.svg", svg.encode())
        for name, svg in draw_figures(report).items()
    }
    manifest = EvaluationManifest(
        evaluation_id=report.evaluation_id,
        network=NetworkRef(
            architecture=checkpoint.architecture,
            classes=checkpoint.classes,
            run_id=checkpoint.run_id,
            checkpoint_id=checkpoint.checkpoint_id,
            checkpoint=spec.checkpoint,
        ),
        dataset=spec.dataset,
        dataset_id=report.dataset_id,
        split=report.split,
        settings=report.settings,
        code_version=__version__,
        predictions=put_content(blobs, BUCKET, f"{folder}/predictions.parquet", predictions.to_parquet()),
        report=put_content(blobs, BUCKET, f"{folder}/report.json", report.model_dump_json(indent=1).encode()),
        figures=figures,
    )
    return put_content(blobs, BUCKET, f"{folder}/manifest.json", manifest.model_dump_json(indent=1).encode())
