"""Imports of checkpoints that were trained elsewhere: each becomes a completed run, which a repeated import finds."""

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from services import __version__
from services.common.blobs import ObjectRef
from services.common.errors import NotFound, Overtaken
from services.common.identity import derived_id
from services.common.work.starts import sha256_of_request
from services.imaging.architectures import build_skeleton, native_preprocessing, transforms_input, without_auxiliary
from services.imaging.checkpoint import CheckpointManifest, load_weights, pack
from services.imaging.dataset import Dataset
from services.imaging.licence import Term
from services.imaging.manifests import put_content
from services.imaging.outputs import Outputs
from services.training.names import BUCKET
from services.training.original import OriginalCheckpoint, OriginalNetwork, read_checkpoint, resume_state
from services.training.schemas import DatasetView, RunSettings, RunView
from services.training.tables import RunRow
from services.training.weights_file import WeightsFile
from services.training.workflow.datasets import Datasets
from services.training.workflow.runs import Runs


@dataclass
class Imports:
    """The use cases of imported checkpoints."""

    datasets: Datasets
    runs: Runs

    def import_checkpoint(self, path: Path, dataset_id: str, file: WeightsFile) -> RunView:
        """Import weights as a completed run on a registered data set, whose classes they predict.

        InvalidInput if they do not fit the architecture; it names the keys that do not.
        """
        dataset = self.datasets.get(dataset_id)
        weights, outputs = file.read(path, len(dataset.classes))
        return self._import(dataset, file.settings(), weights, path, file=file, outputs=outputs)

    def import_original(self, path: Path, network: OriginalNetwork, dataset_id: str) -> RunView:
        """Import a checkpoint file of the original as a completed run, from which another run can resume.

        InvalidInput as `import_checkpoint`, and if `network` has another number of classes than the data set.
        """
        dataset = self.datasets.get(dataset_id)
        network.require_classes(dataset.classes, dataset_id)
        checkpoint = read_checkpoint(path)
        settings = network.settings(epochs=max(checkpoint.epoch, 1))
        return self._import(dataset, settings, checkpoint.weights, path, checkpoint)

    def _import(
        self,
        dataset: DatasetView,
        settings: RunSettings,
        weights: dict[str, Tensor],
        path: Path,
        original: OriginalCheckpoint | None = None,
        file: WeightsFile | None = None,
        outputs: Outputs = "softmax",
    ) -> RunView:
        """Store weights, and the optimizer state of a checkpoint of the original, as a completed run. A file is one
        run for each data set and settings, however often it is imported."""
        weights = without_auxiliary(settings.architecture, weights)
        network = build_skeleton(settings.architecture, len(dataset.classes), settings.semantics, settings.channels)
        load_weights(network, weights, str(path), check_only=True)
        kind = "weights" if original is None else "original"
        described = [] if file is None else file.identity()
        request = sha256_of_request(kind, dataset.dataset_id, settings, _sha256_of(path), *described)
        run_id = derived_id("run", request)
        with suppress(NotFound):
            return self.runs.get(run_id)
        resume: ObjectRef | None = None
        plain: dict[str, Any] = {}
        if original is not None:
            tensors, plain = resume_state(original, network, settings)
            resume = self._put(run_id, "resume.safetensors", pack(tensors))
        manifest = CheckpointManifest(
            checkpoint_id=derived_id("checkpoint", run_id),
            run_id=run_id,
            architecture=settings.architecture,
            semantics=settings.semantics,
            transform_input=transforms_input(settings.architecture, settings.weights),
            classes=tuple(dataset.classes),
            preprocessing=native_preprocessing(settings.architecture, settings.image_size, settings.channels),
            dataset_id=dataset.dataset_id,
            epoch=original.epoch if original is not None else 0,
            step=0,
            settings=settings.model_dump(),
            code_version=__version__,
            weights=self._put(run_id, "weights.safetensors", pack(weights)),
            resume=resume,
            resume_state=plain,
            outputs=outputs,
            terms=self._terms(dataset, file),
        )
        ref = self._put(run_id, "checkpoint.json", manifest.model_dump_json(indent=1).encode())
        self._record(run_id, dataset.dataset_id, settings, ref)
        return self.runs.get(run_id)

    def _terms(self, dataset: DatasetView, file: WeightsFile | None) -> tuple[Term, ...]:
        """The terms of the data set, whose classes the weights have, and those that the caller states."""
        own = Dataset.open(self.runs.ports.blobs, dataset.manifest).manifest.terms
        return tuple(sorted({*own, *(file.terms if file is not None else ())}))

    def _put(self, run_id: str, name: str, content: bytes) -> ObjectRef:
        return put_content(self.runs.ports.blobs, BUCKET, f"checkpoints/{run_id}/{name}", content)

    def _record(self, run_id: str, dataset_id: str, settings: RunSettings, checkpoint: ObjectRef) -> None:
        run = RunRow(
            run_id=run_id,
            dataset_id=dataset_id,
            settings=settings.model_dump(),
            state="queued",
            checkpoint=checkpoint,
            last_checkpoint=checkpoint,
        )
        run.end("completed")
        with suppress(Overtaken), self.runs.ports.records.transaction() as session:
            session.add(run)
            session.flush()
            self.runs.publish_completed(session, run)


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
