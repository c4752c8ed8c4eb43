"""Data sets and checkpoints for tests, made the way the product makes them."""

from pathlib import Path

import torch

from services.common.blobs import Blobs, ObjectRef
from services.imaging.architectures import build_network, native_preprocessing
from services.imaging.checkpoint import CheckpointManifest, pack
from services.imaging.dataset import Dataset, DatasetManifest
from services.imaging.dataset_writer import DatasetWriter
from services.imaging.patches import Patch, parse_patch_name
from services.training.importer import read_lists
from tests.fakes.ddsm import make_ddsm


def store_dataset(
    blobs: Blobs, folder: Path, counts: dict[str, int], shard_patches: int = 4096, copies: int = 0
) -> tuple[Dataset, ObjectRef]:
    """A 3-class data set; the first `copies` patches of each split stand in it twice, under another name: ties."""
    make_ddsm(folder, counts)
    with DatasetWriter(
        blobs, "training", "test", ("normal", "benign", "cancer"), shard_patches=shard_patches
    ) as writer:
        for split, entries in read_lists(folder, 3).items():
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
    """A checkpoint of random weights, and the network it holds."""
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
    """A job that nobody watches."""

    def __init__(self) -> None:
        self.milestones: list[dict[str, object]] = []

    def report(self, **progress: object) -> None:
        """Forget it."""

    def milestone(self, **facts: object) -> None:
        """Keep it."""
        self.milestones.append(facts)

    def stop_if_requested(self) -> None:
        """Nobody tells it."""

    def paused(self) -> bool:
        """Nobody pauses it."""
        return False


class RecordingJob(SilentJob):
    """Keeps how many layers it was told of."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[object] = []

    def report(self, **progress: object) -> None:
        """Keep it."""
        self.done.append(progress["done"])


def ignore_progress() -> None:
    """Takes a sign of life for nobody."""
