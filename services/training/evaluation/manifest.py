"""The manifest of an evaluation, which names all that the evaluation has stored."""

from pydantic import BaseModel, ConfigDict

from services.common.blobs import Blobs, ObjectRef
from services.common.blobs.port import read_verified
from services.imaging.manifests import NetworkRef
from services.training.evaluation.schemas import EvaluationSettings


class EvaluationManifest(BaseModel):
    """What an evaluation evaluated, and what it stored. An evaluation becomes visible when its manifest exists.

    `network` names the checkpoint, which the collector may have removed since.
    """

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


def open_evaluation(blobs: Blobs, manifest: ObjectRef) -> EvaluationManifest:
    """Read and verify the manifest of an evaluation."""
    return EvaluationManifest.model_validate_json(read_verified(blobs, manifest))
