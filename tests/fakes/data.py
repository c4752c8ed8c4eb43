"""Data sets and checkpoints for tests, made with the product's own code, and jobs without a child process."""

from pathlib import Path
from typing import Any

import torch

from services.common.blobs import Blobs, ObjectRef
from services.imaging.architectures import build_network, native_preprocessing
from services.imaging.checkpoint import CheckpointManifest, pack
from services.imaging.dataset import Dataset, DatasetManifest
from services.imaging.dataset_writer import DatasetWriter
from services.imaging.patches import Patch, parse_patch_name
from services.training.importer import CLASSES, read_lists
from tests.fakes.ddsm import make_ddsm


def store_dataset(
    blobs: Blobs, folder: Path, counts: dict[str, int], shard_patches: int = 4096, copies: int = 0
) -> tuple[Dataset, ObjectRef]:
    """Store a 3-class data set. It contains the first `copies` patches of each split twice, under another name, to
    create ties."""
    make_ddsm(folder, counts)
    with DatasetWriter(
        blobs, "training", "test", ("normal", "benign", "cancer"), shard_patches=shard_patches
    ) as writer:
        for split, entries in read_lists(folder, CLASSES[3]).items():
            for number, entry in enumerate([*entries, *entries[:copies]]):
                name = parse_patch_name(entry.path.name)
                writer.add_patch(
                    Patch(
                        f"{number}-{entry.path.name}",
                        split,
                        entry.label,
                        split,
                        name.mammogram,
                        name.box,
                        entry.path.read_bytes(),
                    )
                )
        manifest, ref = writer.finish()
    return Dataset(blobs, manifest), ref


def store_checkpoint(
    blobs: Blobs, dataset: DatasetManifest, architecture: str, image_size: int, seed: int = 0
) -> tuple[ObjectRef, torch.nn.Module]:
    """Store a checkpoint with random weights. Return its reference and the network."""
    torch.manual_seed(seed)
    network = build_network(architecture, len(dataset.classes)).eval()
    manifest = CheckpointManifest(
        checkpoint_id="checkpoint-1",
        run_id="run-1",
        architecture=architecture,
        classes=dataset.classes,
        preprocessing=native_preprocessing(architecture, image_size),
        dataset_id=dataset.dataset_id,
        epoch=1,
        step=0,
        settings={},
        code_version="0",
        weights=blobs.put("training", "weights.safetensors", pack(network.state_dict())),
    )
    return blobs.put("training", "checkpoint.json", manifest.model_dump_json().encode()), network


class SilentJob:
    """A job that ignores reports, records its milestones and is never stopped."""

    def __init__(self) -> None:
        self.milestones: list[Any] = []

    def report(self, done: float, *_args: object, **_progress: object) -> None:
        """Ignore the report."""

    def forward(self, report: Any) -> None:
        """Ignore the report of another process."""

    def milestone(self, content: Any) -> None:
        """Record the milestone."""
        self.milestones.append(content)

    def stop_if_requested(self) -> None:
        """Do nothing."""

    def paused(self) -> bool:
        """Return False."""
        return False


class RecordingJob(SilentJob):
    """A job that also records what its reports say is done."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[float] = []

    def report(self, done: float, *_args: object, **_progress: object) -> None:
        """Record what is done."""
        self.done.append(done)


def ignore_progress() -> None:
    """Ignore a report of progress."""
