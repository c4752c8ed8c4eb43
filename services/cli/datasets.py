"""Commands that open the stores of the training service directly, because they read files on this machine."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from services.cli.progress import progress_bar
from services.cli.raw_import import DicomwebOptions, import_raw, read_recipe
from services.common.bus import MemoryBus
from services.common.identity import new_id
from services.common.work.runner import JobRunner
from services.imaging.checkpoint import open_checkpoint
from services.imaging.dataset import Dataset
from services.imaging.licence import require_permission
from services.training.checkpoints import resolve_checkpoint
from services.training.dataset_export import ExportTarget, export_dataset
from services.training.export import TOLERANCE, export_onnx, export_safetensors
from services.training.importer import ImportSource
from services.training.main import open_training_ports
from services.training.original import OriginalNetwork
from services.training.settings import TrainingSettings
from services.training.specs import BUILD_SAMPLE, BuildSpec
from services.training.weights_file import WeightsFile
from services.training.workflow.datasets import Datasets
from services.training.workflow.imports import Imports
from services.training.workflow.runs import Runs


def import_dataset(
    directory: Path, classes: int, mammograms: Path | None, outlines: Path | None = None
) -> dict[str, Any]:
    """See `primitives dataset import`."""
    with _training() as (datasets, _), progress_bar("patches") as update:
        view = datasets.import_directory(ImportSource(directory, classes, mammograms, outlines), update)
    return view.model_dump()


def import_raw_dataset(
    directory: Path,
    layout: str,
    name: str,
    recipe: Path | None,
    options: Sequence[str],
    workers: int,
    dicomweb: DicomwebOptions,
) -> dict[str, Any]:
    """See `primitives dataset import --layout`."""
    chosen = read_recipe(recipe, options)
    with _training() as (datasets, _):
        return import_raw(datasets, directory, layout, name, chosen, TrainingSettings(), workers, dicomweb)


def export_patches(dataset_id: str, target: ExportTarget, confirmed: bool = False) -> dict[str, Any]:
    """See `primitives dataset export`. Forbidden if a licence forbids to pass on the patches and no permission is
    confirmed."""
    with _training() as (datasets, _):
        blobs = datasets.ports.blobs
        dataset = Dataset.open(blobs, datasets.get(dataset_id).manifest)
        permission = require_permission("pictures", dataset.manifest.terms, f"data set {dataset_id}", confirmed)
        with progress_bar("patches") as update:
            export_dataset(blobs, dataset, target, update)
    return {
        "dataset_id": dataset_id,
        "folder": str(target.folder),
        "mammograms": str(target.mammograms) if target.mammograms is not None else None,
        "splits": dataset.manifest.splits,
        "classes": len(dataset.manifest.classes),
        "permission": permission,
    }


def build_sample_dataset() -> dict[str, Any]:
    """See `primitives dataset sample`."""
    with _training() as (datasets, _), progress_bar("mammograms") as update:
        spec = BuildSpec(blobs_url=datasets.ports.blobs.url, build_id=new_id("build"))
        built = datasets.runner.run(BUILD_SAMPLE, spec, lambda report: update(report.done, report.total))
        return datasets.register(built.manifest, built.ref).model_dump()


def list_datasets() -> list[dict[str, Any]]:
    """See `primitives dataset list`."""
    with _training() as (datasets, _):
        return [view.model_dump() for view in datasets.all().datasets]


def import_checkpoint(file: Path, dataset_id: str, described: WeightsFile) -> dict[str, Any]:
    """See `primitives checkpoint import`."""
    with _training() as (datasets, runs):
        imports = Imports(datasets, runs)
        return imports.import_checkpoint(file, dataset_id, described).model_dump()


def import_original(file: Path, network: OriginalNetwork, dataset_id: str) -> dict[str, Any]:
    """See `primitives checkpoint import --config`."""
    with _training() as (datasets, runs):
        return Imports(datasets, runs).import_original(file, network, dataset_id).model_dump()


def export_run(run_id: str, choice: str, kind: str, out: Path, confirmed: bool = False) -> dict[str, Any]:
    """See `primitives export`; `choice` as for `resolve_checkpoint`. Forbidden if a licence forbids to release the
    weights and no permission is confirmed."""
    with _training() as (_, runs):
        blobs = runs.ports.blobs
        checkpoint = open_checkpoint(blobs, resolve_checkpoint(runs.get(run_id), choice))
        name = f"checkpoint {checkpoint.checkpoint_id}"
        permission = require_permission("weights", checkpoint.terms, name, confirmed)
        exported: dict[str, Any] = {"file": str(out), "format": kind, "checkpoint_id": checkpoint.checkpoint_id}
        exported["permission"] = permission
        if kind == "safetensors":
            export_safetensors(blobs, checkpoint, out)
            return exported
        return exported | {"difference": export_onnx(blobs, checkpoint, out), "tolerance": TOLERANCE}


@contextmanager
def _training() -> Iterator[tuple[Datasets, Runs]]:
    """Open the training service's stores without the service itself."""
    settings = TrainingSettings()
    ports = open_training_ports(settings, MemoryBus())
    runner = JobRunner("dataset-job", settings.shared.log_format, settings.shared.log_level)
    try:
        yield Datasets(ports, runner), Runs(ports, runner, settings)
    finally:
        runner.close()
        ports.bus.close()
        ports.records.close()
