"""An evaluation as stored: predictions, report and figures, and a manifest that names them, written last."""

from collections.abc import Callable

import torch
from pydantic import BaseModel, ConfigDict

from services import __version__
from services.common.blobs import Blobs, ObjectRef
from services.common.blobs.port import read_verified
from services.common.errors import InvalidInput
from services.imaging.checkpoint import CheckpointManifest, load_network, open_checkpoint
from services.imaging.dataset import Dataset
from services.imaging.manifests import NetworkRef, put_content
from services.training.evaluation.figures import draw_figures
from services.training.evaluation.measures import measure
from services.training.evaluation.predictions import Predictions, predict
from services.training.evaluation.schemas import EvaluationSettings, Report


class EvaluationManifest(BaseModel):
    """An evaluation; its presence makes it visible. `network` and `dataset` say what was evaluated on what; the
    checkpoint may have been collected since."""

    model_config = ConfigDict(frozen=True)

    format: int = 1
    evaluation_id: str
    network: NetworkRef
    dataset: ObjectRef
    dataset_id: str
    split: str
    settings: EvaluationSettings
    code_version: str
    predictions: ObjectRef
    report: ObjectRef
    figures: dict[str, ObjectRef]


def evaluate_checkpoint(
    blobs: Blobs,
    bucket: str,
    evaluation_id: str,
    dataset: ObjectRef,
    checkpoint: ObjectRef,
    split: str,
    settings: EvaluationSettings,
    device: torch.device,
    on_patches: Callable[[int, int], None],
) -> ObjectRef:
    """Evaluate and store; a reference to the manifest. `on_patches` is told how many are done, of how many."""
    data, trained = Dataset.open(blobs, dataset), open_checkpoint(blobs, checkpoint)
    require_same_classes(trained, data)
    total = sum(shard.last - shard.first + 1 for shard in data.shards(split))
    predictions = predict(
        load_network(blobs, trained).to(device),
        data,
        split,
        trained.preprocessing,
        settings.batch_size,
        device,
        lambda done: on_patches(done, total),
    )
    report = measure(
        predictions,
        data.manifest.classes,
        settings,
        evaluation_id=evaluation_id,
        run_id=trained.run_id,
        checkpoint_id=trained.checkpoint_id,
        dataset_id=data.manifest.dataset_id,
        split=split,
    )
    return _store(blobs, bucket, predictions, report, trained, dataset, checkpoint)


def require_same_classes(trained: CheckpointManifest, data: Dataset) -> None:
    """InvalidInput unless a checkpoint predicts the classes of a data set, in its order."""
    if trained.classes != data.manifest.classes:
        raise InvalidInput(
            f"checkpoint {trained.checkpoint_id} predicts {', '.join(trained.classes)}; data set {data.manifest.name} "
            f"has {', '.join(data.manifest.classes)}"
        )


def open_evaluation(blobs: Blobs, manifest: ObjectRef) -> EvaluationManifest:
    """The manifest of an evaluation, verified."""
    return EvaluationManifest.model_validate_json(read_verified(blobs, manifest))


def _store(
    blobs: Blobs,
    bucket: str,
    predictions: Predictions,
    report: Report,
    trained: CheckpointManifest,
    dataset: ObjectRef,
    checkpoint: ObjectRef,
) -> ObjectRef:
    folder = f"evaluations/{report.evaluation_id}"
    figures = {
        name: put_content(blobs, bucket, f"{folder}/{name}.svg", svg.encode())
        for name, svg in draw_figures(report).items()
    }
    manifest = EvaluationManifest(
        evaluation_id=report.evaluation_id,
        network=NetworkRef(
            architecture=trained.architecture,
            classes=trained.classes,
            run_id=trained.run_id,
            checkpoint_id=trained.checkpoint_id,
            checkpoint=checkpoint,
        ),
        dataset=dataset,
        dataset_id=report.dataset_id,
        split=report.split,
        settings=report.settings,
        code_version=__version__,
        predictions=put_content(blobs, bucket, f"{folder}/predictions.parquet", predictions.to_parquet()),
        report=put_content(blobs, bucket, f"{folder}/report.json", report.model_dump_json(indent=1).encode()),
        figures=figures,
    )
    return put_content(blobs, bucket, f"{folder}/manifest.json", manifest.model_dump_json(indent=1).encode())
