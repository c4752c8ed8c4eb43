"""Patches for benches: squares of real tissue as JPEGs, stored as a data set and as plain files."""

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from services.common.blobs import Blobs, ObjectRef, open_blobs
from services.imaging.dataset import Dataset, LocalPatches
from services.imaging.dataset_writer import SHARD_PATCHES, DatasetWriter
from services.imaging.patches import Box, Patch
from services.training.raw.layouts.sample.views import View, open_view, sample_folder

CLASSES = ("normal", "cancer")
QUALITY = 95
"""JPEG quality, the same as that of the sample's patches."""
SPLIT = "train"
REFERENCE = "dataset.json"


@dataclass(frozen=True)
class StoredPatches:
    """The same patches twice: as a data set with local copies of its shards, and as files with their labels."""

    dataset: Dataset
    local: LocalPatches
    files: list[tuple[Path, int]]


def store_tissue(folder: Path, side: int, count: int, shard_patches: int = SHARD_PATCHES, different: int = 0) -> Path:
    """Store `count` patches of `side` pixels below a new folder, with arbitrary labels; return the folder. If
    `different` is set, only that number of patches is cut, and they are repeated."""
    (folder / "scratch").mkdir(parents=True)
    (folder / "files").mkdir()
    blobs = _blobs(folder)
    with DatasetWriter(blobs, "training", f"bench-{side}", CLASSES, shard_patches=shard_patches) as writer:
        cut = list(cut_tissue(side, different or count))
        for number in range(count):
            patch = replace(cut[number % len(cut)], name=f"patch_{number:06d}.jpg", label=number % len(CLASSES))
            writer.add_patch(patch)
            (folder / "files" / patch.name).write_bytes(patch.image)
        _, ref = writer.finish()
    (folder / REFERENCE).write_text(ref.model_dump_json())
    return folder


def stored_manifest(folder: Path) -> ObjectRef:
    """Return the reference to the manifest of the patches that `store_tissue` stored."""
    return ObjectRef.model_validate_json((folder / REFERENCE).read_text())


def open_tissue(folder: Path) -> StoredPatches:
    """Open what `store_tissue` stored, in any process."""
    blobs = _blobs(folder)
    dataset = Dataset.open(blobs, stored_manifest(folder))
    rows = dataset.index.select(["name", "label"]).to_pylist()
    files = [(folder / "files" / row["name"], row["label"]) for row in rows]
    return StoredPatches(dataset, LocalPatches(dataset, blobs, SPLIT, folder / "scratch"), files)


def _blobs(folder: Path) -> Blobs:
    return open_blobs(f"folder://{folder / 'store'}")


def cut_tissue(side: int, count: int, seed: int = 7) -> Iterator[Patch]:
    """Cut squares at random places of one mammogram of the sample, centred within the breast. The same seed gives the
    same bytes."""
    file = min(sample_folder().glob("*/*.dcm"))
    view = open_view(file.read_bytes(), file.name)
    generator = np.random.default_rng(seed)
    half = side // 2
    inner = view.breast[half : half - side, half : half - side]
    centres = generator.choice(np.argwhere(inner), count)
    for number, (row, column) in enumerate(centres.tolist()):
        yield _cut(view, Box(row, column, side, side), f"patch_{number:06d}.jpg", number % len(CLASSES))


def _cut(view: View, box: Box, name: str, label: int) -> Patch:
    encoded = io.BytesIO()
    grey = view.grey[box.row : box.row + box.height, box.column : box.column + box.width]
    Image.fromarray(grey).save(encoded, "JPEG", quality=QUALITY)
    return Patch(name, SPLIT, label, "bench", "bench", box, encoded.getvalue())
