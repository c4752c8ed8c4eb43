"""A data set whose mammograms have outlines, and an extraction from it, made the way the product makes them."""

from pathlib import Path

import numpy as np

from services.activation_extraction.job import extract_shard, merge_extraction
from services.activation_extraction.specs import MergeSpec, ShardSpec
from services.common.blobs import Blobs, ObjectRef
from services.common.blobs.port import read_verified
from services.imaging.dataset import Dataset
from services.imaging.dataset_writer import DatasetWriter
from services.imaging.manifests import ExtractionManifest
from services.imaging.patches import Box, Lesion, Mammogram, Patch
from tests.fakes.data import SilentJob, store_checkpoint
from tests.fakes.ddsm import class_pattern, jpeg

SIDE = 64
MAMMOGRAM = (160, 130)
"""Height and width of a mammogram in pixels."""
BOXES = (Box(0, 0, SIDE, SIDE), Box(40, 30, 90, 90), Box(96, 66, SIDE, SIDE))


def store_outlined(
    blobs: Blobs, patients: int = 4, shard_patches: int = 4096, seed: int = 0, outlined: bool = True
) -> tuple[Dataset, ObjectRef]:
    """Store a 2-class data set: one mammogram per patient with three patches, and outlines of masses and vessels on all
    mammograms except the last."""
    rng = np.random.default_rng(seed)
    with DatasetWriter(blobs, "training", "outlined", ("no", "yes"), shard_patches=shard_patches) as writer:
        for patient in range(patients):
            name = f"m{patient}"
            image = jpeg(rng.integers(0, 256, MAMMOGRAM, np.uint8))
            known = outlined and patient < patients - 1
            writer.add_mammogram(
                Mammogram(name, f"p{patient}", "LEFT", "CC", *MAMMOGRAM, image), _lesions(rng, name) if known else ()
            )
        for number in range(patients * len(BOXES)):
            patient, box = divmod(number, len(BOXES))
            image = jpeg(class_pattern(rng, number % 3))
            label = number % 2
            writer.add_patch(Patch(f"patch-{number}", "val", label, f"p{patient}", f"m{patient}", BOXES[box], image))
        manifest, ref = writer.finish()
    return Dataset(blobs, manifest), ref


def extract_outlined(
    blobs: Blobs, folder: Path, data: Dataset, dataset: ObjectRef, architecture: str = "test_resnet", size: int = 64
) -> tuple[ExtractionManifest, ObjectRef]:
    """Extract the last two layers of a random network from a data set of `store_outlined`."""
    checkpoint, _ = store_checkpoint(blobs, data.manifest, architecture, size)
    shared = {
        "blobs_url": blobs.url,
        "scratch": str(folder),
        "extraction_id": "extraction-1",
        "dataset": dataset,
        "checkpoint": checkpoint,
        "split": "val",
        "layers": ["layer3", "layer4"],
        "top_k": 4,
    }
    shards = [
        extract_shard(SilentJob(), ShardSpec(shard=number, batch_size=5, device="cpu", **shared)).state  # type: ignore[arg-type]
        for number in range(len(data.manifest.shards))
    ]
    ref = merge_extraction(SilentJob(), MergeSpec(shards=shards, **shared))  # type: ignore[arg-type]
    return ExtractionManifest.model_validate_json(read_verified(blobs, ref)), ref


def _lesions(rng: np.random.Generator, mammogram: str) -> list[Lesion]:
    """A mass, and two vessels that may overlap, as random polygons."""
    names = ("mass", "vessel", "vessel")
    return [Lesion(mammogram, name, tuple(map(tuple, random_polygon(rng, MAMMOGRAM).tolist()))) for name in names]


def random_polygon(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """A polygon of three to nine (row, column) vertices in and around an image; it may cross itself."""
    count = int(rng.integers(3, 10))
    return np.round(rng.uniform(-20, 20 + np.asarray(shape), (count, 2)), 1)
